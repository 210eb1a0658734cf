/** Runs: one command on a worker of a pool. */
import { z } from 'zod'
import { type RunRecord, type RunState, runStates } from '../../engine/model.ts'
import { principalOf } from '../access.ts'
import type { App, AppDeps } from '../deps.ts'
import { byId, keyHeader, needs } from '../describe.ts'
import { traceOf } from '../observing.ts'
import { pageOfRows } from '../pages.ts'
import { ApiProblem } from '../problems.ts'
import { checkInline, toRunRequest } from '../requests.ts'
import { runBodySchema } from '../bodies.ts'
import { pageOf, pageParts, runSchema } from '../schemas.ts'
import { type RunView, runView } from '../views.ts'

const page = pageOf('RunPage', runSchema)

/** `name=value` pairs of a query, given once or often. */
const labelQuery = z
  .union([z.string(), z.array(z.string())])
  .describe('`name=value`; several: all of them.')
  .exactOptional()

export function runRoutes(app: App, { engine, runs, idempotency, streams }: AppDeps): void {
  const show = (run: RunRecord): RunView => runView(run, engine.clock)

  async function find(id: string): Promise<RunRecord> {
    const row = runs.get(id) ?? (await runs.find(id))
    if (row === undefined) throw new ApiProblem('not-found', `there is no run ${id}`)
    return row
  }

  app.post(
    '/v1/runs',
    {
      ...needs('operator', 'refused', 'not-found', 'ended', 'idempotency-mismatch'),
      schema: {
        operationId: 'createRun',
        summary: 'Runs a command on a worker of a pool',
        description: 'Answers at once. A run with inputs waits until all of them are uploaded; then it is queued for a worker.',
        headers: keyHeader,
        body: runBodySchema,
        response: { 201: runSchema },
      },
    },
    async (request, reply) => {
      const principal = principalOf(request)
      checkInline(request.body)
      const wanted = { ...toRunRequest(request.body), ...traceOf(request) }
      const made = await idempotency.once(
        { key: request.headers['idempotency-key'], principal, request: { path: '/v1/runs', body: request.body } },
        (also) => runs.create(wanted, { principal }, also),
        show,
      )
      return reply.code(201).send(made)
    },
  )

  app.get(
    '/v1/runs',
    {
      ...needs('viewer'),
      schema: {
        operationId: 'listRuns',
        summary: 'Runs, newest first',
        querystring: z.strictObject({
          ...pageParts('rx'),
          pool: z.string().exactOptional(),
          worker: z.string().exactOptional(),
          state: z.enum(runStates).exactOptional(),
          label: labelQuery,
        }),
        response: { 200: page },
      },
    },
    async ({ query: { label, ...query } }) => {
      const labels = Object.fromEntries([label ?? []].flat().map(labelOf))
      const wanted = {
        ...query,
        // Who asks for those that have ended gets them.
        ...(query.state === 'ended' ? { ended: true } : {}),
        ...(label === undefined ? {} : { labels }),
      }
      return pageOfRows(query, (slice) => runs.list({ ...wanted, ...slice }), show)
    },
  )

  app.get(
    '/v1/runs/:id',
    {
      ...needs('viewer', 'not-found'),
      schema: { operationId: 'getRun', summary: 'A run', params: byId, response: { 200: runSchema } },
    },
    async ({ params }) => show(await find(params.id)),
  )

  app.get(
    '/v1/runs/:id/wait',
    {
      ...needs('viewer', 'not-found'),
      schema: {
        operationId: 'waitRun',
        summary: 'A run, once it has come so far',
        description: 'Answers when it has, when it has ended, or when the time is over; look at its state.',
        params: byId,
        querystring: z.strictObject({
          until: z.enum(runStates).default('ended'),
          timeoutMs: z.coerce.number().int().min(1).max(60_000).default(30_000),
        }),
        response: { 200: runSchema },
      },
    },
    async ({ params, query }, reply) => {
      const row = await find(params.id)
      if (hasReached(row, query.until)) return show(row)
      const over = AbortSignal.timeout(query.timeoutMs)
      const signal = AbortSignal.any([streams.signalOf(reply), over])
      const leave = runs.attach(params.id)
      try {
        return show(await runs.wait(params.id, (run) => hasReached(run, query.until), signal))
      } catch (error) {
        if (!over.aborted) throw error
        return show(await find(params.id))
      } finally {
        leave()
      }
    },
  )

  app.post(
    '/v1/runs/:id/cancel',
    {
      ...needs('operator', 'not-found'),
      schema: {
        operationId: 'cancelRun',
        summary: 'Asks for the end of a run',
        description:
          'Answers when the wish is stored, not when the run has ended. A run that has ended stays as it ended; of one whose command has ended the outputs are waited for no longer.',
        params: byId,
        body: z
          .strictObject({
            reason: z.string().min(1).max(500).exactOptional(),
            force: z.boolean().describe('Kill at once, without grace.').exactOptional(),
          })
          .default({}),
        response: { 200: runSchema },
      },
    },
    async (request) => {
      const principal = principalOf(request)
      const { reason = `cancelled by ${principal}`, ...how } = request.body
      return show(await runs.cancel(request.params.id, { principal, reason, ...how }))
    },
  )
}

function hasReached(run: RunRecord, state: RunState): boolean {
  return runStates.indexOf(run.state as RunState) >= runStates.indexOf(state)
}

function labelOf(text: string): [string, string] {
  const at = text.indexOf('=')
  if (at < 1) throw new ApiProblem('invalid-request', `'${text}' is no label`, { hint: 'Write name=value.' })
  return [text.slice(0, at), text.slice(at + 1)]
}
