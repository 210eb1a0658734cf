/** Commands of which only their worker's end is known: it was told to end, and they with it. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type ExecChunk, ProviderError } from '@muster/core'
import { waitFor } from '@muster/test/systems/wait'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Runs } from '../runs-api.ts'
import { type Harness, openHarness, poolConfig } from '../testing/harness.ts'
import { startRuns } from './index.ts'

let dir: string
let h: Harness
let runs: Runs
let asked: number

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'muster-endless-'))
  asked = 0
  h = await openHarness({ pools: [poolConfig({ work: 'hold', graceMs: 20_000 })], providers: [{ name: 'one' }] })
  async function* output(): AsyncGenerator<ExecChunk> {
    yield* []
  }
  h.provider().exec = async () => {
    asked += 1
    const exit = Promise.resolve({ reason: 'unknown: all of its worker was told to end' })
    return { output: output(), exit, resize: async () => undefined }
  }
  const report = (message: string, error: unknown): void => void h.reports.push({ message, error })
  runs = await startRuns({ engine: h.engine, dataDir: dir, killpoint: () => undefined, report })
})
afterEach(async () => {
  await runs.stop()
  expect(h.reports).toEqual([])
  await h.close()
  await rm(dir, { recursive: true, force: true })
})

async function until(what: string, so: () => boolean, stepMs = 500): Promise<void> {
  await waitFor(what, async () => {
    await h.pass(stepMs)
    return so()
  })
}

async function created(): Promise<{ id: string; worker: string; from: number }> {
  const request = { pool: 'ci', command: ['make'], requirements: {}, stdin: false, inputs: [], outputs: [] }
  const { id } = await runs.create(request, { principal: 'tester' })
  await until('its end to be asked for', () => asked > 0)
  return { id, worker: runs.get(id)?.worker_id ?? '', from: h.clock.now() }
}

test('one whose worker is shown for as long as its grace ends with that worker, and by what is told of it', async () => {
  const { id, worker, from } = await created()
  await until('its grace to be over', () => h.clock.now() - from > 25_000)
  expect(runs.get(id)?.state).toBe('running')
  h.provider().vendor.workers.delete(worker)
  await until('its end', () => runs.get(id) === undefined)
  expect(await runs.find(id)).toMatchObject({ outcome: 'infrastructure', reason: expect.stringContaining('its worker was lost') })
})

test('one whose worker stays is given up once that has long been over', async () => {
  const { id, from } = await created()
  await until('its end', () => runs.get(id) === undefined, 2000)
  expect(h.clock.now() - from).toBeGreaterThan(50_000)
  // Each is a program that its provider starts in the worker.
  expect(asked).toBeLessThan(60)
  expect(await runs.find(id)).toMatchObject({
    outcome: 'unknown',
    reason: 'nobody can tell how it ended: unknown: all of its worker was told to end',
  })
})

test('a provider that cannot be asked whether the worker is there has not said that it is', async () => {
  const { id } = await created()
  const { inspect } = h.provider()
  h.provider().inspect = () => Promise.reject(new ProviderError('transient', 'no answer'))
  await h.pass(200_000)
  expect(runs.get(id)?.state).toBe('running')
  expect(asked).toBeLessThan(150)
  h.provider().inspect = inspect
  await until('its end', () => runs.get(id) === undefined, 2000)
})
