import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ProviderError } from '@muster/core'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { CallOptions } from '../../plugins/api.ts'
import type { Runs } from '../runs-api.ts'
import { type Harness, openHarness, poolConfig } from '../testing/harness.ts'
import { testClock } from '../testing/clock.ts'
import { awayMs } from './deps.ts'
import { startRuns } from './index.ts'
import { providerBack } from './missing.ts'

let dir: string
let h: Harness
let runs: Runs
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'muster-missing-'))
  h = await openHarness({ pools: [poolConfig({ work: 'hold' })], providers: [{ name: 'one' }, { name: 'two' }] })
})
afterEach(async () => {
  await runs.stop()
  await h.close()
  rmSync(dir, { recursive: true, force: true })
})

const start = async (): Promise<void> => {
  const report = (message: string, error: unknown): void => void h.reports.push({ message, error })
  runs = await startRuns({ engine: h.engine, dataDir: dir, killpoint: () => undefined, report })
}

/** A run whose command goes on at `one`, which the daemon does not know any more. */
async function missing(deadline: number | null = null): Promise<string> {
  const request = { pool: 'ci', command: ['true'], requirements: {}, stdin: false, inputs: [], outputs: [] }
  const silent = (signal: AbortSignal | undefined): Promise<never> =>
    new Promise((_, reject) => signal?.addEventListener('abort', () => reject(new ProviderError('cancelled', 'nobody waits'))))
  const one = h.provider('one')
  // Nobody hears of it until the host stops.
  Object.assign(one, {
    exec: (_target: unknown, _command: unknown, options?: CallOptions) => silent(options?.signal),
    execState: (_target: unknown, _id: unknown, options?: CallOptions) => silent(options?.signal),
  })
  await start()
  const { id } = await runs.create(request, { principal: 'tester' })
  // What a driver does with files is not time that the harness turns.
  await Promise.all([runs.wait(id, (run) => run.worker_id !== null), h.pass(100)])
  await h.engine.store.write((tx) => tx.updateTable('runs').set({ started_at: 1, state: 'running', deadline }).execute())
  await runs.stop()
  h.absent.add('one')
  await h.crash()
  await start()
  await h.pass(600_000)
  return id
}

test('a command that goes on at a provider that is configured no longer is waited for, until it is named again', async () => {
  const id = await missing()
  expect(runs.get(id)).toMatchObject({ state: 'running', ended_at: null })
  const worker = runs.get(id)?.worker_id ?? ''
  const refused = await runs
    .exec(worker, { command: ['true'], stdin: false }, { principal: 'tester' })
    .catch((error: unknown) => error)
  expect(refused).toMatchObject({ code: 'not-ready', message: expect.stringContaining(`is at 'one'`) as string })
  await runs.stop()
  h.absent.delete('one')
  // It has gone on meanwhile, and comes to its end.
  const output = (async function* () {
    yield* []
  })()
  Object.assign(h.provider('one'), { exec: async () => ({ output, exit: Promise.resolve({ code: 0, reason: 'exit 0' }) }) })
  await h.crash()
  await start()
  await Promise.all([runs.wait(id, (run) => run.ended_at !== null), h.pass(10_000)])
  expect(await runs.find(id)).toMatchObject({ outcome: 'passed' })
})

test('it ends with its time, and never for that alone', async () => {
  const id = await missing(h.clock.now() + 900_000)
  expect(runs.get(id)?.ended_at).toBe(null)
  await Promise.all([runs.wait(id, (run) => run.ended_at !== null), h.pass(400_000)])
  expect(await runs.find(id)).toMatchObject({
    outcome: 'timeout',
    log_problem: `no provider 'one' is configured any more`,
  })
})

test('a worker there that is forgotten takes its run with it', async () => {
  const id = await missing()
  await h.engine.workers.forget(runs.get(id)?.worker_id ?? '', { principal: 'ann', reason: 'its machine is gone' })
  await Promise.all([runs.wait(id, (run) => run.ended_at !== null), h.pass(10_000)])
  expect(await runs.find(id)).toMatchObject({
    outcome: 'unknown',
    reason: expect.stringContaining('its machine is gone') as string,
  })
})

test('a command that never began is waited for as long as all else, and one that has begun for longer', async () => {
  const isOver = async (startedAt: number | null): Promise<boolean> => {
    const clock = testClock()
    const stopping = new AbortController().signal
    const waiting = {
      deps: { engine: { clock, providerOf: () => undefined }, stopping },
      ...{ run: { started_at: startedAt }, worker: {} },
      watch: { started: () => undefined, stopped: new Promise(() => undefined) },
    } as unknown as Parameters<typeof providerBack>[0]
    let over = false
    void providerBack(waiting).then(() => (over = true))
    const until = clock.now() + awayMs
    while (clock.step(until)) for (let turns = 0; turns < 10; turns++) await Promise.resolve()
    return over
  }
  expect([await isOver(null), await isOver(1)]).toEqual([true, false])
})
