/** What a supervisor makes of its process, with processes of straw: none of them is started. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ProviderError } from '@muster/core'
import { tempFolder, type TempFolder } from '@muster/test/systems/temp'
import { waitFor } from '@muster/test/systems/wait'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { ProviderStatus } from './api.ts'
import { createRedactor } from './redactor.ts'
import { supervise, type Supervised, type SuperviseDeps } from './supervise.ts'
import { type Paused, pausedTimers } from './testing/pauses.ts'
import { type Straw, shutStore, straw, strawTarget } from './testing/straw.ts'
import { openUsers } from './users.ts'

let folder: TempFolder
let paused: Paused
let supervised: Supervised
let now: number
const states: ProviderStatus[] = []
const unfit: string[] = []
const lines: [string, object][] = []
beforeEach(async () => {
  folder = await tempFolder('supervise')
  paused = pausedTimers()
  now = 1_000_000
  for (const list of [states, unfit, lines]) list.length = 0
})
afterEach(async () => {
  await supervised.stop()
  paused[Symbol.dispose]()
  await folder.remove()
})

const line = (data: object, message: string): void => void lines.push([message, data])
const log = { debug: () => undefined, info: () => undefined, warn: line, error: line }
/** Nothing is known of what its workers were given: no start succeeds. */
const unread = (): ReturnType<typeof createRedactor> => createRedactor(shutStore)

function open(process: Straw | undefined, more: Partial<SuperviseDeps> = {}): Supervised {
  supervised = supervise({
    ...{ target: strawTarget(), redactor: unread(), owner: 'me', log, now: () => now, random: () => 0.5 },
    ...{ users: openUsers({ range: { from: 60_578, to: 60_599 }, data: folder.path }) },
    ...{ dataDir: folder.path, ownDir: join(folder.path, 'own'), fence: { epoch: () => 1, mayAct: () => true } },
    ...{ keepBundles: () => ({ most: 9, ms: 1e9 }), pulse: { everyMs: 1e6, silentMs: 1e6 } },
    onChange: (status) => states.push(status),
    onUnfit: (reason) => unfit.push(reason),
    ...(process === undefined ? {} : { process: process.process }),
    ...more,
  })
  return supervised
}

const status = (): ProviderStatus => supervised.provider.status()
const until = (state: string): Promise<unknown> => waitFor(state, () => status().state === state, { everyMs: 1 })
const own = new ProviderError('internal', 'it is broken')

test('a process is asked how it does, and what it says is shown', async () => {
  const one = straw({ state: 'ready', notes: ['n'], facts: { region: 'x' } })
  one.busiest = { bytes: 7, frames: 2 }
  open(one)
  now += 5
  expect(status()).toMatchObject({
    state: 'starting',
    since: 1_000_000,
    notes: [],
    facts: {},
    restarts: 0,
    retiring: 0,
    inFlight: 0,
  })
  await expect(supervised.provider.list({ limit: 1 })).rejects.toMatchObject({ code: 'transient', retryAfterMs: 100 })
  await until('ready')
  expect(status()).toEqual({
    ...{ name: 'p', alias: 'straw', plugin: { name: '@acme/straw', version: '1.0.0', contract: '1.0' }, level: 'L1' },
    ...{ state: 'ready', since: now, notes: ['n'], facts: { region: 'x' }, restarts: 0, pid: one.process.pid },
    ...{ breaker: 'closed', inFlight: 0, retiring: 0, busiest: { bytes: 7, frames: 2 } },
  })
  expect(states.map(({ state }) => state)).toEqual(['ready'])
  await supervised.first
})

test('one that initialises is starting; once it was well, it is degraded; and one that fails says why', async () => {
  const one = straw({ state: 'initialising', message: 'wait' }, { state: 'ready' }, { state: 'initialising', message: 'again' })
  open(one)
  await waitFor('the pause', () => paused.ms.length === 1, { everyMs: 1 })
  expect([status().state, paused.ms]).toEqual(['starting', [1000]])
  await paused.pass()
  await until('ready')
  // A call that fails for its credentials asks for a look, and says so until then.
  await expect(supervised.provider.list({ limit: 1 })).rejects.toMatchObject({ code: 'auth' })
  expect(status()).toMatchObject({ reason: 'list: the token is old', hint: 'renew the credentials of this provider' })
  await paused.pass()
  await waitFor('the next look', () => status().reason === 'again', { everyMs: 1 })
  expect(status()).toMatchObject({ state: 'degraded' })
  one.probes.splice(0, 1, { state: 'failed' })
  await paused.pass()
  await waitFor('a failed one', () => status().reason === 'the probe failed', { everyMs: 1 })
  one.probes.splice(0, 1, { state: 'failed', message: 'no', hint: 'do' })
  await paused.pass()
  await waitFor('its reason', () => status().reason === 'no', { everyMs: 1 })
  expect(status()).toMatchObject({ state: 'degraded', hint: 'do' })
  expect(paused.ms).toEqual([1000, 1000, 1000, 15_000, 15_000])
  // What is not its own fault says nothing of its version.
  expect(unfit).toEqual([])
})

test('a probe that fails by the plugin’s own fault five times in a row makes its version unfit, and one that is well ends that', async () => {
  const one = straw(own)
  open(one)
  for (let n = 0; n < 4; n++) await paused.pass()
  await waitFor('the fifth', () => unfit.length === 1, { everyMs: 1 })
  expect([unfit, status().breaker]).toEqual([['it is broken'], 'open'])
  one.probes.splice(0, 1, { state: 'ready' })
  await paused.pass()
  await until('ready')
  expect(status().breaker).toBe('closed')
})

test('one that ends by itself leaves a bundle and is started again after a pause; that is counted', async () => {
  const one = straw()
  one.said.push('last words')
  one.busiest = { bytes: 9, frames: 9 }
  open(one)
  await until('ready')
  one.end({ code: 3 })
  await until('degraded')
  expect(status()).toMatchObject({
    reason: 'it ended by itself (exit 3)',
    hint: 'it is started again; why: muster providers crash p',
    restarts: 0,
    // What it took is known after it.
    busiest: { bytes: 9, frames: 9 },
  })
  expect(status().pid).toBeUndefined()
  expect(one.told).toEqual(['kill'])
  expect(lines).toEqual([['a plugin process fell', expect.objectContaining({ provider: 'p', exit: { code: 3, signal: null } })]])
  const bundle = JSON.parse(await readFile(join(folder.path, status().crashBundle ?? ''), 'utf8')) as object
  expect(bundle).toEqual({
    ...{ at: now, provider: 'p', plugin: { name: '@acme/straw', version: '1.0.0' }, restarts: 0 },
    ...{ reason: 'it ended by itself (exit 3)', exit: { code: 3, signal: null }, output: ['last words'] },
  })
  await expect(supervised.provider.list({ limit: 1 })).rejects.toMatchObject({ code: 'transient', retryAfterMs: 200 })
  expect(paused.ms).toEqual([200])
  await paused.pass()
  await waitFor('the next start', () => paused.ms.length === 2, { everyMs: 1 })
  expect(status()).toMatchObject({ restarts: 1, reason: 'what its workers were given cannot be read: the store is shut' })
  // Twice as long with each, as long as none of them is well.
  expect(paused.ms).toEqual([200, 400])
  // What ails the store says nothing of the plugin.
  expect(unfit).toEqual([])
})

test.each([
  ['violation', { violation: 'bad-json' as const }],
  ['unresponsive', {}],
] as const)('one whose end is %s is left alone for minutes, and its version is unfit', async (kind, more) => {
  const one = straw({ state: 'initialising' })
  open(one)
  await waitFor('the first probe', () => paused.ms.length === 1, { everyMs: 1 })
  one.end({ kind, message: 'oh', ...more })
  await until('quarantined')
  expect(status()).toMatchObject({
    reason: 'it broke the protocol: oh',
    hint: `it is tried again at ${new Date(now + 300_000).toISOString()}, or now by: muster providers reconcile p; tell the author of @acme/straw`,
  })
  expect(unfit).toEqual(['it broke the protocol: oh'])
  expect(paused.ms.at(-1)).toBe(300_000)
  const bundle = JSON.parse(await readFile(join(folder.path, status().crashBundle ?? ''), 'utf8')) as object
  expect(bundle).toMatchObject('violation' in more ? { violation: 'bad-json' } : { restarts: 0 })
})

test('one that is left alone for minutes is started when somebody asks for it', async () => {
  const one = straw()
  open(one)
  await until('ready')
  one.end({ kind: 'violation', message: 'oh' })
  await until('quarantined')
  // The next start fails here: no place for its process. It was tried all the same.
  await supervised.wake()
  await waitFor('the pause after that start', () => paused.ms.length > 1, { everyMs: 1 })
  expect(status()).toMatchObject({ restarts: 1, state: 'degraded' })
})

test('what a process took too much of is why it ended, and no violation', async () => {
  const one = straw()
  one.excess = 'it took too much'
  open(one)
  await until('ready')
  one.end({ kind: 'violation' })
  await until('degraded')
  expect(status().reason).toBe('it took too much')
})

test('one that takes over is asked from then on; the one before ends once its calls have', async () => {
  const [one, two] = [straw(), straw({ state: 'ready', notes: ['second'] })]
  open(one)
  await until('ready')
  const leave = one.process.holds.hold()
  states.length = 0
  now += 1
  supervised.swap(strawTarget('2.0.0'), two.process)
  expect(states.map(({ state, plugin }) => [state, plugin.version])).toEqual([['ready', '2.0.0']])
  expect([supervised.target().plugin.manifest.version, supervised.provider.manifest.version]).toEqual(['2.0.0', '2.0.0'])
  await waitFor('the second', () => status().notes[0] === 'second', { everyMs: 1 })
  expect([status().retiring, status().pid, one.told]).toEqual([1, two.process.pid, []])
  leave()
  await waitFor('the first to go', () => status().retiring === 0, { everyMs: 1 })
  expect([one.told, two.told, status().restarts]).toEqual([['retire', 'close retired'], [], 0])
})

test('one that is handed out goes on; one that never came to its turn ends', async () => {
  const [one, two, three] = [straw(), straw(), straw({ state: 'ready', notes: ['third'] })]
  open(one)
  await until('ready')
  expect(supervised.takeOver(strawTarget('2.0.0'), two.process)).toBe(one.process)
  supervised.swap(strawTarget('3.0.0'), three.process)
  await waitFor('the third', () => status().notes[0] === 'third', { everyMs: 1 })
  await waitFor('the second to go', () => status().retiring === 0, { everyMs: 1 })
  expect([one.told, two.told, three.told]).toEqual([[], ['retire', 'close retired'], []])
})

test('one that comes new is asked by nobody before it was asked how it does', async () => {
  const one = straw({ state: 'ready' })
  open(one)
  expect(status()).toMatchObject({ state: 'starting' })
  expect(status().pid).toBeUndefined()
  await until('ready')
  expect(status().pid).toBe(one.process.pid)
})

test('one that was handed over has worked until now; without one, nothing is handed out', async () => {
  const one = straw({ state: 'initialising', message: 'once more' })
  open(one, { handed: true })
  expect(status()).toMatchObject({ state: 'ready', pid: one.process.pid })
  await until('degraded')
  expect(status().reason).toBe('once more')
  one.end()
  await waitFor('its end', () => status().pid === undefined, { everyMs: 1 })
  expect(supervised.takeOver(strawTarget('2.0.0'), straw().process)).toBeUndefined()
  await until('ready')
})

test('one that takes over while it is written down how the one before fell is what counts', async () => {
  for (const kind of ['ended', 'violation'] as const) {
    const [one, two] = [straw(), straw({ state: 'ready', notes: ['second'] })]
    open(one, { log: { ...log, warn: () => supervised.swap(strawTarget(), two.process) } })
    await until('ready')
    states.length = 0
    one.end({ kind })
    await waitFor('the second', () => status().notes[0] === 'second', { everyMs: 2 })
    expect([states.map(({ state }) => state), paused.ms, one.told]).toEqual([['ready'], [], ['kill']])
    await supervised.stop()
  }
})

test('a pause ends with a process that takes over, and is no restart then', async () => {
  open(undefined)
  await supervised.first
  await until('degraded')
  expect(status()).toMatchObject({ restarts: 0, hint: expect.stringContaining('started again') })
  supervised.swap(strawTarget(), straw().process)
  await until('ready')
  expect([status().restarts, status().reason, status().hint]).toEqual([0, undefined, undefined])
})

test('it is retired once its calls have ended, and says nothing after that', async () => {
  const one = straw()
  open(one)
  await until('ready')
  const leave = one.process.holds.hold()
  const retired = supervised.retire()
  await Promise.resolve()
  expect(one.told).toEqual([])
  leave()
  await retired
  expect([one.told, status().state, status().restarts]).toEqual([['retire', 'close retired', 'kill'], 'stopped', 0])
  expect(states.map(({ state }) => state)).toEqual(['ready', 'stopped'])
  // No bundle: it was told to go.
  expect([status().crashBundle, lines]).toEqual([undefined, []])
})

test('a bundle that cannot be written is told, and it is started again all the same', async () => {
  const one = straw()
  open(one, { dataDir: join(folder.path, 'x\0y') })
  await until('ready')
  one.end()
  await until('degraded')
  expect(lines.map(([message]) => message)).toEqual(['a plugin process fell', 'a crash bundle could not be written'])
  expect(status().crashBundle).toBeUndefined()
})

test('what becomes of a start while it is being stopped is told by nothing but its end', async () => {
  const reads = Promise.withResolvers<void>()
  const shut = Promise.withResolvers<never>()
  const next = (): Promise<never> => (reads.resolve(), shut.promise)
  open(undefined, { redactor: createRedactor(() => ({ [Symbol.asyncIterator]: () => ({ next }) })) })
  await reads.promise
  const stopped = supervised.stop()
  shut.reject(new Error('the store is shut'))
  await stopped
  expect(states.map(({ state }) => state)).toEqual(['stopped'])
})

test('one without a process is retired at once', async () => {
  open(undefined)
  await until('degraded')
  await supervised.retire()
  expect(status().state).toBe('stopped')
})

test('a vendor that is away five times in a row says nothing of the version', async () => {
  open(straw(new ProviderError('transient', 'it is away')))
  for (let n = 0; n < 5; n++) await paused.pass()
  await waitFor('the sixth', () => paused.ms.length === 6, { everyMs: 2 })
  expect([unfit, status().state, status().breaker]).toEqual([[], 'degraded', 'closed'])
})
