import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { openHarness, poolConfig } from '../testing/harness.ts'
import { startRuns } from './index.ts'

const lateMs = 1000

interface Outcome {
  /** The lease was active, and the run never took note of it: the moment that is meant. */
  met: boolean
  /** Of the worker, once all has settled. */
  phase: string
}

/** A run that is cancelled so many turns before its worker gets ready. */
async function cancelledBefore(turns: number, { work, uses }: { work: 'command' | 'hold'; uses: number }): Promise<Outcome> {
  const dir = mkdtempSync(join(tmpdir(), 'muster-cancel-'))
  const h = await openHarness({ pools: [poolConfig({ work, uses })], providers: [{ name: 'one', readyMs: lateMs }] })
  try {
    const report = (message: string, error: unknown): void => void h.reports.push({ message, error })
    const runs = await startRuns({ engine: h.engine, dataDir: dir, killpoint: () => undefined, report })
    const request = { pool: 'ci', command: ['true'], requirements: {}, stdin: false, inputs: [], outputs: [] }
    const { id } = await runs.create(request, { principal: 'tester' })
    await h.pass(lateMs - 1)
    const cancelled = runs.cancel(id, { principal: 'tester', reason: 'no longer wanted' })
    for (let turn = 0; turn < turns; turn++) await Promise.resolve()
    const until = h.clock.now() + 1
    while (h.clock.step(until));
    await cancelled
    await h.settle()
    const rules = (await runs.why(id)).map((row) => row.rule)
    const run = await runs.find(id)
    const [worker] = h.engine.workers.live()
    await runs.stop()
    expect([run?.outcome, h.reports]).toEqual(['cancelled', []])
    return { met: rules.includes('lease-active') && run?.worker_id === null, phase: worker?.phase ?? 'gone' }
  } finally {
    await h.close()
    rmSync(dir, { recursive: true, force: true })
  }
}

test.each([
  ['is not kept for a log that nobody will ever read', { work: 'command', uses: 1 }, 'gone'],
  ['waits for the next lease where workers are used again', { work: 'hold', uses: 2 }, 'idle'],
] as const)('a worker that gets ready in the moment of a cancel %s', async (_, pool, phase) => {
  const all: Outcome[] = []
  for (let turns = 0; turns < 12; turns++) all.push(await cancelledBefore(turns, pool))
  const met = all.filter((one) => one.met)
  expect(met.length).toBeGreaterThan(0)
  expect(met.map((one) => one.phase)).toEqual(met.map(() => phase))
})
