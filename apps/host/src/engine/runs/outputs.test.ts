/** Outputs that cannot be had, or that nobody waits for: what the run is then. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ProviderError } from '@muster/core'
import { waitFor } from '@muster/test/systems/wait'
import { pack } from 'tar-stream'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { DiskRoom } from '../disk.ts'
import type { Artifact, RunRecord, RunRequest } from '../model.ts'
import type { Runs } from '../runs-api.ts'
import { type Commands, commandsIn } from '../testing/commands.ts'
import { type Harness, openHarness, poolConfig } from '../testing/harness.ts'
import { startRuns } from './index.ts'

const hour = 3_600_000
const minute = 60_000
let dir: string
let h: Harness
let runs: Runs
let commands: Commands
/** What the provider says of each path; absent: its tar. */
let faults: Record<string, ProviderError | undefined>
let asked: string[]
/** Of each path; absent: no tar, a line. */
let headers: Record<string, Buffer | undefined>
let room: DiskRoom
/** Of the data folder where that has another than what is in `runs`. */
let disk: DiskRoom | undefined

beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'muster-outputs-'))
  h = await openHarness({ pools: [poolConfig({ work: 'hold', lifetimeMs: 24 * hour })], providers: [{ name: 'one' }] })
  commands = commandsIn(h.provider(), () => undefined)
  faults = {}
  asked = []
  headers = {}
  room = { free: 5e11, total: 1e12 }
  disk = undefined
  h.provider().copyOut = async function* (_target, path, options): AsyncGenerator<Uint8Array> {
    asked.push(path)
    options?.signal?.throwIfAborted()
    if (faults[path] !== undefined) throw faults[path]
    yield headers[path] ?? Buffer.from(`tar of ${path}`)
  }
  await start()
})
afterEach(async () => {
  await runs.stop()
  expect(h.reports).toEqual([])
  await h.close()
  rmSync(dir, { recursive: true, force: true })
})

async function start(): Promise<void> {
  const report = (message: string, error: unknown): void => void h.reports.push({ message, error })
  runs = await startRuns({
    engine: h.engine,
    dataDir: dir,
    killpoint: () => undefined,
    report,
    room: (folder) => (folder === join(dir, 'runs') ? room : (disk ?? room)),
  })
}

const away = new ProviderError('transient', 'the vendor does not answer')
const plain: RunRequest = { pool: 'ci', command: ['make'], requirements: {}, stdin: false, inputs: [], outputs: [] }
const names = (...all: string[]): RunRequest['outputs'] => all.map((name) => ({ name, path: name }))

async function until(what: string, so: () => boolean | Promise<boolean>, stepMs = 100): Promise<void> {
  await waitFor(what, async () => {
    await h.pass(stepMs)
    return so()
  })
}

/** A run whose command has ended, and whose outputs are asked for. */
async function collecting(given: Partial<RunRequest>, code = 0): Promise<RunRecord> {
  const { id } = await runs.create({ ...plain, ...given }, { principal: 'tester' })
  await until('the command to run', () => runs.get(id)?.state === 'running')
  commands.end(runs.get(id)?.worker_id ?? '', code)
  await until('the outputs to be asked for', () => runs.get(id)?.state === 'collecting' && asked.length > 0)
  return runs.get(id) as RunRecord
}

async function ended(id: string, stepMs?: number): Promise<RunRecord> {
  await until('the run to end', () => runs.get(id) === undefined, stepMs)
  return (await runs.find(id)) as RunRecord
}

const statesOf = (run: RunRecord): string[] => (JSON.parse(run.artifacts) as Artifact[]).map((one) => `${one.name} ${one.state}`)
const lose = (run: RunRecord): unknown => h.provider().vendor.workers.delete(run.worker_id ?? '')
const outputs = [...names('dist'), { name: 'report', path: 'report', optional: true }]
const gone = 'it passed, but its output dist could not be had: its worker was gone'

test('a run that passed has not when its worker goes before what it needs is stored', async () => {
  faults['dist'] = faults['report'] = away
  const run = await collecting({ outputs })
  lose(run)
  const end = await ended(run.id, minute)
  expect(end).toMatchObject({ outcome: 'infrastructure', reason: gone, exit: expect.stringContaining('"code":0') })
  expect(statesOf(end)).toEqual(['dist missing', 'report missing'])
})

test.each([
  [outputs, 0, { outcome: 'infrastructure', reason: gone }],
  [outputs.slice(1), 0, { outcome: 'passed', reason: 'exit 0' }],
  [outputs, 3, { outcome: 'failed', reason: 'exit 3' }],
] as const)('nor when it goes while the host is down: %j, exit %i', async (wanted, code, expected) => {
  faults['dist'] = faults['report'] = away
  const run = await collecting({ outputs: [...wanted] }, code)
  await runs.stop()
  lose(run)
  await h.crash(10 * minute)
  await until('the worker to be found gone', () => h.engine.workers.get(run.worker_id ?? '') === undefined, minute)
  await start()
  const end = await ended(run.id)
  expect(end).toMatchObject(expected)
  expect(statesOf(end)).toEqual(wanted.map(({ name }) => `${name} missing`))
})

test('a host that is started again asks for what is not stored, and forgets nothing that was not there', async () => {
  faults['none'] = new ProviderError('not-found', 'there is no none')
  faults['dist'] = away
  const run = await collecting({ outputs: names('stored', 'none', 'dist') })
  await until('the last to be asked for', () => asked.includes('dist'))
  await runs.stop()
  await h.crash()
  commands = commandsIn(h.provider(), () => undefined)
  faults['dist'] = undefined
  asked = []
  await start()
  const end = await ended(run.id)
  expect(asked).toEqual(['none', 'dist'])
  expect(end).toMatchObject({ outcome: 'failed', reason: 'it left no output none' })
  expect(statesOf(end)).toEqual(['stored stored', 'none missing', 'dist stored'])
})

test('all outputs together are waited for as long as one, and not longer', async () => {
  for (const name of ['one', 'two', 'three']) faults[name] = away
  const run = await collecting({ outputs: names('one', 'two', 'three') })
  const began = h.clock.now()
  const end = await ended(run.id, minute)
  expect(end.outcome).toBe('infrastructure')
  expect(end.reason).toBe('it passed, but its output one, two, three could not be had: the vendor does not answer')
  expect((h.clock.now() - began) / hour).toBeCloseTo(2, 1)
})

test('a cancel ends the wait for outputs at once; what is stored stays, and without what it needs the run is cancelled', async () => {
  faults['dist'] = away
  const run = await collecting({ outputs: names('log', 'dist') })
  await until('the last to be asked for', () => asked.includes('dist'))
  const before = h.clock.now()
  expect(await runs.cancel(run.id, { principal: 'ann', reason: 'no need' })).toMatchObject({ reason: 'exit 0' })
  await waitFor('the end', async () => {
    await h.settle()
    return runs.get(run.id) === undefined
  })
  expect(h.clock.now()).toBe(before)
  const end = (await runs.find(run.id)) as RunRecord
  expect(end).toMatchObject({ outcome: 'cancelled', reason: 'cancelled before its output dist was stored' })
  expect(statesOf(end)).toEqual(['log stored', 'dist missing'])
  expect((await runs.why(run.id)).map((row) => row.decision)).toContain('its outputs are waited for no longer')
})

test('a cancel that came while the command ended is not forgotten over a restart', async () => {
  faults['dist'] = away
  const run = await collecting({ outputs: names('dist') })
  await runs.stop()
  await h.engine.store.write((tx) => tx.updateTable('runs').set({ cancel_requested: 1 }).execute())
  await h.crash()
  await start()
  expect(await ended(run.id)).toMatchObject({ outcome: 'cancelled' })
})

test('without the outputs that it does not need a cancelled run has passed', async () => {
  faults['report'] = away
  const run = await collecting({ outputs })
  await until('the last to be asked for', () => asked.includes('report'))
  await runs.cancel(run.id, { principal: 'ann', reason: 'no need' })
  const end = await ended(run.id)
  expect(end).toMatchObject({ outcome: 'passed', reason: 'exit 0' })
  expect(statesOf(end)).toEqual(['dist stored', 'report missing'])
})

test('the time-out is the command’s: its outputs may take longer', async () => {
  faults['dist'] = away
  const run = await collecting({ outputs: names('dist'), timeoutMs: minute })
  await h.pass(10 * minute)
  faults['dist'] = undefined
  expect(await ended(run.id, 1000)).toMatchObject({ outcome: 'passed' })
})

test('an output that its provider cannot give is the host’s to have, and none that the command left out', async () => {
  faults['dist'] = new ProviderError('conflict', 'its worker is frozen')
  faults['report'] = new ProviderError('not-found', 'there is none')
  const { id } = await runs.create({ ...plain, outputs }, { principal: 'tester' })
  await until('the command to run', () => runs.get(id)?.state === 'running')
  commands.end(runs.get(id)?.worker_id ?? '', 0)
  expect(await ended(id)).toMatchObject({
    outcome: 'infrastructure',
    reason: 'it passed, but its output dist could not be had: its worker is frozen',
  })
})

/** The first block of a tar with one file, of which nothing else has come. */
async function headerOf(size: number): Promise<Buffer> {
  const tar = pack()
  tar.entry({ name: 'big', size })
  for await (const block of tar as AsyncIterable<Buffer>) return block
  throw new Error('a tar without a block')
}

test('an output that does not fit yet waits without taking what is free, and its run says for what', async () => {
  room = { free: 1e9, total: 1e11 }
  headers['dist'] = await headerOf(2e9)
  const run = await collecting({ outputs: names('dist') })
  const told = () => h.engine.conditions.list().filter(({ type, name }) => type === 'output-waits' && name === 'runs')
  const waits = "an output of 2000000512 bytes waits for room on the disk of the data folder's runs"
  for (let tries = 0; tries < 3; tries++) {
    const before = asked.length
    await until('another try', () => asked.length > before, 1000)
    expect(told()).toMatchObject([{ message: expect.stringContaining(`${waits} (run ${run.id})`) }])
  }
  const rows = (await runs.why(run.id)).filter(({ rule }) => rule === 'output-retry')
  expect(rows.map(({ decision }) => decision)).toEqual([`its output dist could not be stored: ${waits}; taken out again`])
  room = { free: 5e9, total: 1e11 }
  expect(await ended(run.id, 1000)).toMatchObject({ outcome: 'passed' })
  expect(told()).toEqual([])
})

test('where runs have a disk of their own, an output has to fit on that, not beside the store', async () => {
  disk = { free: 5e8, total: 7e8 }
  headers['dist'] = await headerOf(6e9)
  const { id } = await runs.create({ ...plain, outputs: names('dist') }, { principal: 'tester' })
  await until('the command to run', () => runs.get(id)?.state === 'running')
  commands.end(runs.get(id)?.worker_id ?? '', 0)
  expect(await ended(id)).toMatchObject({ outcome: 'passed' })
  expect(asked).toEqual(['dist'])
})

test.each([
  [
    { free: 5e8, total: 7e8 },
    6e9,
    { outcome: 'infrastructure', reason: /could not be had: it has 6000000512 bytes, and the disk .* takes 686000000 at most/ },
  ],
  [
    { free: 5e11, total: 1e12 },
    6e10,
    { outcome: 'failed', reason: /it left no output dist: an output of more than 17179869184 bytes/ },
  ],
])('one that can never be stored is asked for once: %j, %i', async (had, size, { outcome, reason }) => {
  room = had
  headers['dist'] = await headerOf(size)
  const { id } = await runs.create({ ...plain, outputs: names('dist') }, { principal: 'tester' })
  await until('the command to run', () => runs.get(id)?.state === 'running')
  commands.end(runs.get(id)?.worker_id ?? '', 0)
  expect(await ended(id)).toMatchObject({ outcome, reason: expect.stringMatching(reason) })
  expect(asked).toEqual(['dist'])
})
