/** A provider that cannot be reached for an hour: what is held is kept, nothing is made twice, and all goes on by itself. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ProviderError } from '@muster/core'
import { waitFor } from '@muster/test/systems/wait'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Runs } from './runs-api.ts'
import { startRuns } from './runs/index.ts'
import { type Commands, commandsIn } from './testing/commands.ts'
import { type Harness, leaseRequest, openHarness, poolConfig } from './testing/harness.ts'
import type { Fault } from './testing/vendor.ts'

const minute = 60_000
const lifetimeMs = 360 * minute
const who = { principal: 'ann' }
const closing: (() => Promise<unknown> | void)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

interface Site {
  h: Harness
  runs: Runs
  commands: Commands
  /** Every call fails from now on, and all that is open breaks. */
  away(): Promise<void>
  back(): void
  /** Output alone cannot be read. */
  mute(is: boolean): void
  start(count: number): Promise<string[]>
  /** Lets time pass until something is so. */
  until(what: string, so: () => boolean | Promise<boolean>): Promise<void>
  log(run: string): Promise<string>
  worker(run: string): string
  calls(): Record<string, number>
}

async function open(work: 'hold' | 'command', effect: 'none' | 'possible'): Promise<Site> {
  const dir = mkdtempSync(join(tmpdir(), 'muster-outage-'))
  closing.push(() => rmSync(dir, { recursive: true, force: true }))
  const error = new ProviderError('transient', 'the vendor does not answer', { effect })
  let [away, mute] = [false, false]
  const h = await openHarness({
    // Jitter as it comes, but the same each time.
    random: seeded(7),
    pools: [
      poolConfig({ work, scale: { max: 20 }, lifetimeMs, queueTimeoutMs: 120 * minute }),
      poolConfig({ name: 'held', work: 'hold', lifetimeMs, queueTimeoutMs: 120 * minute }),
    ],
    providers: [
      {
        name: 'one',
        capabilities: { logs: { live: true, delayMs: 0, split: false } },
        fault: () => (away ? { error, effect: effect === 'possible' } : undefined),
      },
    ],
  })
  closing.push(() => h.close())
  const provider = h.provider()
  const commands = commandsIn(provider, () => (away || mute ? error : undefined))
  const report = (message: string, data: unknown): void => void h.reports.push({ message, error: data })
  const runs = await startRuns({ engine: h.engine, dataDir: dir, killpoint: () => undefined, report })
  closing.push(() => runs.stop())
  return {
    h,
    runs,
    commands,
    async away() {
      away = true
      provider.cut(error)
      commands.cut(error)
      // As the supervisor does, a second after calls began to fail.
      await h.pass(1000)
      provider.setState('degraded', { reason: error.message })
    },
    back() {
      away = false
      provider.setState('ready')
    },
    mute(is) {
      mute = is
      if (is) commands.cut(error)
    },
    start: (count) =>
      Promise.all(
        Array.from({ length: count }, async () => {
          const request = { pool: 'ci', command: ['work'], requirements: {}, stdin: false, inputs: [], outputs: [] }
          return (await runs.create(request, who)).id
        }),
      ),
    async until(what, so) {
      await waitFor(what, async () => {
        await h.pass(100)
        return so()
      })
    },
    async log(run) {
      let text = ''
      for await (const { data } of runs.readLog(run, { from: 0, follow: false })) text += Buffer.from(data).toString()
      return text
    },
    worker: (run) => runs.get(run)?.worker_id ?? '',
    calls() {
      const counts: Record<string, number> = { commands: commands.asked() }
      for (const { method } of provider.vendor.calls) counts[method] = (counts[method] ?? 0) + 1
      return counts
    },
  }
}

/** Numerical Recipes' linear congruential generator. */
function seeded(seed: number): () => number {
  let state = seed
  return () => (state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0) / 2 ** 32
}

test.each([
  ['hold', 'none'],
  ['hold', 'possible'],
  ['command', 'none'],
  ['command', 'possible'],
] as const)('an hour away, with runs by %s and effect %s', { timeout: 120_000 }, async (work, effect) => {
  const { h, runs, commands, ...site } = await open(work, effect)
  const { vendor } = h.provider()
  const all = await site.start(25)
  const held = await h.engine.leases.request(leaseRequest({ pool: 'held', ttlMs: 10 * minute }))
  const given = await h.engine.leases.request(leaseRequest({ pool: 'held', ttlMs: 10 * minute }))
  const begun = (): string[] => all.filter((id) => runs.get(id)?.state === 'running')
  await site.until('twenty runs to go on', () => begun().length === 20)
  const leased = begun()
  const queued = all.filter((id) => !leased.includes(id))
  for (const id of leased) commands.write(site.worker(id), 'before\n')
  await site.until('their output to be stored', async () => (await Promise.all(leased.map(site.log))).every((log) => log !== ''))
  const before = [...commands.started]
  const calls = site.calls()

  // Its launch is under way when the vendor falls silent: in doubt, it is asked for again by the same id, until its start deadline.
  const launching = await h.engine.leases.request(leaseRequest({ pool: 'held', ttlMs: lifetimeMs }))
  await site.away()
  const made = [...vendor.made]
  expect(made.length).toBe(effect === 'possible' ? 23 : 22)
  // One ends, one is let go and one is asked for while nobody can be asked.
  await h.pass(5 * minute)
  const [ended, ...going] = leased as [string, ...string[]]
  for (const id of leased) commands.write(site.worker(id), 'meanwhile\n')
  commands.end(site.worker(ended), 3)
  await h.engine.leases.release(given.id, { reason: 'not needed' })
  const [late] = (await site.start(1)) as [string]
  for (let passed = 5; passed < 60; passed += 5) {
    await h.engine.leases.renew(held.id)
    await h.pass(5 * minute)
  }

  expect(begun()).toEqual(leased)
  expect(leased.map(site.worker).every((id) => h.engine.workers.get(id)?.phase === 'leased')).toBe(true)
  expect(h.engine.leases.get(held.id)?.state).toBe('active')
  expect([...queued, late].map((id) => runs.get(id)?.state)).toEqual(Array.from({ length: 6 }, () => 'queued'))
  expect(h.engine.leases.get(launching.id)).toMatchObject({ state: 'queued', tries: 1 })
  expect(vendor.made).toEqual(made)
  expect([...vendor.workers.keys()]).toEqual(expect.arrayContaining(leased.map(site.worker)))
  expect(commands.started).toEqual(before)
  expect(h.engine.conditions.list().map(({ scope, name, type }) => `${scope} ${name} ${type}`)).toEqual([
    'provider one list-failing',
    'provider one terminate-failing',
  ])
  const spent = Object.fromEntries(Object.entries(site.calls()).map(([method, count]) => [method, count - (calls[method] ?? 0)]))
  // Lists come at their interval and after each watch; 20 runs ask for themselves every quarter of a minute, in the mean.
  expect(spent['launch']).toBeLessThan(20)
  expect(spent['watch']).toBeLessThan(300)
  expect(spent['list']).toBeLessThan(600)
  expect(spent['terminate']).toBeLessThan(2 * 150)
  expect(spent['commands']).toBeLessThan(20 * 350)
  expect(spent['inspect'] ?? 0).toBeLessThan(20 * 350)

  site.back()
  await site.until('the one that ended to be known', async () => (await runs.find(ended))?.ended_at !== null)
  for (const id of going) commands.end(site.worker(id), 0)
  const rest = [...queued, late]
  await site.until('those that waited to go on', () => rest.every((id) => runs.get(id)?.state === 'running'))
  for (const id of rest) commands.end(site.worker(id), 0)
  await site.until('every run to end', async () =>
    (await Promise.all(all.map((id) => runs.find(id)))).every((run) => run?.ended_at !== null),
  )
  expect(await runs.find(ended)).toMatchObject({ outcome: 'failed' })
  for (const id of [...going, ...rest]) expect(await runs.find(id)).toMatchObject({ outcome: 'passed' })
  for (const id of leased) expect(await site.log(id)).toBe('before\nmeanwhile\n')
  expect(h.engine.leases.get(launching.id)?.state).toBe('active')
  for (const { id } of [held, launching]) await h.engine.leases.release(id, { reason: 'done' })
  await site.until('nothing to be left', () => vendor.workers.size === 0 && [...h.engine.workers.live()].length === 0)
  expect(new Set(vendor.made).size).toBe(vendor.made.length)
  expect(new Set(commands.started).size).toBe(commands.started.length)
  expect(h.engine.conditions.list()).toEqual([])
  const told = (await h.engine.journal.why('provider', 'one', { limit: 500 })).filter(({ rule }) => rule.startsWith('condition-'))
  expect(told.map(({ rule, inputs }) => `${rule} ${(JSON.parse(inputs) as { type: string }).type}`)).toEqual([
    'condition-raised list-failing',
    'condition-raised terminate-failing',
    'condition-cleared list-failing',
    'condition-cleared terminate-failing',
  ])
  expect(h.reports).toEqual([])
})

test.each([
  ['command', 'the last words'],
  ['hold', 'the last words'],
] as const)('what a command of %s said before its provider was away for an hour is read afterwards', async (work, words) => {
  const { h, runs, commands, ...site } = await open(work, 'none')
  const [id] = (await site.start(1)) as [string]
  await site.until('it to run', () => runs.get(id)?.state === 'running')
  const worker = site.worker(id)
  site.mute(true)
  commands.write(worker, words)
  commands.end(worker, 0)
  await h.pass(60 * minute)
  expect(runs.get(id)).toMatchObject({ state: 'running' })
  if (work === 'command') expect(h.engine.workers.get(worker)?.exit).not.toBeNull()
  site.mute(false)
  await site.until('it to end', async () => (await runs.find(id))?.outcome === 'passed')
  expect(await site.log(id)).toBe(words)
  expect(h.reports).toEqual([])
})

describe('with another placement that is ready', () => {
  let down: () => boolean
  beforeEach(() => {
    down = () => true
  })
  async function two(effect: 'none' | 'possible'): Promise<Harness> {
    const error = new ProviderError('transient', 'the engine does not answer', { effect })
    const fault = (method: string): Fault | undefined =>
      method === 'launch' && down() ? { error, effect: effect === 'possible' } : undefined
    const h = await openHarness({
      pools: [poolConfig({ placement: ['one', 'two'] })],
      providers: [{ name: 'one', fault }, { name: 'two' }],
    })
    closing.push(() => h.close())
    return h
  }
  const made = (h: Harness): number[] => ['one', 'two'].map((name) => h.provider(name).vendor.made.length)

  test('a launch that did nothing goes there once its provider is seen away, and not only after its start deadline', async () => {
    const h = await two('none')
    const { id } = await h.engine.leases.request(leaseRequest())
    await h.pass(2000)
    expect(h.engine.leases.get(id)).toMatchObject({ state: 'assigned', tries: 0 })
    h.provider('one').setState('degraded', { reason: 'it does not answer' })
    await h.pass(6000)
    expect(h.engine.leases.get(id)).toMatchObject({ state: 'active', tries: 0 })
    expect(made(h)).toEqual([0, 1])
    const told = (await h.engine.journal.why('lease', id)).find(({ rule }) => rule === 'launch-taken-back')
    expect(JSON.parse(told?.inputs ?? '')).toMatchObject({ reason: 'one is degraded, and two is ready', doubt: false })
    expect(await h.engine.workers.list({ ended: true })).toEqual(
      expect.arrayContaining([expect.objectContaining({ provider: 'one', end: 'never-made' })]),
    )
    expect(h.reports).toEqual([])
  })

  test('one that is back in a moment keeps its launches, and gets those that come meanwhile', async () => {
    const h = await two('none')
    let isDown = true
    down = () => isDown
    const { id } = await h.engine.leases.request(leaseRequest())
    await h.pass(500)
    h.provider('one').setState('degraded')
    const { id: later } = await h.engine.leases.request(leaseRequest())
    h.provider('one').setState('starting')
    await h.pass(3000)
    expect([id, later].map((one) => h.engine.leases.get(one)?.state)).toEqual(['assigned', 'queued'])
    isDown = false
    h.provider('one').setState('ready')
    await h.pass(3000)
    expect([id, later].map((one) => h.engine.leases.get(one)?.state)).toEqual(['active', 'active'])
    expect(made(h)).toEqual([2, 0])
    // It was well in between.
    await h.pass(3000)
    h.provider('one').setState('starting')
    const { id: third } = await h.engine.leases.request(leaseRequest())
    await h.pass(4000)
    expect(h.engine.leases.get(third)).toMatchObject({ state: 'queued' })
    await h.pass(2000)
    expect(h.engine.leases.get(third)).toMatchObject({ state: 'active' })
    expect(made(h)).toEqual([2, 1])
    expect(h.reports).toEqual([])
  })

  test('it waits where it is while no other one is ready, and goes on when one gets so', async () => {
    const h = await two('none')
    h.provider('two').setState('degraded')
    const { id } = await h.engine.leases.request(leaseRequest())
    await h.pass(1000)
    h.provider('one').setState('degraded')
    await h.pass(10_000)
    expect(h.engine.leases.get(id)).toMatchObject({ state: 'assigned' })
    h.provider('two').setState('ready')
    await h.pass(1000)
    expect(h.engine.leases.get(id)).toMatchObject({ state: 'active' })
    expect(made(h)).toEqual([0, 1])
    expect(h.reports).toEqual([])
  })

  test('one that may have done something stays with its provider until its start deadline', async () => {
    const h = await two('possible')
    const { id } = await h.engine.leases.request(leaseRequest())
    await h.pass(1000)
    h.provider('one').setState('degraded')
    await h.pass(10_000)
    expect(h.engine.leases.get(id)).toMatchObject({ state: 'assigned', tries: 0 })
    expect(made(h)).toEqual([1, 0])
    expect(h.reports).toEqual([])
  })
})
