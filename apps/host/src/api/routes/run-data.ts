/** What goes into a run and comes out of it: inputs, outputs, standard input, the log. All of it streams. */
import type { IncomingMessage } from 'node:http'
import { z } from 'zod'
import type { FastifyBaseLogger } from 'fastify'
import { RunError, type Runs } from '../../engine/runs-api.ts'
import type { App, AppDeps } from '../deps.ts'
import { byId, bytes, content, lastEventHeader, needs, rawBody } from '../describe.ts'
import { encodeEvent, encodeFrame, encodeLine, LOG_TYPE, type LogEvent, NDJSON_TYPE, SSE_TYPE } from '../log-frames.ts'
import { toProblem } from '../errors.ts'
import { bodyOf } from '../incoming.ts'
import { ApiProblem, problemBody } from '../problems.ts'
import { artifactSchema, flag, named, problem } from '../schemas.ts'
import { withBeats } from '../streams.ts'

const part = z.object({ id: z.string(), name: z.string() })
const position = z.coerce.number().int().min(0).default(0)
export const digestHeader: z.ZodType<{ 'muster-sha256'?: string }> = z.looseObject({
  'muster-sha256': z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .describe('When given, the bytes must have it.')
    .exactOptional(),
})
const stdinState = named(
  'StdinState',
  z.object({ offset: z.int().describe('Bytes stored so far: send on from here.'), ended: z.boolean() }),
)
const logState = named(
  'LogState',
  z.object({
    end: z.int().describe('Position after the last stored piece.'),
    stdoutBytes: z.int(),
    stderrBytes: z.int(),
    complete: z.boolean().describe('No more will come.'),
  }),
)
const logLine = named(
  'LogLine',
  z.union([
    z.object({ stream: z.enum(['stdout', 'stderr']), next: z.int(), base64: z.string() }),
    z.object({ end: z.literal(true), next: z.int(), complete: z.boolean(), problem: problem.exactOptional() }),
  ]),
)

export function runDataRoutes(app: App, { runs, streams }: AppDeps): void {
  app.put(
    '/v1/runs/:id/inputs/:name',
    {
      ...needs('operator', 'not-found', 'ended', 'conflict', 'digest-mismatch'),
      schema: {
        operationId: 'putInput',
        summary: 'Uploads an input, a tar',
        description: 'The last one missing starts the run. The same bytes again are fine.',
        consumes: ['application/x-tar'],
        body: rawBody,
        params: part,
        headers: digestHeader,
        response: { 200: artifactSchema },
      },
    },
    async (request, reply) => {
      if (request.headers['content-type'] !== 'application/x-tar')
        throw new ApiProblem('unsupported-media', 'an input is a tar', { hint: 'Send it as application/x-tar.' })
      const sha256 = request.headers['muster-sha256']
      const upload = { name: request.params.name, tar: bodyOf(request.body as IncomingMessage, streams.signalOf(reply)) }
      return runs.putInput(request.params.id, { ...upload, ...(sha256 === undefined ? {} : { sha256 }) })
    },
  )

  app.get(
    '/v1/runs/:id/outputs/:name',
    {
      ...needs('viewer', 'not-found', 'not-ready', 'gone'),
      schema: {
        operationId: 'getOutput',
        summary: 'Downloads an output, a tar',
        description:
          'One entry tree, named by the last part of its path in the worker. The header Muster-Sha256 has the digest of the tar.',
        params: part,
        response: { 200: content('The tar.', { 'application/x-tar': bytes }) },
      },
    },
    async (request, reply) => {
      const { artifact, tar } = await runs.openOutput(request.params.id, request.params.name, streams.signalOf(reply))
      return streams.send(reply, {
        type: 'application/x-tar',
        source: () => tar,
        headers: {
          ...(artifact.sha256 === undefined ? {} : { 'muster-sha256': artifact.sha256 }),
          ...(artifact.bytes === undefined ? {} : { 'content-length': String(artifact.bytes) }),
        },
      })
    },
  )

  app.post(
    '/v1/runs/:id/stdin',
    {
      ...needs('operator', 'not-found', 'no-stdin', 'ended', 'gap'),
      schema: {
        operationId: 'writeStdin',
        summary: 'Hands a piece to standard input',
        description:
          'Answers once the piece is stored, and waits while the command reads too slowly. It may be repeated: what is stored is skipped.',
        consumes: ['application/octet-stream'],
        body: rawBody,
        params: byId,
        querystring: z.strictObject({
          offset: position.describe('Where the piece begins in the whole input.'),
          end: flag.describe('Nothing follows.'),
        }),
        response: { 200: stdinState },
      },
    },
    async (request, reply) => {
      const data = (request.body ?? Buffer.alloc(0)) as Buffer
      if (!Buffer.isBuffer(data))
        throw new ApiProblem('unsupported-media', 'standard input is bytes', { hint: 'Send application/octet-stream.' })
      return runs.writeStdin(request.params.id, { ...request.query, data, signal: streams.signalOf(reply) })
    },
  )

  app.get(
    '/v1/runs/:id/stdin',
    {
      ...needs('viewer', 'not-found', 'no-stdin', 'ended'),
      schema: {
        operationId: 'getStdin',
        summary: 'How far standard input has come',
        params: byId,
        response: { 200: stdinState },
      },
    },
    async ({ params }) => runs.stdinState(params.id),
  )

  app.get(
    '/v1/runs/:id/log',
    {
      ...needs('viewer', 'not-found', 'gone'),
      schema: {
        operationId: 'getLogState',
        summary: 'How much output is stored',
        params: byId,
        response: { 200: logState },
      },
    },
    async ({ params }) => runs.logState(params.id),
  )

  app.get(
    '/v1/runs/:id/logs',
    {
      ...needs('viewer', 'not-found', 'gone', 'bad-offset', 'not-acceptable'),
      schema: {
        operationId: 'readLog',
        summary: "A run's output from a position on",
        description: LOG_FORM,
        params: byId,
        headers: lastEventHeader,
        querystring: z.strictObject({
          from: position.describe('0, or a position that this log gave.'),
          follow: flag.describe('Stay until every byte has been given.'),
        }),
        response: {
          200: content('The output, in the order it was stored.', {
            [LOG_TYPE]: bytes,
            [NDJSON_TYPE]: logLine,
            [SSE_TYPE]: bytes,
          }),
        },
      },
    },
    async (request, reply) => {
      const type = logType(request.headers.accept)
      const encode = encoders[type]
      const { params, headers } = request
      const last = headers['last-event-id']
      const query = last === undefined ? request.query : { ...request.query, from: Number(last) }
      // Whatever is known to be wrong with the request is said before the stream begins.
      const { end } = await runs.logState(params.id)
      if (query.from > end) throw new RunError('bad-offset', `the log of run ${params.id} ends at ${end}`)
      return streams.send(reply, {
        type,
        source: async function* (signal) {
          // At once, so that the client sees the answer begin.
          yield encode({ beat: true })
          const events = logEvents(runs, params.id, { ...query, signal, log: request.log })
          for await (const event of withBeats(events, { beat: true })) yield encode(event)
        },
      })
    },
  )
}

const LOG_FORM = `With \`Accept: ${LOG_TYPE}\` (default) frames: u8 kind (1 stdout, 2 stderr, 3 nothing new, 0 the last frame), u64 big-endian
position after this frame, u32 big-endian length, bytes. The last frame's bytes are JSON: \`complete\` is false when the run's output goes
on, and \`problem\` says why it cannot be read further. With \`Accept: ${NDJSON_TYPE}\` one JSON object a line. With
\`Accept: ${SSE_TYPE}\` server-sent events \`stdout\` and \`stderr\`, each of base64 with the position after it as id, and at last \`end\`: a
browser goes on by itself after a cut, and closes at \`end\`. A stream that ends without its last frame was cut off: ask again with \`from\`
set to the last position.`

async function* logEvents(
  runs: Runs,
  id: string,
  query: { from: number; follow: boolean; signal: AbortSignal; log: FastifyBaseLogger },
): AsyncGenerator<LogEvent, void, undefined> {
  let next = query.from
  try {
    for await (const piece of runs.readLog(id, query)) {
      next = piece.next
      yield { piece }
    }
    // Cut off by the end of the daemon or the connection: no last frame, so that the client asks again.
    if (query.signal.aborted) return
    const state = await runs.logState(id)
    yield { end: { next, complete: state.complete && next >= state.end } }
  } catch (error) {
    if (query.signal.aborted) return
    const problem = toProblem(error)
    if (problem.code === 'internal') query.log.error({ err: error, run: id }, 'a log could not be read')
    yield { end: { next, complete: false, problem: problemBody(problem) } }
  }
}

const encoders = { [LOG_TYPE]: encodeFrame, [NDJSON_TYPE]: encodeLine, [SSE_TYPE]: encodeEvent } as const
type LogType = keyof typeof encoders

function logType(accept: string | undefined): LogType {
  if (accept === undefined || accept.includes('*/*')) return LOG_TYPE
  const types = Object.keys(encoders) as LogType[]
  const found = types.find((type) => accept.includes(type))
  if (found !== undefined) return found
  throw new ApiProblem('not-acceptable', `a log is not ${accept}`, { hint: `Accept one of ${types.join(', ')}.` })
}
