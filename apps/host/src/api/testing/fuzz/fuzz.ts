/** Asks a daemon everything that its document describes, rightly and wrongly, and judges every answer. */
import { writeBundle } from '../../../plugins/bundle.ts'
import type { StoreErrorCode } from '../../../store/store.ts'
import type { TestDaemon } from '../daemon.ts'
import { chance } from './chance.ts'
import { type OpenApiDocument, operationsOf } from './document.ts'
import { judge } from './judge.ts'
import { CANARY, crashes, knownThings } from './known.ts'
import { type FuzzRequest, requestOf } from './requests.ts'
import { values as valuesOf } from './values.ts'
import { openWire } from './wire.ts'

export interface FuzzOptions {
  seed: number
  requests: number
  /** What ails the store meanwhile. */
  ill?: StoreErrorCode
}

export interface FuzzReport {
  sent: number
  perOperation: Record<string, number>
  /** Operations that did at least once what was asked. */
  done: Set<string>
  statuses: Record<number, number>
  /** Requests without an answer: cut off by either side. */
  cut: number
  /** Answers that should not be, each with its request. */
  wrong: string[]
}

const CONNECTIONS = 12
/** The daemon's time runs faster than the test's, so that deadlines fall due meanwhile. */
const TURN_EVERY_MS = 10
const TURN_MS = 100

/** Requests from one run for agents to the next, and how many of those may wait. */
const EMPLOY_EVERY = 40
const FEW = 3

/** Pino's number of `error`. */
const FAULT = 50

export async function fuzz(daemon: TestDaemon, { seed, requests, ill }: FuzzOptions): Promise<FuzzReport> {
  const draw = chance(seed)
  const document = (await daemon.ask('GET', '/v1/openapi.json')).json as unknown as OpenApiDocument
  const operations = operationsOf(document)
  for (const id of crashes) await leaveCrash(daemon, id)
  const viewer = await makeToken(daemon, 'viewer')
  const operator = await makeToken(daemon, 'operator')
  const tokens = { admin: daemon.token, viewer, operator, wrong: `mst_t${'0'.repeat(26)}_${'x'.repeat(43)}` }
  const own = new Set(Object.values(tokens).map((token) => token.split('_')[1] ?? ''))
  const known = knownThings(draw, own, ['ci', 'ci', 'full', ...(daemon.tickets().size > 0 ? ['ci', 'agents'] : [])])
  const proofs = new Set<string>()
  const proof = (kind: string): string => {
    if (kind === 'session') return known.session()
    const all = [...daemon.tickets()]
    const fresh = all.filter(([id]) => daemon.harness.engine.workers.get(id)?.agent_at === null)
    const tickets = (fresh.length > 0 && draw.is(0.6) ? fresh : all).map(([, ticket]) => ticket)
    return tickets.length === 0 ? `mtk_w${'0'.repeat(26)}_${'x'.repeat(43)}` : draw.pick(tickets)
  }
  const values = valuesOf({ chance: draw, document, known: known.of })
  const { verdict } = judge(document)
  const secrets = [daemon.token, viewer, operator, CANARY, Buffer.from(CANARY).toString('base64'), 'pool-canary']
  const report: FuzzReport = { sent: 0, perOperation: {}, done: new Set(), statuses: {}, cut: 0, wrong: [] }
  using wire = openWire(Number(new URL(daemon.api.url).port), CONNECTIONS)

  /** Whatever requests make and end, agents find something to do. */
  async function employ(): Promise<void> {
    if ((daemon.harness.engine.pools.get('agents')?.queued ?? FEW) >= FEW) return
    const run = { command: ['true'], inputs: [{ name: 'a', path: 'in' }], outputs: [{ name: 'b', path: 'out' }] }
    const made = await daemon.ask('POST', '/v1/runs', { body: { pool: 'agents', ...run } })
    const upload = { body: Buffer.alloc(1024), headers: { 'content-type': 'application/x-tar' } }
    if (made.status !== 201) return
    const id = String(made.json['id'])
    // They are the agents': who wants a run to write to finds others.
    own.add(id)
    await daemon.ask('PUT', `/v1/runs/${id}/inputs/a`, upload)
  }

  async function one(): Promise<void> {
    if (report.sent % EMPLOY_EVERY === 0) await employ()
    const operation = operations[report.sent++ % operations.length]
    if (operation === undefined) throw new Error('the document has no operations')
    report.perOperation[operation.id] = (report.perOperation[operation.id] ?? 0) + 1
    const request = requestOf(operation, { chance: draw, values, tokens, operations, proof, mend: known.mend })
    const answer = await wire.send(request)
    if (answer === undefined) {
      report.cut += 1
      return
    }
    report.statuses[answer.status] = (report.statuses[answer.status] ?? 0) + 1
    const bearer = request.headers['authorization']?.slice('Bearer '.length) ?? ''
    if (/^m(tk|ss)_/.test(bearer)) proofs.add(bearer)
    // An agent is told what its command needs.
    const order = request.operation?.id === 'agentNext' && answer.status === 200
    const leaked = order ? undefined : secrets.find((secret) => answer.text.includes(secret))
    const fault = leaked === undefined ? verdict(request, answer) : 'a secret is in the answer'
    if (fault !== undefined) report.wrong.push(`${operation.id}: ${fault}\n${shown(request)}\n→ ${answer.text.slice(0, 500)}`)
    if (answer.status === 401 || answer.text.includes('"code":"ended"')) known.forget(bearer)
    if (answer.status >= 300) return
    known.learn(answer.text, bearer)
    if (request.operation !== undefined) report.done.add(request.operation.id)
  }

  const { clock } = daemon.harness
  const turning = setInterval(() => {
    const until = clock.now() + TURN_MS
    while (clock.step(until));
  }, TURN_EVERY_MS)
  daemon.harness.ill = ill
  try {
    const worker = async (): Promise<void> => {
      while (report.sent < requests) await one()
    }
    await Promise.all(Array.from({ length: CONNECTIONS }, worker))
  } finally {
    clearInterval(turning)
    daemon.harness.ill = undefined
  }
  for (const line of daemon.log)
    if (Number(line['level']) >= FAULT) report.wrong.push(`in the log: ${JSON.stringify(line).slice(0, 1000)}`)
  const log = JSON.stringify(daemon.log)
  for (const secret of [...secrets, ...proofs, ...daemon.tickets().values()])
    if (log.includes(secret)) report.wrong.push('a secret is in the log')
  return report
}

async function leaveCrash({ dir }: TestDaemon, id: string): Promise<void> {
  const facts = {
    provider: 'one',
    plugin: { name: 'x', version: '1.0.0' },
    reason: 'it ended by itself',
    restarts: 0,
    output: ['x'],
  }
  const at = Date.parse(`${id.slice(0, 10)}T00:00:00Z`)
  await writeBundle(dir, { at, ...facts }, { keep: { most: 9, ms: at }, clean: (text) => text })
}

async function makeToken(daemon: TestDaemon, role: string): Promise<string> {
  return (await daemon.ask('POST', '/v1/tokens', { body: { name: `fuzz-${role}`, role } })).json['token'] as string
}

function shown({ method, target, headers, body, raw }: FuzzRequest): string {
  if (raw !== undefined) return JSON.stringify(raw.replaceAll(/mst_\S+/g, 'TOKEN').slice(0, 500))
  const { authorization: _secret, ...rest } = headers
  return `${method} ${target.slice(0, 300)} ${JSON.stringify(rest).slice(0, 300)} ${body?.toString().slice(0, 500) ?? ''}`
}
