/** Events: every decision as it is made, as server-sent events that resume by `Last-Event-ID`. */
import { z } from 'zod'
import type { App, AppDeps } from '../deps.ts'
import { bytes, content, lastEventHeader, needs } from '../describe.ts'
import { NDJSON_TYPE, SSE_TYPE } from '../log-frames.ts'
import { ApiProblem } from '../problems.ts'
import { decisionSchema } from '../decision-schemas.ts'
import { withBeats } from '../streams.ts'
import { decisionView } from '../views.ts'

export function eventRoutes(app: App, { engine, streams }: AppDeps): void {
  app.get(
    '/v1/events',
    {
      ...needs('viewer', 'not-acceptable', 'bad-offset'),
      schema: {
        operationId: 'readEvents',
        summary: 'Decisions as they are made',
        description:
          'Server-sent events of the name `decision`, whose id is the number of the decision; NDJSON by Accept. Goes on after the last one seen, without a gap, by `Last-Event-ID` or `from`; without either, with the next one. The header Muster-Seq says after which number it begins: a later one than was asked for where retention has dropped what is between.',
        headers: lastEventHeader,
        querystring: z.strictObject({
          from: z.coerce.number().int().min(0).describe('Those after this number.').exactOptional(),
          pool: z.string().exactOptional(),
          run: z.string().exactOptional(),
        }),
        response: { 200: content('The events.', { [SSE_TYPE]: bytes, [NDJSON_TYPE]: decisionSchema }) },
      },
    },
    async (request, reply) => {
      const { query, headers } = request
      const lines = headers.accept?.includes(NDJSON_TYPE) === true
      if (!lines && headers.accept !== undefined && !headers.accept.includes(SSE_TYPE) && !headers.accept.includes('*/*'))
        throw new ApiProblem('not-acceptable', `events are not ${headers.accept}`, {
          hint: `Accept ${SSE_TYPE} or ${NDJSON_TYPE}.`,
        })
      const last = headers['last-event-id']
      const from = (last === undefined ? query.from : Number(last)) ?? engine.events.last()
      // Numbers only grow: whoever has seen a later one has seen it elsewhere, as before a restore, and would miss what comes now.
      if (from > engine.events.last())
        throw new ApiProblem('bad-offset', `the newest decision has the number ${engine.events.last()}`, {
          hint: 'Begin anew, without a position.',
        })
      const begin = await engine.events.keptAfter(from)
      return streams.send(reply, {
        type: lines ? NDJSON_TYPE : SSE_TYPE,
        headers: { 'muster-seq': String(begin) },
        source: async function* (signal) {
          // At once, so that the client sees the answer begin, and where.
          yield Buffer.from(lines ? '\n' : `id: ${begin}\n\n`)
          for await (const row of withBeats(engine.events.subscribe(begin, signal), undefined)) {
            if (row === undefined) yield Buffer.from(lines ? '\n' : ':\n\n')
            else if ((query.pool ?? row.pool) === row.pool && (query.run ?? row.run_id) === row.run_id) {
              const text = JSON.stringify(decisionView(row))
              yield Buffer.from(lines ? `${text}\n` : `id: ${row.seq}\nevent: decision\ndata: ${text}\n\n`)
            }
          }
        },
      })
    },
  )
}
