import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ProviderError } from '@muster/core'
import { expect, test } from 'vitest'
import type { CallOptions } from '../../plugins/api.ts'
import type { Runs } from '../runs-api.ts'
import { openHarness, poolConfig } from '../testing/harness.ts'
import { startRuns } from './index.ts'

test('a command that goes on at a provider that is configured no longer has an end that nobody knows', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'muster-missing-'))
  const h = await openHarness({ pools: [poolConfig({ work: 'hold' })], providers: [{ name: 'one' }, { name: 'two' }] })
  const report = (message: string, error: unknown): void => void h.reports.push({ message, error })
  const start = (): Promise<Runs> => startRuns({ engine: h.engine, dataDir: dir, killpoint: () => undefined, report })
  try {
    const request = { pool: 'ci', command: ['true'], requirements: {}, stdin: false, inputs: [], outputs: [] }
    // The command goes on: nobody hears of it until the host stops.
    const silent = (signal: AbortSignal | undefined): Promise<never> =>
      new Promise((_, reject) => signal?.addEventListener('abort', () => reject(new ProviderError('cancelled', 'nobody waits'))))
    Object.assign(h.provider('one'), {
      exec: (_target: unknown, _command: unknown, options?: CallOptions) => silent(options?.signal),
      execState: (_target: unknown, _id: unknown, options?: CallOptions) => silent(options?.signal),
    })
    let runs = await start()
    const { id } = await runs.create(request, { principal: 'tester' })
    // What a driver does with files is not time that the harness turns.
    await Promise.all([runs.wait(id, (run) => run.worker_id !== null), h.pass(100)])
    expect(runs.get(id)?.worker_id).toMatch(/^w/)
    await h.engine.store.write((tx) => tx.updateTable('runs').set({ started_at: 1, state: 'running' }).execute())
    await runs.stop()
    h.absent.add('one')
    await h.crash()
    runs = await start()
    await Promise.all([runs.wait(id, (run) => run.ended_at !== null), h.pass(1000)])
    expect(await runs.find(id)).toMatchObject({ outcome: 'unknown', reason: `no provider 'one' is configured any more` })
    await runs.stop()
  } finally {
    await h.close()
    rmSync(dir, { recursive: true, force: true })
  }
})
