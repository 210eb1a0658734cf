/** What the agent in a worker asks: `/v1/self`. It sees the run of its own worker and nothing else. */
import type { IncomingMessage } from 'node:http'
import { fileSpecSchema } from '@muster/core'
import { z } from 'zod'
import { type AtRun, type Order, type Wants, wantsOf } from '../../engine/agent-api.ts'
import { runOutcomes } from '../../engine/model.ts'
import { agentOf, exchangeTicket, workerOf } from '../agent-access.ts'
import type { App, AppDeps } from '../deps.ts'
import { bytes, content, needs, rawBody } from '../describe.ts'
import { bodyOf } from '../incoming.ts'
import { orderScript, SCRIPT_TYPE } from '../order-script.ts'
import { ApiProblem } from '../problems.ts'
import { artifactSchema, named } from '../schemas.ts'
import { digestHeader } from './run-data.ts'

const run = z.string().describe('The run, as the order named it.')
const byName = z.object({ name: z.string() })
const position = z.coerce.number().int().min(0).max(Number.MAX_SAFE_INTEGER)
/** None is needed; an empty object of a client that always sends one has room. */
const TICKET_BODY_BYTES = 1024
/** No proxy lets an answer wait for longer. */
const timeoutMs = z.coerce.number().int().min(1).max(60_000)

const sessionSchema = named(
  'AgentSession',
  z.object({
    worker: z.string(),
    session: z.string().describe('The bearer of all other calls, until the lease of the worker, or its run, is over.'),
    heartbeatMs: z
      .int()
      .describe('Call at least this often, also while the command works. Who is silent for eight of them is lost.'),
  }),
)

const orderSchema: z.ZodType<Order> = named(
  'Order',
  z.object({
    run: z.string(),
    command: z.array(z.string()).describe('Program and arguments.'),
    env: z.record(z.string(), z.string()),
    workdir: z.string().describe('Relative to where the agent works.').exactOptional(),
    files: z.array(fileSpecSchema),
    inputs: z
      .array(z.object({ name: z.string(), path: z.string(), sha256: z.string(), bytes: z.int() }))
      .describe('Tars to fetch and unpack under their paths, before the command.'),
    outputs: z
      .array(z.object({ name: z.string(), path: z.string(), optional: z.boolean() }))
      .describe('Paths to hand in as tars after the command, also when it failed.'),
    graceMs: z.int().describe('Between the wish to stop and that to kill.'),
    timeoutMs: z.int().describe('The host counts it, and tells when it is over.').exactOptional(),
  }),
)

const nextSchema: z.ZodType<{ order?: Order }> = named(
  'AgentNext',
  z.object({ order: orderSchema.describe('Absent: nothing yet, ask again.').exactOptional() }),
)

const wishSchema: z.ZodType<{ wants: Wants; reason?: string }> = named(
  'AgentWish',
  z.object({
    wants: z.enum(wantsOf).describe('nothing: go on · stop: end the command (SIGTERM) · kill: end it at once (SIGKILL).'),
    reason: z.string().exactOptional(),
  }),
)

const doneBody = named(
  'AgentDone',
  z
    .strictObject({
      run,
      code: z.int().min(0).max(255).describe('The exit code.').exactOptional(),
      signal: z
        .string()
        .regex(/^SIG[A-Z0-9+-]{1,12}$/)
        .describe('The signal that ended it, instead of a code.')
        .exactOptional(),
      oomKilled: z.boolean().describe('It ran out of memory.').exactOptional(),
      reason: z.string().min(1).max(500).describe('In words, where there is neither a code nor a signal.').exactOptional(),
    })
    .refine((body) => body.code === undefined || body.signal === undefined, 'give code or signal, not both'),
)

export function selfRoutes(app: App, deps: AppDeps): void {
  const { engine, runs, streams, access } = deps
  const { agents } = engine
  const at = (workerId: string, runId: string): AtRun => ({ workerId, runId })

  app.post(
    '/v1/self/ready',
    {
      ...needs('ticket', 'ticket-used', 'ended'),
      bodyLimit: TICKET_BODY_BYTES,
      schema: {
        operationId: 'agentReady',
        summary: 'Exchanges the ticket of a launch for a session',
        description:
          'Once: with that its worker is ready. Whoever comes second is refused, whoever that is, and a decision of the worker says so.',
        security: [{ ticket: [] }],
        response: { 200: sessionSchema },
      },
    },
    async (request, reply) => {
      const { workerId, session, heartbeatMs } = await exchangeTicket(request, { agents, limits: access.limits })
      void reply.header('cache-control', 'no-store')
      return { worker: workerId, session, heartbeatMs }
    },
  )

  app.get(
    '/v1/self/next',
    {
      ...needs('session', 'ended', 'not-acceptable'),
      schema: {
        operationId: 'agentNext',
        summary: 'The run that this worker is for',
        description: `At once, when it comes, or without one when the time is over: ask again. The same one until it is done. \`ended\`: none will come any more.
With \`Accept: ${SCRIPT_TYPE}\` as a script for a shell, empty for nothing yet: calls of \`muster_run\` (run, grace and time-out in ms), \`muster_input\` (name, path, sha256, bytes),
\`muster_file\` (path, mode, base64), \`muster_env\` (name, value), \`muster_output\` (name, path), \`muster_workdir\` (path) and, as the last one,
\`muster_command\` (words).`,
        security: [{ session: [] }],
        querystring: z.strictObject({ timeoutMs: timeoutMs.default(30_000) }),
        response: {
          200: content('What to do.', { 'application/json': nextSchema, [SCRIPT_TYPE]: bytes }),
        },
      },
    },
    async (request, reply) => {
      const { id } = agentOf(request, agents)
      const type = orderType(request.headers.accept)
      const signal = AbortSignal.any([streams.signalOf(reply), AbortSignal.timeout(request.query.timeoutMs)])
      const order = await runs.agent.next(id, signal)
      void reply.header('cache-control', 'no-store')
      if (type === SCRIPT_TYPE) return reply.type(type).send(order === undefined ? '' : orderScript(order))
      return reply.type(type).send(order === undefined ? {} : { order })
    },
  )

  app.post(
    '/v1/self/heartbeat',
    {
      ...needs('session', 'ended', 'not-found', 'not-ready'),
      schema: {
        operationId: 'agentHeartbeat',
        summary: 'Says that the agent is there, and asks what the host wants',
        description: 'Answers as soon as the host wants something else than the agent `knows`, or when the time is over.',
        security: [{ session: [] }],
        querystring: z.strictObject({
          run: run.describe('Absent: it has none.').exactOptional(),
          knows: z.enum(wantsOf).default('nothing').describe('What it was told last.'),
          timeoutMs: timeoutMs.describe('Absent: at once.').exactOptional(),
        }),
        response: { 200: wishSchema },
      },
    },
    async (request, reply) => {
      const { id } = agentOf(request, agents)
      const { run: runId, knows, timeoutMs: patience } = request.query
      if (runId === undefined) return { wants: 'nothing' as const }
      const over = patience === undefined ? AbortSignal.abort() : AbortSignal.timeout(patience)
      return runs.agent.wants(at(id, runId), knows, AbortSignal.any([streams.signalOf(reply), over]))
    },
  )

  app.get(
    '/v1/self/inputs/:name',
    {
      ...needs('session', 'ended', 'not-found', 'not-ready'),
      schema: {
        operationId: 'agentInput',
        summary: 'An input of the run, a tar',
        description:
          'The time of the command begins when all of them have been read. The header Muster-Sha256 has the digest of the tar.',
        security: [{ session: [] }],
        params: byName,
        querystring: z.strictObject({ run }),
        response: { 200: content('The tar.', { 'application/x-tar': bytes }) },
      },
    },
    async (request, reply) => {
      const { id } = agentOf(request, agents)
      const { artifact, tar } = await runs.agent.openInput(at(id, request.query.run), request.params.name)
      const { sha256 = '', bytes: length = 0 } = artifact
      const headers = { 'muster-sha256': sha256, 'content-length': String(length) }
      return streams.send(reply, { type: 'application/x-tar', source: () => tar, headers })
    },
  )

  app.put(
    '/v1/self/outputs/:name',
    {
      ...needs('session', 'ended', 'not-found', 'not-ready', 'digest-mismatch'),
      schema: {
        operationId: 'agentOutput',
        summary: 'Hands in an output, a tar',
        description: 'The last whole one counts. One entry tree, named by the last part of its path.',
        security: [{ session: [] }],
        consumes: ['application/x-tar'],
        body: rawBody,
        params: byName,
        headers: digestHeader,
        querystring: z.strictObject({ run }),
        response: { 200: artifactSchema },
      },
    },
    async (request, reply) => {
      const { id } = agentOf(request, agents)
      if (request.headers['content-type'] !== 'application/x-tar')
        throw new ApiProblem('unsupported-media', 'an output is a tar', { hint: 'Send it as application/x-tar.' })
      const sha256 = request.headers['muster-sha256']
      const tar = bodyOf(request.body as IncomingMessage, streams.signalOf(reply))
      const upload = { name: request.params.name, tar, ...(sha256 === undefined ? {} : { sha256 }) }
      return runs.agent.putOutput(at(id, request.query.run), upload)
    },
  )

  app.post(
    '/v1/self/logs',
    {
      ...needs('session', 'ended', 'not-found', 'not-ready', 'gap'),
      schema: {
        operationId: 'agentLogs',
        summary: 'Hands in a piece of what the command says',
        description: 'It may be repeated: what is stored is skipped, so that every byte lands once.',
        security: [{ session: [] }],
        consumes: ['application/octet-stream'],
        body: rawBody,
        querystring: z.strictObject({
          run,
          stream: z.enum(['stdout', 'stderr']).default('stdout'),
          offset: position.describe('Where the piece begins in the whole stream.'),
        }),
        response: { 200: z.object({ offset: z.int().describe('Bytes stored so far: send on from here.') }) },
      },
    },
    async (request) => {
      const { id } = agentOf(request, agents)
      const data = (request.body ?? Buffer.alloc(0)) as Buffer
      if (!Buffer.isBuffer(data))
        throw new ApiProblem('unsupported-media', 'a log is bytes', { hint: 'Send application/octet-stream.' })
      const { run: runId, stream, offset } = request.query
      return { offset: await runs.agent.appendLog(at(id, runId), { stream, offset, data }) }
    },
  )

  app.post(
    '/v1/self/done',
    {
      ...needs('session', 'ended', 'not-found', 'not-ready'),
      schema: {
        operationId: 'agentDone',
        summary: 'Says how the command ended',
        description:
          'Answers when that is stored; the same again is fine, and the first counts. Outputs that were not handed in by then are missing.',
        security: [{ session: [] }],
        body: doneBody,
        response: {
          200: z.object({
            run: z.string(),
            outcome: z.enum(runOutcomes).describe('What the run is by that, before its outputs were looked at.'),
          }),
        },
      },
    },
    async (request, reply) => {
      const worker = workerOf(request)
      const { run: runId, reason, ...how } = request.body
      const exit = { ...how, reason: reason ?? 'told by its agent' }
      const { id, outcome } = await runs.agent.done(at(worker.id, runId), exit, streams.signalOf(reply))
      return { run: id, outcome: (outcome ?? 'unknown') as (typeof runOutcomes)[number] }
    },
  )
}

function orderType(accept: string | undefined): 'application/json' | typeof SCRIPT_TYPE {
  if (accept === undefined || accept.includes('*/*') || accept.includes('application/json')) return 'application/json'
  if (accept.includes(SCRIPT_TYPE)) return SCRIPT_TYPE
  throw new ApiProblem('not-acceptable', `an order is not ${accept}`, {
    hint: `Accept application/json or ${SCRIPT_TYPE}.`,
  })
}
