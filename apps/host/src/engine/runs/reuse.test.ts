/** Which workers serve another run after one, where their pool uses them again. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ProviderError } from '@muster/core'
import { waitFor } from '@muster/test/systems/wait'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Runs } from '../runs-api.ts'
import { type Commands, commandsIn } from '../testing/commands.ts'
import { type Harness, openHarness, poolConfig } from '../testing/harness.ts'
import { startRuns } from './index.ts'

let dir: string
let h: Harness
let runs: Runs
let commands: Commands
let fault: () => ProviderError | undefined

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'muster-reuse-'))
  fault = () => undefined
  h = await openHarness({ pools: [poolConfig({ work: 'hold', uses: 5 })], providers: [{ name: 'one' }] })
  commands = commandsIn(h.provider(), () => fault())
  const report = (message: string, error: unknown): void => void h.reports.push({ message, error })
  runs = await startRuns({ engine: h.engine, dataDir: dir, killpoint: () => undefined, report })
})
afterEach(async () => {
  await runs.stop()
  expect(h.reports).toEqual([])
  await h.close()
  await rm(dir, { recursive: true, force: true })
})

const request = { pool: 'ci', command: ['make'], requirements: {}, stdin: false, inputs: [], outputs: [] }
const create = async (): Promise<string> => (await runs.create(request, { principal: 'tester' })).id
const workerOf = (id: string): string => runs.get(id)?.worker_id ?? ''
const phaseOf = (worker: string): string => h.engine.workers.get(worker)?.phase ?? 'gone'

async function until(what: string, so: () => boolean, stepMs = 100): Promise<void> {
  await waitFor(what, async () => {
    await h.pass(stepMs)
    return so()
  })
}

test('one whose command ended as commands do', async () => {
  const id = await create()
  await until('the command to run', () => runs.get(id)?.state === 'running')
  const worker = workerOf(id)
  commands.end(worker, 3)
  await until('its end', () => runs.get(id) === undefined)
  expect(await runs.find(id)).toMatchObject({ outcome: 'failed' })
  expect(phaseOf(worker)).toBe('idle')
})

test('none that did not start a command: the next one would wait there as long, and end as this one', async () => {
  fault = () => new ProviderError('transient', 'no shell comes up')
  const id = await create()
  await until('it to be readied', () => workerOf(id) !== '')
  const worker = workerOf(id)
  await until('its end', () => runs.get(id) === undefined, 10_000)
  expect(await runs.find(id)).toMatchObject({ outcome: 'infrastructure', started_at: null })
  await until('its worker to go', () => phaseOf(worker) === 'gone')
})

test('none in which the command may go on: it was killed, and nobody answered', async () => {
  const id = await create()
  await until('the command to run', () => runs.get(id)?.state === 'running')
  const worker = workerOf(id)
  h.provider().execKill = async () => undefined
  await runs.cancel(id, { principal: 'tester', reason: 'no need', force: true })
  await until('its end', () => runs.get(id) === undefined, 10_000)
  expect(await runs.find(id)).toMatchObject({ outcome: 'cancelled', exit: expect.stringContaining('did not answer') })
  await until('its worker to go', () => phaseOf(worker) === 'gone')
})

test('the same, once all that a killed command had written is stored: as long as something comes, its worker is not silent', async () => {
  const id = await create()
  await until('the command to run', () => runs.get(id)?.state === 'running')
  const worker = workerOf(id)
  h.provider().execKill = async () => undefined
  await runs.cancel(id, { principal: 'tester', reason: 'no need', force: true })
  for (let piece = 0; piece < 6; piece++) {
    await h.pass(20_000)
    commands.write(worker, `${piece}`)
    // Storing it is not time that the harness turns.
    await waitFor('it to be stored', async () => (await runs.logState(id)).stdoutBytes > piece)
  }
  await h.pass(20_000)
  expect(runs.get(id)?.state).toBe('running')
  commands.end(worker, 137)
  await until('its end', () => runs.get(id) === undefined, 10_000)
  const ended = await runs.find(id)
  expect(ended).toMatchObject({ outcome: 'cancelled', exit: expect.stringContaining('137'), log_problem: null })
})

test('one that could not be killed is given up all the same, whatever it writes', async () => {
  const id = await create()
  await until('the command to run', () => runs.get(id)?.state === 'running')
  const worker = workerOf(id)
  h.provider().execKill = async () => {
    throw new ProviderError('unsupported', 'nothing can be killed here')
  }
  await runs.cancel(id, { principal: 'tester', reason: 'no need', force: true })
  for (let piece = 0; piece < 4; piece++) {
    await h.pass(20_000)
    commands.write(worker, `${piece}`)
  }
  await until('its end', () => runs.get(id) === undefined, 10_000)
  expect(await runs.find(id)).toMatchObject({ outcome: 'cancelled', exit: expect.stringContaining('did not answer') })
})
