/** Tickets and sessions of workers that run an agent. */
import type { LaunchSpec } from '@muster/core'
import { afterEach, expect, test } from 'vitest'
import type { Agents } from './api.ts'
import { claimedBy } from './proofs.ts'
import { type Harness, type HarnessOptions, leaseRequest, openHarness, poolConfig } from './testing/harness.ts'

let h: Harness

const agents = { name: 'one', capabilities: { work: ['command' as const, 'agent' as const] } }

async function open(options: Partial<HarnessOptions> = {}): Promise<void> {
  h = await openHarness({
    pools: [poolConfig({ work: 'agent' })],
    providers: [agents],
    engine: { urls: { one: 'http://127.0.0.1:7420' } },
    ...options,
  })
}
afterEach(async () => {
  expect(h.reports).toEqual([])
  await h.close()
})

type Entered = NonNullable<Awaited<ReturnType<Agents['enter']>>>

const ask = async (): Promise<string> => (await h.engine.leases.request(leaseRequest())).id
const workerOf = (lease: string): string => h.engine.leases.get(lease)?.worker_id ?? ''
function specOf(id: string): LaunchSpec {
  const spec = h.provider().vendor.workers.get(id)?.spec
  if (spec === undefined) throw new Error(`no worker ${id}`)
  return spec
}
function ticketOf(id: string): string {
  const { work } = specOf(id)
  return work.mode === 'agent' ? work.ticket.$secret : ''
}
async function enter(id: string): Promise<Entered> {
  const found = await h.engine.agents.enter(ticketOf(id), 'there')
  if (found === undefined) throw new Error('the ticket is not known')
  await h.settle()
  return found
}
const rules = async (id: string): Promise<string[]> => (await h.engine.journal.why('worker', id)).map((row) => row.rule)

test('an agent is told its ticket and where to go with it; the store has a digest, and no word of it sealed or in the open', async () => {
  await open()
  const id = workerOf(await ask().then(async (lease) => (await h.pass(50), lease)))
  expect(specOf(id).work).toMatchObject({ mode: 'agent', url: 'http://127.0.0.1:7420' })
  const ticket = ticketOf(id)
  expect(claimedBy('ticket', ticket)).toBe(id)
  expect(Buffer.from(ticket.slice(-43), 'base64url')).toHaveLength(32)
  const secret = ticket.slice(-43)
  const row = await h.engine.workers.find(id)
  expect(row?.ticket_hash).toMatch(/^[0-9a-f]{64}$/)
  expect(JSON.stringify(row)).not.toContain(secret)
  expect(h.engine.sealer.open(row?.spec_sealed ?? '', `worker:${id}`)).not.toContain(secret)
  const { session } = await enter(id)
  const told = [await h.engine.workers.find(id), await h.engine.journal.after(0, 100), [...h.engine.workers.live()]]
  for (const word of [secret, session.slice(-43)]) expect(JSON.stringify(told)).not.toContain(word)
})

test('its worker is ready once the ticket is exchanged, and not before; a second exchange is refused and written down', async () => {
  await open()
  const lease = await ask()
  await h.pass(1000)
  const id = workerOf(lease)
  expect(h.engine.workers.get(id)).toMatchObject({ phase: 'starting', observed_ready: 'true', agent_at: null })
  const { session, workerId } = await enter(id)
  expect(workerId).toBe(id)
  expect(h.engine.leases.get(lease)?.state).toBe('active')
  expect(h.engine.agents.whose(session)?.id).toBe(id)
  await expect(h.engine.agents.enter(ticketOf(id), 'elsewhere')).rejects.toMatchObject({
    code: 'ticket-used',
    hint: expect.stringContaining('end the worker: its ticket was read by somebody else'),
  })
  await h.settle()
  expect(await rules(id)).toEqual(['launch-for-lease', 'worker-launched', 'agent-ready', 'lease-active', 'ticket-replayed'])
  const [row] = (await h.engine.journal.why('worker', id)).slice(-1)
  expect(JSON.parse(row?.inputs ?? '')).toMatchObject({ from: 'elsewhere' })
})

test('two exchanges at once give one session', async () => {
  await open()
  const lease = await ask()
  await h.pass(50)
  const ticket = ticketOf(workerOf(lease))
  const both = await Promise.allSettled(['a', 'b'].map((from) => h.engine.agents.enter(ticket, from)))
  expect(both.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected'])
})

test('an agent that is quicker than the answer of the launch is not turned away', async () => {
  await open({ providers: [{ ...agents, fault: (method) => (method === 'launch' ? { delayMs: 500, early: true } : undefined) }] })
  const lease = await ask()
  await h.pass(100)
  const id = workerOf(lease)
  expect(h.engine.workers.get(id)?.phase).toBe('launching')
  const { session } = await enter(id)
  expect(h.engine.leases.get(lease)?.state).toBe('assigned')
  await h.pass(500)
  expect(h.engine.leases.get(lease)?.state).toBe('active')
  expect(h.engine.agents.whose(session)?.phase).toBe('leased')
})

test('a launch that is repeated after a kill has the same ticket, and a session outlives the host', async () => {
  await open()
  const lease = await ask()
  h.crashAt('effect-done-answer-unread')
  await h.pass(50)
  expect(h.crashed).toBe(true)
  const id = workerOf(lease)
  const ticket = ticketOf(id)
  await h.crash()
  await h.pass(50)
  // Another spec for the same id would be a conflict.
  expect(h.engine.workers.get(id)?.phase).toBe('starting')
  const { session } = await enter(id)
  await h.crash(600_000)
  expect(h.engine.agents.whose(session)?.phase).toBe('leased')
  await expect(h.engine.agents.enter(ticket, 'later')).rejects.toMatchObject({ code: 'ticket-used' })
})

test('what is not a live ticket is nobody’s: one of another worker, a changed one, one of a worker that is gone', async () => {
  await open()
  const [first, second] = [await ask(), await ask()]
  await h.pass(50)
  const [a, b] = [workerOf(first), workerOf(second)]
  const ticket = ticketOf(a)
  const { session } = await enter(b)
  const nobody = [ticket.replace(a, b), `${ticket.slice(0, -2)}AA`, session, ticketOf(b).replace('mtk', 'mss'), 'x', '']
  for (const text of nobody) expect(await h.engine.agents.enter(text, 'there')).toBeUndefined()
  for (const text of [session.replace(b, a), ticketOf(b), ticket, '']) expect(h.engine.agents.whose(text)).toBeUndefined()
  const gone = ticketOf(b)
  await h.engine.leases.release(second, { reason: 'enough' })
  await h.pass(2000)
  expect(h.engine.workers.get(b)).toBeUndefined()
  expect(await h.engine.agents.enter(gone, 'there')).toBeUndefined()
  expect(h.engine.agents.whose(session)).toBeUndefined()
  expect(await h.engine.workers.find(b)).toMatchObject({ ticket_hash: null, session_hash: null })
})

test('a ticket is worth nothing once its worker is on its way out, and the session is over with the lease', async () => {
  const slow = (method: string): { delayMs: number } | undefined => (method === 'terminate' ? { delayMs: 5000 } : undefined)
  await open({ providers: [{ ...agents, fault: slow }] })
  const [first, second] = [await ask(), await ask()]
  await h.pass(50)
  const [a, b] = [workerOf(first), workerOf(second)]
  const { session } = await enter(b)
  expect(h.engine.agents.isOver(h.engine.agents.whose(session) as never)).toBe(false)
  await Promise.all([first, second].map((id) => h.engine.leases.release(id, { reason: 'enough' })))
  await h.pass(10)
  await expect(h.engine.agents.enter(ticketOf(a), 'late')).rejects.toMatchObject({ code: 'ended' })
  const worker = h.engine.agents.whose(session)
  expect(worker?.phase).toBe('terminating')
  expect(h.engine.agents.isOver(worker as never)).toBe(true)
})

test('the work of an agent is over with the use of its worker, with its exit, and when its provider sees no life in it', async () => {
  await open()
  const lease = await ask()
  await h.pass(50)
  await enter(workerOf(lease))
  const worker = h.engine.workers.get(workerOf(lease))
  const isOver = (given: object): boolean => h.engine.agents.isOver({ ...worker, ...given } as never)
  const alive = [{}, { phase: 'launching', observed_phase: null }, { phase: 'starting' }, { phase: 'idle' }]
  expect(alive.map(isOver)).toEqual([false, false, false, false])
  const over = [{ phase: 'draining' }, { phase: 'terminating' }, { exit: '{"code":0}' }, { observed_phase: 'exited' }]
  expect(over.map(isOver)).toEqual([true, true, true, true])
})

test('an agent that is silent for two minutes is lost, and one that is heard of is not; after a restart it has the whole time', async () => {
  await open()
  const { id: lease } = await h.engine.leases.request(leaseRequest({ ttlMs: 3_000_000 }))
  await h.pass(50)
  const id = workerOf(lease)
  await enter(id)
  for (let beats = 0; beats < 10; beats++) {
    await h.pass(60_000)
    h.engine.agents.heard(id)
  }
  await h.pass(100_000)
  await h.crash(900_000)
  await h.pass(100_000)
  expect(h.engine.leases.get(lease)?.state).toBe('active')
  await h.pass(30_000)
  expect(await h.engine.leases.find(lease)).toMatchObject({ state: 'ended', end: 'lost' })
  expect(await rules(id)).toContain('agent-silent')
})

test('that another agent is heard of keeps no silent one', async () => {
  await open()
  const [silent, loud] = [await ask(), await ask()]
  await h.pass(50)
  for (const lease of [silent, loud]) await enter(workerOf(lease))
  for (let beats = 0; beats < 3; beats++) {
    await h.pass(50_000)
    h.engine.agents.heard(workerOf(loud))
  }
  expect(await h.engine.leases.find(silent)).toMatchObject({ state: 'ended', end: 'lost' })
  expect(h.engine.leases.get(loud)?.state).toBe('active')
})

test('agents wait in the stock of a pool, serve one lease each, and end when they are silent there', async () => {
  await open({ pools: [poolConfig({ work: 'agent', uses: 5, scale: { warm: 1 } })] })
  await h.pass(50)
  const [warm] = h.engine.workers.live()
  const id = warm?.id ?? ''
  await enter(id)
  expect(h.engine.workers.get(id)?.phase).toBe('idle')
  const lease = await ask()
  await h.pass(50)
  expect(workerOf(lease)).toBe(id)
  await h.engine.leases.release(lease, { reason: 'enough' })
  await h.pass(2000)
  expect(h.engine.workers.get(id)).toBeUndefined()
  const [next] = h.engine.workers.live()
  await enter(next?.id ?? '')
  await h.pass(130_000)
  expect(h.engine.workers.get(next?.id ?? '')).toBeUndefined()
})

test('an agent that is not told where the host is would never be heard of: its lease fails and says so', async () => {
  await open({ engine: {} })
  const lease = await ask()
  await h.pass(50)
  expect(await h.engine.leases.find(lease)).toMatchObject({ end: 'failed', end_reason: expect.stringMatching(/no url says/) })
})
