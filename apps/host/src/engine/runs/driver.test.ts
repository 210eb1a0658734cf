/** The steps of one run, as far as no worker is needed for them. */
import { expect, test } from 'vitest'
import { type TestClock, testClock } from '../testing/clock.ts'
import type { RunRecord } from '../model.ts'
import type { RunDeps } from './deps.ts'
import { driveRun } from './driver.ts'

type Wait = (id: string, until: unknown, signal: AbortSignal) => Promise<never>

interface Driven {
  deps: RunDeps
  clock: TestClock
  watchers: ReadonlySet<unknown>
  reports: string[]
  stop: AbortController
  run(): RunRecord
  change(next: Partial<RunRecord>): void
}

const waitsFor: Wait = (_id, _until, signal) =>
  new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)))

/** A run that is queued and has a lease; its worker is waited for by `wait`. */
function queued(wait: Wait): Driven {
  const watchers = new Set<(run: RunRecord) => void>()
  const reports: string[] = []
  const stop = new AbortController()
  const clock = testClock()
  let run = {
    ...{ id: 'r1', kind: 'run', pool: 'ci', state: 'queued', artifacts: '[]', request: '{}', request_sealed: 'sealed' },
    ...{ lease_id: 'l1', worker_id: null, started_at: null, ended_at: null, cancel_requested: 0, reason: null },
  } as RunRecord
  const change = (next: Partial<RunRecord>): void => {
    run = { ...run, ...next }
    for (const watcher of [...watchers]) watcher(run)
  }
  const deps = {
    engine: {
      clock,
      sealer: { open: () => '{}' },
      leases: { wait, ofRun: () => undefined },
      journal: { append: () => Promise.resolve() },
      store: { write: (work: (tx: object, after: () => void) => Promise<void>) => work({}, () => undefined) },
    },
    records: {
      get: () => (run.ended_at === null ? run : undefined),
      change: async (_id: string, work: (one: RunRecord) => Partial<RunRecord>) => change(work(run)),
      observe: (_id: string, watcher: (one: RunRecord) => void) => {
        watchers.add(watcher)
        return () => watchers.delete(watcher)
      },
    },
    killpoint: () => undefined,
    stopping: stop.signal,
    report: (message: string) => void reports.push(message),
  } as unknown as RunDeps
  return { deps, clock, watchers, reports, stop, run: () => run, change }
}

test('who waits for a worker hears of a cancel, and watches nothing once the run has ended', async () => {
  const at = queued(waitsFor)
  const driven = driveRun(at.deps, 'r1')
  expect(at.watchers.size).toBe(1)
  at.change({ cancel_requested: 1, reason: 'no need' })
  await driven
  expect(at.run()).toMatchObject({ state: 'ended', outcome: 'cancelled', reason: 'no need' })
  expect([at.watchers.size, at.reports]).toEqual([0, []])
})

test('a host that stops ends no run that waits for a worker: the next goes on with it', async () => {
  const at = queued(waitsFor)
  const driven = driveRun(at.deps, 'r1')
  at.stop.abort()
  await driven
  expect(at.run()).toMatchObject({ state: 'queued', ended_at: null })
  expect([at.watchers.size, at.reports]).toEqual([0, []])
})

test('a defect on the way is tried again, and in the end it is the end of the run, and says what it was', async () => {
  const at = queued(() => Promise.reject(new Error('this cannot be')))
  let over = false
  void driveRun(at.deps, 'r1').then(() => (over = true))
  for (let turns = 0; !over && turns < 20; turns++) {
    await new Promise((resolve) => setImmediate(resolve))
    at.clock.step(at.clock.now() + 1000)
  }
  expect(at.run()).toMatchObject({ state: 'ended', outcome: 'unknown', reason: 'the host failed: this cannot be' })
  expect(at.reports).toEqual(Array.from({ length: 3 }, () => 'a run driver failed'))
})
