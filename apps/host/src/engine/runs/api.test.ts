/** Runs as their clients see them: in workers that others hold, listed, told of in the journal, ended. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { waitFor } from '@muster/test/systems/wait'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Also } from '../api.ts'
import type { RunRecord, RunRequest } from '../model.ts'
import type { Runs } from '../runs-api.ts'
import { type Commands, commandsIn } from '../testing/commands.ts'
import { type Harness, leaseRequest, openHarness, poolConfig } from '../testing/harness.ts'
import { type RunsOptions, startRuns } from './index.ts'

let dir: string
let h: Harness
let runs: Runs
let commands: Commands

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'muster-runs-'))
  h = await openHarness({
    pools: [poolConfig({ work: 'hold' }), poolConfig({ name: 'other', work: 'hold' })],
    providers: [{ name: 'one', fault: (method) => (method === 'launch' ? { delayMs: 500 } : undefined) }],
  })
  commands = commandsIn(h.provider(), () => undefined)
  await start()
})
afterEach(async () => {
  await runs.stop()
  expect(h.reports).toEqual([])
  await h.close()
  await rm(dir, { recursive: true, force: true })
})

async function start(given: Partial<RunsOptions> = {}): Promise<void> {
  const report = (message: string, error: unknown): void => void h.reports.push({ message, error })
  runs = await startRuns({ engine: h.engine, dataDir: dir, killpoint: () => undefined, report, ...given })
}

const tester = { principal: 'tester' }
const plain: RunRequest = { pool: 'ci', command: ['make'], requirements: {}, stdin: false, inputs: [], outputs: [] }

async function untilIn(state: string, id: string): Promise<RunRecord | undefined> {
  await waitFor(`a run that is ${state}`, async () => {
    await h.pass(100)
    return (await runs.find(id))?.state === state
  })
  return runs.find(id)
}

async function running(given: Partial<RunRequest> = {}): Promise<RunRecord> {
  const { id } = await runs.create({ ...plain, ...given }, tester)
  const run = await untilIn('running', id)
  if (run === undefined) throw new Error('it was not kept')
  return run
}

async function passed(run: RunRecord): Promise<RunRecord | undefined> {
  commands.end(run.worker_id ?? '', 0)
  return untilIn('ended', run.id)
}

test('a command goes into a worker that somebody holds, once it is there and while it is not ending', async () => {
  const lease = await h.engine.leases.request(leaseRequest())
  await h.settle()
  const [{ id: worker } = { id: '' }] = h.engine.workers.live()
  const exec = (): Promise<RunRecord> => runs.exec(worker, { command: ['ls'], stdin: false }, tester)
  await expect(exec()).rejects.toMatchObject({ code: 'not-ready', message: `worker ${worker} is launching` })
  await h.pass(1000)
  const run = await exec()
  await untilIn('running', run.id)
  await h.pass(5000)
  expect(await passed(run)).toMatchObject({ kind: 'exec', outcome: 'passed', worker_id: worker })
  expect(h.engine.leases.get(lease.id)?.state).toBe('active')
  h.provider().terminate = async () => ({ state: 'terminating' })
  await h.engine.leases.release(lease.id, { reason: 'done' })
  await h.settle()
  await expect(exec()).rejects.toMatchObject({ code: 'not-ready', message: `worker ${worker} is terminating` })
})

test('what shall be stored with a command in a worker is stored with it, or neither is', async () => {
  await h.engine.leases.request(leaseRequest())
  await h.pass(1000)
  const [{ id: worker } = { id: '' }] = h.engine.workers.live()
  const exec = (also: Also<RunRecord>): Promise<RunRecord> =>
    runs.exec(worker, { command: ['ls'], stdin: false }, { ...tester, also })
  await expect(exec(() => Promise.reject(new Error('it was asked for before')))).rejects.toThrow('it was asked for before')
  expect(await runs.list({})).toEqual([])
  const told: string[] = []
  const { id } = await exec(async (_tx, _after, run) => void told.push(run.id))
  expect(told).toEqual([id])
})

test('a list is of one pool, one worker or one state, and has those that have ended when they are asked for', async () => {
  const done = await running()
  await passed(done)
  const here = await running()
  const there = await runs.create({ ...plain, pool: 'other' }, tester)
  const names = new Map([done, here, there].map(({ id }, at) => [id, ['done', 'here', 'there'][at]]))
  const listed = async (how: Parameters<Runs['list']>[0]): Promise<unknown[]> =>
    (await runs.list(how)).map(({ id }) => names.get(id))
  expect(await listed({})).toEqual(['there', 'here'])
  expect(await listed({ ended: true })).toEqual(['there', 'here', 'done'])
  expect(await listed({ ended: true, pool: 'ci' })).toEqual(['here', 'done'])
  expect(await listed({ ended: true, worker: here.worker_id ?? '' })).toEqual(['here'])
  expect([await listed({ ended: true, state: 'running' }), await listed({ ended: true, state: 'ended' })]).toEqual([
    ['here'],
    ['done'],
  ])
})

test('how much room logs and outputs take is told when retention has looked', async () => {
  await runs.stop()
  const told: number[] = []
  const retention = { runsMs: 1e12, logsMs: 1e12, records: 100, logsBytes: 1e9 }
  await start({ retention: () => retention, measured: (bytes) => told.push(bytes) })
  await waitFor('a look', async () => {
    await h.pass(60_000)
    return told.length > 0
  })
  expect(told[0]).toBe(0)
})

test('a list has as many as were asked for, the newest first, and those with the labels that were asked for', async () => {
  const ids: string[] = []
  for (const team of ['a', 'b', 'a']) ids.unshift((await runs.create({ ...plain, labels: { team } }, tester)).id)
  const listed = async (how: Parameters<Runs['list']>[0]): Promise<number[]> =>
    (await runs.list(how)).map(({ id }) => ids.indexOf(id))
  expect([await listed({}), await listed({ limit: 2 })]).toEqual([
    [0, 1, 2],
    [0, 1],
  ])
  expect([await listed({ labels: { team: 'a' } }), await listed({ labels: { team: 'a' }, limit: 1 })]).toEqual([[0, 2], [0]])
  expect(await listed({ labels: { team: 'a', more: 'x' } })).toEqual([])
})

test('a list by labels has each run once, however many pages are looked through for it', async () => {
  await running()
  const row = await h.engine.store.read.selectFrom('runs').selectAll().executeTakeFirstOrThrow()
  const teams = Array.from({ length: 120 }, (_, n) => ({ id: `r${String(n).padStart(26, '0')}`, team: n % 2 === 0 ? 'a' : 'b' }))
  const rows = teams.map(({ id, team }) => ({
    ...row,
    id,
    state: 'ended',
    ended_at: 1,
    request: JSON.stringify({ labels: { team } }),
  }))
  await h.engine.store.write(async (tx) => void (await tx.insertInto('runs').values(rows).execute()))
  const listed = await runs.list({ ended: true, labels: { team: 'a' }, limit: 100 })
  expect(listed.map(({ id }) => id)).toEqual(teams.flatMap(({ id, team }) => (team === 'a' ? [id] : [])).reverse())
})

test('a run takes no worker before its inputs have come', async () => {
  const { id } = await runs.create({ ...plain, inputs: [{ name: 'src', path: '/src' }] }, tester)
  await h.pass(1000)
  expect(runs.get(id)).toMatchObject({ state: 'uploading', lease_id: null })
  expect(await h.engine.leases.list({ ended: true })).toEqual([])
})

test('what shall be stored with a run is stored with it', async () => {
  const told: string[] = []
  const also: Also<RunRecord> = async (_tx, _after, run) => void told.push(run.id)
  const { id } = await runs.create(plain, { ...tester }, also)
  expect(told).toEqual([id])
})

test('nobody waits for a run that is not there', async () => {
  await expect(runs.wait('r0', () => true)).rejects.toMatchObject({ code: 'not-found', message: 'no run r0' })
})

test('the lease of a run knows it from its begin to its end, and ends as it does', async () => {
  const run = await running()
  const lease = run.lease_id ?? ''
  expect(await passed(run)).toMatchObject({ outcome: 'passed' })
  const rows = (await h.engine.journal.why('lease', lease)).filter((row) => row.run_id === run.id).map((row) => row.rule)
  expect(rows).toEqual(expect.arrayContaining(['run-created', 'run-ended']))
  expect(await h.engine.leases.find(lease)).toMatchObject({ end: 'released', end_reason: 'its run ended: passed' })
  const other = await running()
  h.provider().execKill = async () => commands.end(other.worker_id ?? '', 143)
  await runs.cancel(other.id, { ...tester, reason: 'no need' })
  await untilIn('ended', other.id)
  expect(await h.engine.leases.find(other.lease_id ?? '')).toMatchObject({ end: 'cancelled' })
})

test('an end without an exit that was stored before a restart is the end, and no exit is made up for it', async () => {
  const { id } = await running()
  await runs.stop()
  const end = { state: 'collecting', outcome: 'infrastructure', reason: 'its worker was gone', exit: null }
  await h.engine.store.write((tx) => tx.updateTable('runs').set(end).where('id', '=', id).execute())
  await start()
  expect(await untilIn('ended', id)).toMatchObject({ outcome: 'infrastructure', reason: 'its worker was gone', exit: null })
})

test('one whose worker went away while no host was there ends as cancelled where that was asked for before', async () => {
  const [unwanted, wanted] = [await running(), await running()]
  await runs.cancel(unwanted.id, { ...tester, reason: 'changed my mind' })
  await runs.stop()
  h.provider().vendor.workers.clear()
  await h.crash()
  await h.pass(120_000)
  await start()
  expect(await untilIn('ended', unwanted.id)).toMatchObject({ outcome: 'cancelled', reason: 'changed my mind' })
  expect(await untilIn('ended', wanted.id)).toMatchObject({ outcome: 'infrastructure' })
})
