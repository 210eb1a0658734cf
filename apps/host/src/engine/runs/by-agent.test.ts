/** Runs that an agent takes up: what it asks for, in every order, and what is left when it goes. */
import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { waitFor } from '@muster/test/systems/wait'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { AtRun, Order } from '../agent-api.ts'
import type { RunRecord, RunRequest } from '../model.ts'
import type { Runs } from '../runs-api.ts'
import { type Harness, leaseRequest, openHarness, poolConfig } from '../testing/harness.ts'
import { startRuns } from './index.ts'

let dir: string
let h: Harness
let runs: Runs
const never = new AbortController().signal

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'muster-agent-'))
  h = await openHarness({
    pools: [poolConfig({ work: 'agent' })],
    providers: [{ name: 'one', capabilities: { work: ['agent'] } }],
    engine: { urls: { one: 'http://127.0.0.1:7420' } },
  })
  await start()
})
afterEach(async () => {
  await runs.stop()
  expect(h.reports).toEqual([])
  await h.close()
  rmSync(dir, { recursive: true, force: true })
})

async function start(): Promise<void> {
  const report = (message: string, error: unknown): void => void h.reports.push({ message, error })
  runs = await startRuns({ engine: h.engine, dataDir: dir, killpoint: () => undefined, report })
}

const plain: RunRequest = { pool: 'ci', command: ['true'], requirements: {}, stdin: false, inputs: [], outputs: [] }

async function* bytesOf(text: string): AsyncGenerator<Uint8Array> {
  yield Buffer.from(text)
}

async function textOf(source: AsyncIterable<Uint8Array>): Promise<string> {
  const parts: Uint8Array[] = []
  for await (const part of source) parts.push(part)
  return Buffer.concat(parts).toString()
}

/** Its worker has an agent with a session. */
async function arrive(leaseId: string | null): Promise<string> {
  await h.pass(100)
  const id = h.engine.leases.get(leaseId ?? '')?.worker_id ?? ''
  const work = h.provider().vendor.workers.get(id)?.spec.work
  await h.engine.agents.enter(work?.mode === 'agent' ? work.ticket.$secret : '', 'test')
  await h.settle()
  return id
}

async function create(given: Partial<RunRequest> = {}): Promise<RunRecord> {
  return runs.create({ ...plain, ...given }, { principal: 'tester' })
}

async function taken(given: Partial<RunRequest> = {}): Promise<{ at: AtRun; order: Order; run: RunRecord }> {
  const run = await create(given)
  for (const { name } of given.inputs ?? []) await runs.putInput(run.id, { name, tar: bytesOf(`${name}-bytes`) })
  await h.settle()
  const workerId = await arrive((await runs.find(run.id))?.lease_id ?? null)
  const order = await runs.agent.next(workerId, never)
  if (order === undefined) throw new Error('there is no order')
  return { at: { workerId, runId: run.id }, order, run }
}

const ended = (id: string): Promise<RunRecord> => runs.wait(id, (run) => run.state === 'ended')
const logOf = async (id: string): Promise<string> => {
  const parts: string[] = []
  for await (const { stream, data } of runs.readLog(id, { from: 0, follow: false })) parts.push(`${stream}:${String(data)}`)
  return parts.join(' ')
}

test('an order has all that is needed, the log lands once, an output comes back, and the exit is the command’s', async () => {
  const { at, order } = await taken({
    command: ['make', 'all'],
    env: { A: 'b' },
    workdir: 'src',
    files: [{ path: 'f', base64: 'eA==' }],
    timeoutMs: 60_000,
    inputs: [{ name: 'in', path: 'work' }],
    outputs: [
      { name: 'out', path: 'dist' },
      { name: 'maybe', path: 'none', optional: true },
    ],
  })
  const sha256 = createHash('sha256').update('in-bytes').digest('hex')
  expect(order).toEqual({
    run: at.runId,
    command: ['make', 'all'],
    env: { A: 'b' },
    workdir: 'src',
    files: [{ path: 'f', base64: 'eA==' }],
    graceMs: 1000,
    timeoutMs: 60_000,
    inputs: [{ name: 'in', path: 'work', sha256, bytes: 8 }],
    outputs: [
      { name: 'out', path: 'dist', optional: false },
      { name: 'maybe', path: 'none', optional: true },
    ],
  })
  // Its time begins when it has what it needs.
  expect(runs.get(at.runId)?.state).toBe('starting')
  expect(await textOf((await runs.agent.openInput(at, 'in')).tar)).toBe('in-bytes')
  expect(runs.get(at.runId)).toMatchObject({ state: 'running', deadline: h.clock.now() + 60_000 })
  // The same order until it is done.
  expect((await runs.agent.next(at.workerId, never))?.run).toBe(at.runId)
  const piece = { stream: 'stdout' as const, offset: 0, data: Buffer.from('hello') }
  expect(await runs.agent.appendLog(at, piece)).toBe(5)
  expect(await runs.agent.appendLog(at, piece)).toBe(5)
  expect(await runs.agent.appendLog(at, { ...piece, offset: 3, data: Buffer.from('lo there') })).toBe(11)
  expect(await runs.agent.appendLog(at, { ...piece, stream: 'stderr', data: Buffer.from('oh') })).toBe(2)
  await expect(runs.agent.appendLog(at, { ...piece, offset: 20 })).rejects.toMatchObject({ code: 'gap', at: 11 })
  await expect(runs.agent.putOutput(at, { name: 'other', tar: bytesOf('x') })).rejects.toMatchObject({ code: 'not-found' })
  await expect(runs.agent.putOutput(at, { name: 'out', tar: bytesOf('x'), sha256: '0'.repeat(64) })).rejects.toMatchObject({
    code: 'digest',
  })
  expect(await runs.agent.putOutput(at, { name: 'out', tar: bytesOf('tar') })).toMatchObject({ state: 'stored', bytes: 3 })
  const [one, two] = await Promise.all([3, 4].map((code) => runs.agent.done(at, { code, reason: 'exited' }, never)))
  expect([one?.outcome, two?.outcome]).toEqual(['failed', 'failed'])
  const run = await ended(at.runId)
  expect(run).toMatchObject({ outcome: 'failed', exit: JSON.stringify({ code: 3, reason: 'exited' }) })
  expect(await logOf(at.runId)).toBe('stdout:hello stdout: there stderr:oh')
  expect(await textOf((await runs.openOutput(at.runId, 'out')).tar)).toBe('tar')
  await expect(runs.openOutput(at.runId, 'maybe')).rejects.toMatchObject({ code: 'not-found' })
  // Said again, it is as it was; all else is over.
  expect((await runs.agent.done(at, { code: 0, reason: 'again' }, never)).outcome).toBe('failed')
  await expect(runs.agent.next(at.workerId, never)).rejects.toMatchObject({ code: 'ended' })
  await expect(runs.agent.appendLog(at, piece)).rejects.toMatchObject({ code: 'ended' })
})

test('an output that was not handed in fails what would have passed', async () => {
  const { at } = await taken({ outputs: [{ name: 'out', path: 'dist' }] })
  await runs.agent.done(at, { code: 0, reason: 'exited' }, never)
  expect(await ended(at.runId)).toMatchObject({ outcome: 'failed', reason: 'it left no output out' })
})

test.each([
  [{ code: 0, reason: 'exited' }, 'passed'],
  [{ signal: 'SIGSEGV', reason: 'killed' }, 'failed'],
  [{ code: 137, oomKilled: true, reason: 'killed' }, 'oom'],
  [{ reason: 'nobody saw it' }, 'unknown'],
])('%j is %s', async (exit, outcome) => {
  const { at } = await taken()
  await runs.agent.done(at, exit, never)
  expect((await ended(at.runId)).outcome).toBe(outcome)
})

test('a worker has its own run and no other', async () => {
  const mine = await taken()
  const other = await taken()
  const foreign = { workerId: mine.at.workerId, runId: other.at.runId }
  const piece = { stream: 'stdout' as const, offset: 0, data: Buffer.from('x') }
  for (const tried of [
    runs.agent.appendLog(foreign, piece),
    runs.agent.openInput(foreign, 'in'),
    runs.agent.putOutput(foreign, { name: 'out', tar: bytesOf('x') }),
    runs.agent.wants(foreign, 'nothing', never),
    runs.agent.done(foreign, { code: 0, reason: '' }, never),
  ])
    await expect(tried).rejects.toMatchObject({ code: 'not-found' })
  expect((await runs.agent.next(mine.at.workerId, never))?.run).toBe(mine.at.runId)
})

test('a cancel is told at once, a second one kills, and what the command said meanwhile is kept', async () => {
  const { at } = await taken()
  const told = runs.agent.wants(at, 'nothing', never)
  await runs.cancel(at.runId, { principal: 'ann', reason: 'no need' })
  expect(await told).toEqual({ wants: 'stop', reason: 'no need' })
  const harder = runs.agent.wants(at, 'stop', never)
  await runs.cancel(at.runId, { principal: 'ann', reason: 'now', force: true })
  expect(await harder).toMatchObject({ wants: 'kill' })
  await runs.agent.appendLog(at, { stream: 'stdout', offset: 0, data: Buffer.from('bye') })
  await runs.agent.done(at, { signal: 'SIGKILL', reason: 'killed' }, never)
  expect(await ended(at.runId)).toMatchObject({ outcome: 'cancelled' })
  expect(await logOf(at.runId)).toBe('stdout:bye')
})

test('a time-out asks for the end, after the grace for a kill, and is not held up by an agent that does nothing', async () => {
  const { at } = await taken({ timeoutMs: 5000 })
  const told = runs.agent.wants(at, 'nothing', never)
  await h.pass(5000)
  expect(await told).toMatchObject({ wants: 'stop' })
  const harder = runs.agent.wants(at, 'stop', never)
  await h.pass(1000)
  expect(await harder).toMatchObject({ wants: 'kill' })
  await h.pass(31_000)
  expect(await ended(at.runId)).toMatchObject({ outcome: 'timeout' })
})

test('a run that nobody has taken up is cancelled at once', async () => {
  const run = await create()
  await arrive(run.lease_id)
  await runs.cancel(run.id, { principal: 'ann', reason: 'no need' })
  expect(await ended(run.id)).toMatchObject({ outcome: 'cancelled' })
})

test('an agent that ends before it is done leaves a run that nobody can blame on the command', async () => {
  const { at } = await taken()
  const worker = h.provider().vendor.workers.get(at.workerId)
  Object.assign(worker ?? {}, { phase: 'exited', ready: false, exit: { code: 137, reason: 'killed' } })
  h.provider().announce(at.workerId)
  expect(await ended(at.runId)).toMatchObject({
    outcome: 'infrastructure',
    reason: 'its agent ended before the command was done: exit 137',
    exit: null,
  })
})

test('one that the kernel killed for its memory, or that was to end anyway, leaves a run that says so', async () => {
  const exited = (id: string): void => {
    const exit = { code: 137, oomKilled: true, reason: 'killed' }
    Object.assign(h.provider().vendor.workers.get(id) ?? {}, { phase: 'exited', ready: false, exit })
    h.provider().announce(id)
  }
  const { at } = await taken()
  exited(at.workerId)
  const logProblem = 'its agent ended before the command was done'
  expect(await ended(at.runId)).toMatchObject({ outcome: 'oom', log_problem: logProblem })
  const other = await taken()
  await runs.cancel(other.at.runId, { principal: 'ann', reason: 'no need' })
  exited(other.at.workerId)
  expect(await ended(other.at.runId)).toMatchObject({ outcome: 'cancelled', reason: 'no need', log_problem: logProblem })
})

test('a host that stops in the moment in which a run is laid down for an agent leaves it to the next', async () => {
  const run = await create()
  const { target } = h.engine.workers
  let stopped: Promise<void> | undefined
  Object.assign(h.engine.workers, {
    target: (...given: Parameters<typeof target>) => {
      stopped ??= runs.stop()
      return target(...given)
    },
  })
  await arrive(run.lease_id)
  await waitFor('the run to be laid down', () => stopped !== undefined)
  await stopped
  expect(await runs.find(run.id)).toMatchObject({ state: 'starting', ended_at: null })
})

test('an upload that never ends does not hold the run whose worker is lost', async () => {
  const { at } = await taken({ outputs: [{ name: 'out', path: 'dist' }] })
  const hanging = (async function* (): AsyncGenerator<Uint8Array> {
    yield Buffer.from('begin')
    await new Promise(() => {})
  })()
  const upload = runs.agent.putOutput(at, { name: 'out', tar: hanging })
  upload.catch(() => undefined)
  await h.settle()
  await h.pass(130_000)
  expect(await ended(at.runId)).toMatchObject({ outcome: 'infrastructure', reason: expect.stringMatching(/not been heard of/) })
  await expect(upload).rejects.toMatchObject({ code: 'ended' })
})

test('an input that is being fetched ends with its run', async () => {
  const run = await create({ inputs: [{ name: 'in', path: 'work' }] })
  await runs.putInput(run.id, { name: 'in', tar: bytesOf('x'.repeat(1_000_000)) })
  await h.settle()
  const at = { workerId: await arrive((await runs.find(run.id))?.lease_id ?? null), runId: run.id }
  await runs.agent.next(at.workerId, never)
  const parts = (await runs.agent.openInput(at, 'in')).tar[Symbol.asyncIterator]()
  expect((await parts.next()).done).toBe(false)
  await h.engine.leases.release((await runs.find(run.id))?.lease_id ?? '', { reason: 'enough' })
  await h.pass(2000)
  await ended(run.id)
  await expect(parts.next()).rejects.toMatchObject({ code: 'ended' })
})

test('the agent goes on with its run after the host was killed', async () => {
  const { at } = await taken()
  await runs.agent.appendLog(at, { stream: 'stdout', offset: 0, data: Buffer.from('one') })
  await runs.stop()
  await h.crash(60_000)
  await start()
  const order = await runs.agent.next(at.workerId, never)
  expect(order?.run).toBe(at.runId)
  expect(await runs.agent.appendLog(at, { stream: 'stdout', offset: 0, data: Buffer.from('one two') })).toBe(7)
  await runs.agent.done(at, { code: 0, reason: 'exited' }, never)
  expect(await ended(at.runId)).toMatchObject({ outcome: 'passed' })
  expect(await logOf(at.runId)).toBe('stdout:one stdout: two')
})

test('what an agent has told of the end is kept while the store is full, and its run is not over for it meanwhile', async () => {
  const { at } = await taken()
  const heard: unknown[] = []
  const wish = runs.agent.wants(at, 'nothing', never)
  wish.catch((error: unknown) => heard.push(error))
  h.ill = 'full'
  const done = runs.agent.done(at, { code: 3, reason: 'exited' }, never)
  await h.pass(2000)
  expect(heard).toEqual([])
  await expect(runs.agent.done(at, { code: 3, reason: 'exited' }, never)).rejects.toMatchObject({ code: 'not-ready' })
  // It is done, and ends.
  const worker = h.provider().vendor.workers.get(at.workerId)
  Object.assign(worker ?? {}, { phase: 'exited', ready: false, exit: { code: 0, reason: 'done' } })
  await h.pass(2000)
  h.ill = undefined
  await h.pass(1000)
  expect((await done).outcome).toBe('failed')
  await expect(wish).rejects.toMatchObject({ code: 'ended' })
  expect(await ended(at.runId)).toMatchObject({ outcome: 'failed', reason: 'exit 3' })
})

test('a host that stops does not tell an agent that its run is over', async () => {
  const { at } = await taken()
  const heard: unknown[] = []
  const patience = new AbortController()
  const wish = runs.agent.wants(at, 'nothing', patience.signal)
  wish.catch((error: unknown) => heard.push(error))
  await runs.stop()
  await h.settle()
  expect(heard).toEqual([])
  patience.abort()
  expect(await wish).toEqual({ wants: 'nothing' })
})

test('in a lease that a client holds, runs are taken up one after the other', async () => {
  const lease = await h.engine.leases.request(leaseRequest())
  const workerId = await arrive(lease.id)
  const none = new AbortController()
  const waiting = runs.agent.next(workerId, none.signal)
  none.abort()
  expect(await waiting).toBeUndefined()
  const soon = runs.agent.next(workerId, never)
  const { pool: _pool, ...request } = plain
  const first = await runs.create({ ...request, lease: lease.id }, { principal: 'tester' })
  expect((await soon)?.run).toBe(first.id)
  const second = await runs.create({ ...request, lease: lease.id }, { principal: 'tester' })
  await h.settle()
  await runs.agent.done({ workerId, runId: first.id }, { code: 0, reason: 'exited' }, never)
  await ended(first.id)
  expect((await runs.agent.next(workerId, never))?.run).toBe(second.id)
  await runs.agent.done({ workerId, runId: second.id }, { code: 1, reason: 'exited' }, never)
  expect((await ended(second.id)).outcome).toBe('failed')
  expect(h.engine.leases.get(lease.id)?.state).toBe('active')
  await h.engine.leases.release(lease.id, { reason: 'enough' })
  await expect(runs.agent.next(workerId, never)).rejects.toMatchObject({ code: 'ended' })
})

test.each([[{ stdin: true }, 'stdin'] as const, [{ keepFailedMs: 1000 }, 'keepFailed'] as const])(
  'what an agent cannot give is refused at the door: %j',
  async (given, field) => {
    await expect(create(given)).rejects.toMatchObject({ code: 'refused', refusal: { nearest: { field } } })
  },
)

test.each([[{ requirements: { mode: 'hold' }, stdin: true }, 'mode'] as const, [{ stdin: true }, 'stdin'] as const])(
  'nor is it taken in for the worker of a lease, before and after that is there: %j',
  async (given, field) => {
    const lease = await h.engine.leases.request(leaseRequest())
    const { pool: _pool, ...request } = plain
    const asked = (): Promise<RunRecord> => runs.create({ ...request, ...given, lease: lease.id }, { principal: 'tester' })
    const refused = { code: 'refused', refusal: { nearest: { pool: 'ci', field } } }
    await expect(asked()).rejects.toMatchObject(refused)
    await arrive(lease.id)
    expect(h.engine.leases.get(lease.id)?.state).toBe('active')
    await expect(asked()).rejects.toMatchObject(refused)
  },
)

test('an agent that names what its run does not have is told which of both it was', async () => {
  const { at } = await taken({ outputs: [{ name: 'out', path: 'dist' }] })
  const told = (what: string): object => ({ code: 'not-found', message: `run ${at.runId} names no ${what}` })
  await expect(runs.agent.putOutput(at, { name: 'in', tar: bytesOf('x') })).rejects.toMatchObject(told("output 'in'"))
  await expect(runs.agent.openInput(at, 'out')).rejects.toMatchObject(told("input 'out'"))
})

test('an end that cannot be taken in is refused, not left without an answer', async () => {
  const { at } = await taken({ inputs: [{ name: 'in', path: 'work' }] })
  h.ill = 'full'
  const end = { code: 2, reason: 'its input was refused' }
  await expect(runs.agent.done(at, end, never)).rejects.toMatchObject({ name: 'StoreError', code: 'full' })
  h.ill = undefined
  await runs.agent.done(at, end, never)
  expect(await ended(at.runId)).toMatchObject({ outcome: 'failed' })
})
