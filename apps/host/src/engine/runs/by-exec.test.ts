/** Commands by exec: what of this host, and what of the plugin, may end a run, and as what. */
import { type FileHandle, mkdtemp, open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ProviderError } from '@muster/core'
import { waitFor } from '@muster/test/systems/wait'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { DiskRoom } from '../disk.ts'
import type { RunRequest } from '../model.ts'
import type { Runs } from '../runs-api.ts'
import { type Commands, commandsIn } from '../testing/commands.ts'
import { type Harness, leaseRequest, openHarness, poolConfig } from '../testing/harness.ts'
import { startRuns } from './index.ts'

const minute = 60_000
let dir: string
let h: Harness
let runs: Runs
let commands: Commands
let fault: () => ProviderError | undefined
let room: DiskRoom

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'muster-by-exec-'))
  fault = () => undefined
  room = { free: 500, total: 1000 }
  h = await openHarness({ pools: [poolConfig({ work: 'hold' })], providers: [{ name: 'one' }] })
  commands = commandsIn(h.provider(), () => fault())
  const report = (message: string, error: unknown): void => void h.reports.push({ message, error })
  runs = await startRuns({ engine: h.engine, dataDir: dir, killpoint: () => undefined, report, room: () => room })
})
afterEach(async () => {
  vi.restoreAllMocks()
  await runs.stop()
  await h.close()
  await rm(dir, { recursive: true, force: true })
})

const plain: RunRequest = { pool: 'ci', command: ['make'], requirements: {}, stdin: false, inputs: [], outputs: [] }
const create = async (given: Partial<RunRequest> = {}): Promise<string> =>
  (await runs.create({ ...plain, ...given }, { principal: 'tester' })).id

async function until(what: string, so: () => boolean | Promise<boolean>, stepMs = 100): Promise<void> {
  await waitFor(what, async () => {
    await h.pass(stepMs)
    return so()
  })
}

async function logOf(id: string): Promise<string> {
  let text = ''
  for await (const { data } of runs.readLog(id, { from: 0, follow: false })) text += Buffer.from(data).toString()
  return text
}

/** No file takes a byte, until this is called. Nothing of it takes real time, as what the harness turns. */
async function fullDisk(): Promise<() => void> {
  const file = await open(dir)
  await file.close()
  const kind = Object.getPrototypeOf(file) as FileHandle
  const cut = vi.spyOn(kind, 'truncate').mockResolvedValue()
  const write = vi.spyOn(kind, 'write')
  write.mockImplementation(() => Promise.reject(Object.assign(new Error('no space left on device'), { code: 'ENOSPC' })))
  return () => {
    cut.mockRestore()
    write.mockRestore()
  }
}

test('the user that a command was asked for reaches the plugin, which has it or refuses it', async () => {
  const exec = h.provider().exec
  const users: (string | undefined)[] = []
  h.provider().exec = async (target, spec, options) => {
    users.push(spec.user)
    return exec(target, spec, options)
  }
  const lease = await h.engine.leases.request(leaseRequest({ pool: 'ci' }))
  await until('a worker', () => h.engine.leases.get(lease.id)?.state === 'active')
  const worker = h.engine.leases.get(lease.id)?.worker_id ?? ''
  for (const user of ['nobody', undefined])
    await runs.exec(worker, { command: ['id'], stdin: false, ...(user === undefined ? {} : { user }) }, { principal: 'tester' })
  await until('both to be begun', () => users.length === 2)
  expect(users).toEqual(expect.arrayContaining(['nobody', undefined]))
})

test('a store that is full while a command begins is waited for: that is no fault of its plugin', async () => {
  const asked = { before: 0 }
  fault = () => {
    // From the first word to the plugin on.
    if (asked.before++ === 0) h.ill = 'full'
    return undefined
  }
  const id = await create()
  await until('the command to be begun', () => asked.before > 1)
  await h.pass(10 * minute)
  expect(runs.get(id)).toMatchObject({ state: 'starting', started_at: null })
  h.ill = undefined
  await until('the command to run', () => runs.get(id)?.state === 'running', 1000)
  commands.end(runs.get(id)?.worker_id ?? '', 0)
  await until('its end', () => runs.get(id) === undefined)
  expect(await runs.find(id)).toMatchObject({ outcome: 'passed' })
  expect(commands.started.length).toBe(1)
})

test('a full disk is waited for, and no command that is killed meanwhile is taken for silent', async () => {
  const id = await create({ timeoutMs: 2 * minute })
  await until('the command to run', () => runs.get(id)?.state === 'running')
  const worker = runs.get(id)?.worker_id ?? ''
  const heal = await fullDisk()
  commands.write(worker, 'said while the disk was full')
  await h.pass(10 * minute)
  expect(runs.get(id)?.state).toBe('running')
  heal()
  await until('its output', async () => (await logOf(id)) === 'said while the disk was full', 1000)
  commands.end(worker, 143)
  await until('its end', () => runs.get(id) === undefined)
  expect(await runs.find(id)).toMatchObject({ outcome: 'timeout', exit: expect.stringContaining('143') })
})

test('output leaves room for the store: it waits, and other work goes on', async () => {
  const id = await create()
  await until('the command to run', () => runs.get(id)?.state === 'running')
  const worker = runs.get(id)?.worker_id ?? ''
  room = { free: 1, total: 1000 }
  await h.pass(2000)
  commands.write(worker, 'said while there was little room')
  await h.pass(minute)
  expect(await logOf(id)).toBe('')
  // The store takes what it must.
  const { id: lease } = await h.engine.leases.request(leaseRequest())
  await until('another worker', () => h.engine.leases.get(lease)?.state === 'active')
  room = { free: 500, total: 1000 }
  await until('its output', async () => (await logOf(id)) === 'said while there was little room', 1000)
  commands.end(worker, 0)
  await until('its end', () => runs.get(id) === undefined)
  expect(await runs.find(id)).toMatchObject({ outcome: 'passed' })
})

const internal = new ProviderError('internal', 'the plugin fell')
const transient = new ProviderError('transient', 'the vendor does not answer')
const unsupported = new ProviderError('unsupported', 'no such command here')
const notFound = new ProviderError('not-found', 'never heard of it')

test.each([
  ['the plugin falls over it for the last time', [internal, internal, internal, internal, internal, internal]],
  ['its provider refuses it', [transient, unsupported]],
  ['its worker has never heard of it', [notFound, notFound, notFound, notFound, notFound, notFound]],
])('a run that is cancelled before its command began is cancelled, also when %s', async (_, all) => {
  let [calls, cancel] = [0, true]
  fault = () => all[calls++]
  const provider = h.provider()
  const { exec } = provider
  // While the last try is under way: between two tries it would be the end of them.
  provider.exec = async (...asked) => {
    const [run] = await runs.list({})
    if (calls === all.length - 1 && cancel) await runs.cancel(run?.id ?? '', { principal: 'ann', reason: 'no need' })
    return exec(...asked)
  }
  const cancelled = await create()
  await until('the cancelled one to end', () => runs.get(cancelled) === undefined)
  expect(calls).toBe(all.length)
  expect(await runs.find(cancelled)).toMatchObject({ outcome: 'cancelled', reason: 'no need', started_at: null })
  ;[calls, cancel] = [0, false]
  const left = await create()
  await until('the other to end', () => runs.get(left) === undefined)
  expect(await runs.find(left)).toMatchObject({ outcome: 'infrastructure', started_at: null })
})

test('a run whose worker was lost says that the end of its log may be missing, and one that never began does not', async () => {
  const id = await create()
  await until('the command to run', () => runs.get(id)?.state === 'running')
  h.provider().vendor.workers.delete(runs.get(id)?.worker_id ?? '')
  await h.pass(2 * minute)
  await until('its end', () => runs.get(id) === undefined)
  expect(await runs.find(id)).toMatchObject({ outcome: 'infrastructure', log_problem: 'its worker was gone' })
  fault = () => unsupported
  const other = await create()
  await until('the other to end', () => runs.get(other) === undefined)
  expect(await runs.find(other)).toMatchObject({ outcome: 'infrastructure', log_problem: null })
})

const decisionsOf = async (id: string): Promise<string[]> =>
  (await h.engine.journal.why('run', id, { limit: 100 }))
    .filter(({ rule }) => rule === 'exec-retry')
    .map(({ decision }) => decision)

test('a command that its ready worker never starts is given up after the time that its pool gives a worker to start, and told meanwhile', async () => {
  let reason = 'no shell comes up'
  fault = () => new ProviderError('transient', reason)
  const id = await create()
  await until('the first try', async () => (await decisionsOf(id)).length > 0)
  await h.pass(20_000)
  expect(runs.get(id)).toMatchObject({ state: 'starting' })
  reason = 'killed by its memory limit'
  await until('its end', () => runs.get(id) === undefined, 10_000)
  expect(await runs.find(id)).toMatchObject({
    outcome: 'infrastructure',
    reason: 'its worker did not start the command within 60 s: transient: killed by its memory limit',
    started_at: null,
  })
  expect(await decisionsOf(id)).toEqual([
    'its command could not be started: transient: no shell comes up; asked again',
    'its command could not be started: transient: killed by its memory limit; asked again',
  ])
})

test.each([
  ['the worker knows of it', (id: string) => ({ state: 'running' as const, id })],
  [
    'nobody can tell',
    () => {
      throw new ProviderError('transient', 'no answer')
    },
  ],
])(
  'a command that is given up unbegun, and that may run after all because %s, ends as unknown: whoever repeats it would have it twice',
  async (_, state) => {
    fault = () => transient
    h.provider().execState = async (_target, id) => state(id)
    const id = await create()
    await until('its end', () => runs.get(id) === undefined, 10_000)
    expect(await runs.find(id)).toMatchObject({
      outcome: 'unknown',
      reason: expect.stringContaining('did not start the command within 60 s'),
      started_at: null,
    })
  },
)

test.each([
  ['it may run after all', 'unknown', true],
  ['it never began', 'infrastructure', false],
])('a worker that takes no command is handed to nobody else, when %s', async (_, outcome, running) => {
  const warm = poolConfig({ work: 'hold', uses: 10, scale: { warm: 1, max: 1 } })
  const settings = { reconcileMs: 30_000, orphanGraceMs: 120_000, retention: { recordsMs: 1e12, journalMs: 1e12 } }
  await h.engine.configure({ pools: [warm], ...settings }, { principal: 'ann', changes: ['it'], commit: () => undefined })
  await until('a worker', () => h.engine.pools.get('ci')?.workers['idle'] === 1)
  let sick = true
  fault = () => (sick ? transient : undefined)
  const { execState } = h.provider()
  if (running) h.provider().execState = async () => ({ state: 'running' })
  const id = await create()
  await until('its worker', () => typeof runs.get(id)?.worker_id === 'string')
  const bad = runs.get(id)?.worker_id ?? ''
  await until('its end', () => runs.get(id) === undefined, 10_000)
  expect(await runs.find(id)).toMatchObject({ outcome })
  sick = false
  h.provider().execState = execState
  const next = await create()
  await until('the next one to run', () => runs.get(next)?.state === 'running', 1000)
  expect(runs.get(next)?.worker_id).not.toBe(bad)
  expect(await h.engine.workers.find(bad)).toMatchObject({ phase: 'terminated' })
  // One that took it serves on.
  const good = runs.get(next)?.worker_id ?? ''
  commands.end(good, 1)
  await until('its end', () => runs.get(next) === undefined)
  await h.pass(1000)
  expect(h.engine.workers.get(good)).toMatchObject({ phase: 'idle' })
})

test('what this host may not ask just now is not held against the worker', async () => {
  let refused = true
  fault = () => (refused ? new ProviderError('cancelled', 'the host may not act', { effect: 'none' }) : undefined)
  const id = await create()
  for (let passed = 0; passed < 10; passed++) await h.pass(minute)
  expect(runs.get(id)).toMatchObject({ state: 'starting', started_at: null })
  expect(await decisionsOf(id)).toEqual([])
  refused = false
  await until('the command to run', () => runs.get(id)?.state === 'running', 1000)
})

test('nor does the time before it count after what this host could not ask', async () => {
  let error = transient
  fault = () => error
  const id = await create()
  await until('the first try', async () => (await decisionsOf(id)).length > 0)
  await h.pass(40_000)
  error = new ProviderError('cancelled', 'the host may not act', { effect: 'none' })
  await h.pass(minute)
  error = transient
  await h.pass(40_000)
  expect(runs.get(id)).toMatchObject({ state: 'starting' })
  await until('its end', () => runs.get(id) === undefined, 10_000)
  expect(await runs.find(id)).toMatchObject({ reason: expect.stringContaining('did not start the command within 60 s') })
})

test('a command whose provider is away is asked for again until it is back', async () => {
  let calls = 0
  fault = () => {
    calls += 1
    return transient
  }
  const { inspect } = h.provider()
  h.provider().inspect = () => Promise.reject(transient)
  const id = await create()
  await until('the first try', () => calls > 0)
  for (let passed = 0; passed < 30; passed++) await h.pass(minute)
  expect(runs.get(id)).toMatchObject({ state: 'starting', started_at: null })
  h.provider().inspect = inspect
  fault = () => undefined
  await until('the command to run', () => runs.get(id)?.state === 'running', 1000)
  commands.end(runs.get(id)?.worker_id ?? '', 0)
  await until('its end', () => runs.get(id) === undefined)
  expect(await runs.find(id)).toMatchObject({ outcome: 'passed' })
})

test('a command whose worker was stopped by hand ends as its worker did, whatever the provider calls that', async () => {
  const id = await create()
  await until('the command to run', () => runs.get(id)?.state === 'running')
  const worker = runs.get(id)?.worker_id ?? ''
  const made = h.provider().vendor.workers.get(worker)
  Object.assign(made ?? {}, { phase: 'exited', exit: { code: 137, reason: 'exited with code 137' } })
  const conflict = new ProviderError('conflict', 'the worker is not running: it is exited')
  fault = () => conflict
  commands.cut(conflict)
  await until('its end', () => runs.get(id) === undefined, 1000)
  const { outcome, reason } = (await runs.find(id)) ?? {}
  expect([outcome, reason]).toEqual(['infrastructure', expect.stringContaining('137')])
})

test('a command that was never sent, since its worker had ended by then, is not said to have begun perhaps', async () => {
  fault = () => new ProviderError('transient', 'its engine is down', { effect: 'none' })
  const id = await create()
  await until('the first try', async () => (await decisionsOf(id)).length > 0)
  const made = h.provider().vendor.workers.get(runs.get(id)?.worker_id ?? '')
  Object.assign(made ?? {}, { phase: 'exited', exit: { code: 0, reason: 'exited with code 0' } })
  fault = () => new ProviderError('conflict', 'the worker is not running: it is exited', { effect: 'none' })
  await until('its end', () => runs.get(id) === undefined, 1000)
  expect(await runs.find(id)).toMatchObject({ outcome: 'infrastructure', reason: expect.stringContaining('it is exited') })
})

test('a command that ends as it was asked to is not killed on top of it', async () => {
  const id = await create()
  await until('the command to run', () => runs.get(id)?.state === 'running')
  const worker = runs.get(id)?.worker_id ?? ''
  const signals: string[] = []
  h.provider().execKill = async (_target, { signal }) => {
    signals.push(signal)
    commands.end(worker, 143)
  }
  await runs.cancel(id, { principal: 'tester', reason: 'no need' })
  await until('its end', () => runs.get(id) === undefined)
  await h.pass(minute)
  expect(signals).toEqual(['SIGTERM'])
  expect(await runs.find(id)).toMatchObject({ outcome: 'cancelled' })
})

test('a kill that its worker refuses is not asked for again, and one that finds nobody is, for a while', async () => {
  const signals: string[] = []
  let error = notFound
  h.provider().execKill = async (_target, { signal }) => {
    signals.push(signal)
    throw error
  }
  const killed = async (): Promise<string[]> => {
    signals.length = 0
    const id = await create()
    await until('the command to run', () => runs.get(id)?.state === 'running')
    await runs.cancel(id, { principal: 'tester', reason: 'no need' })
    await h.pass(1000)
    await runs.cancel(id, { principal: 'tester', reason: 'now', force: true })
    await until('its end', () => runs.get(id) === undefined, 10_000)
    return signals
  }
  expect(await killed()).toEqual(['SIGTERM', 'SIGKILL'])
  error = transient
  expect((await killed()).filter((signal) => signal === 'SIGKILL')).toHaveLength(11)
})

test('who follows a log gets what the command says while it runs', async () => {
  const id = await create()
  await until('the command to run', () => runs.get(id)?.state === 'running')
  const worker = runs.get(id)?.worker_id ?? ''
  const followed = runs.readLog(id, { from: 0, follow: true })[Symbol.asyncIterator]()
  for (let count = 0; count < 10; count++) {
    const next = followed.next()
    // In the meantime it has looked, and waits.
    for (let looks = 0; looks < 3; looks++) await runs.logState(id)
    commands.write(worker, `line ${count}`)
    const { value } = await next
    expect(Buffer.from((value as { data: Uint8Array }).data).toString()).toBe(`line ${count}`)
  }
  expect(runs.get(id)?.state).toBe('running')
  await followed.return?.()
})

test('an input is told as delivered once its worker has it', async () => {
  let got = ''
  h.provider().copyIn = async (_target, { path, tar }) => {
    for await (const part of tar) got += `${path}: ${Buffer.from(part).toString()}`
  }
  const id = await create({ inputs: [{ name: 'in', path: 'work' }] })
  const tar = (async function* () {
    yield Buffer.from('tar')
  })()
  await runs.putInput(id, { name: 'in', tar })
  await until('the command to run', () => runs.get(id)?.state === 'running')
  expect(got).toBe('work: tar')
  expect(JSON.parse(runs.get(id)?.artifacts ?? '')).toMatchObject([{ name: 'in', path: 'work', bytes: 3, state: 'delivered' }])
})
