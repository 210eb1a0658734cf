/** The steps of one run, as far as no worker is needed for them. */
import { expect, test } from 'vitest'
import { testClock } from '../testing/clock.ts'
import type { RunRecord } from '../model.ts'
import type { RunDeps } from './deps.ts'
import { driveRun } from './driver.ts'

test('who waits for a worker hears of a cancel, and watches nothing once the run has ended', async () => {
  const watchers = new Set<(run: RunRecord) => void>()
  let run = {
    ...{ id: 'r1', kind: 'run', pool: 'ci', state: 'queued', artifacts: '[]', request: '{}', request_sealed: 'sealed' },
    ...{ lease_id: 'l1', worker_id: null, started_at: null, ended_at: null, cancel_requested: 0, reason: null },
  } as RunRecord
  const change = (next: Partial<RunRecord>): void => {
    run = { ...run, ...next }
    for (const watcher of [...watchers]) watcher(run)
  }
  const wait = (_id: string, _until: unknown, signal: AbortSignal): Promise<never> =>
    new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)))
  const deps = {
    engine: {
      clock: testClock(),
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
    stopping: new AbortController().signal,
    report: (message: string) => expect.fail(message),
  } as unknown as RunDeps
  const driven = driveRun(deps, 'r1')
  expect(watchers.size).toBe(1)
  change({ cancel_requested: 1, reason: 'no need' })
  await driven
  expect(run).toMatchObject({ state: 'ended', outcome: 'cancelled', reason: 'no need' })
  expect(watchers.size).toBe(0)
})
