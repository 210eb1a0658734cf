import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { idSource } from '../../store/ids.ts'
import { openSqliteStore } from '../../store/open.ts'
import type { Store } from '../../store/store.ts'
import { systemClock } from '../clock.ts'
import { dropOldRuns, type RetentionDeps } from './retention.ts'

let data: string
let store: Store
beforeEach(async () => {
  data = await mkdtemp(join(tmpdir(), 'muster-retention-'))
  store = await openSqliteStore(data)
})
afterEach(async () => {
  await store.close()
  await rm(data, { recursive: true, force: true })
})

const day = 24 * 3_600_000

async function run(id: string, endedAt: number | null, bytes: number): Promise<void> {
  const empty = {
    lease_id: null,
    worker_id: null,
    request_sealed: null,
    exec_id: null,
    queued_at: null,
    started_at: 1,
    deadline: null,
    outcome: null,
    exit: null,
    reason: null,
  }
  const row = {
    id,
    kind: 'run',
    pool: 'p',
    principal: 'x',
    state: endedAt === null ? 'running' : 'ended',
    rev: 1,
    request: '{}',
    created_at: 1,
    ended_at: endedAt,
    cancel_requested: 0,
    artifacts: '[]',
  }
  await store.write((tx) =>
    tx
      .insertInto('runs')
      .values({ ...row, ...empty })
      .execute(),
  )
  await mkdir(join(data, 'runs', id, 'out'), { recursive: true })
  await writeFile(join(data, 'runs', id, 'log'), Buffer.alloc(bytes))
}

const deps = (logsBytes: number, keep: Partial<ReturnType<RetentionDeps['retention']>> = {}): RetentionDeps => ({
  engine: { store, clock: systemClock },
  dataDir: data,
  retention: () => ({ runsMs: 30 * day, logsMs: 30 * day, records: 100, logsBytes, ...keep }),
  stopping: new AbortController().signal,
  report: (message) => expect.fail(message),
})
const rows = async (): Promise<string[]> =>
  (await store.read.selectFrom('runs').select('id').orderBy('id').execute()).map((one) => one.id)
const folders = async (): Promise<string[]> => (await readdir(join(data, 'runs'))).sort()

it('drops runs by age with their folders, and keeps what has not ended', async () => {
  const now = Date.now()
  await run('r1', now - 31 * day, 10)
  await run('r2', now - day, 10)
  await run('r3', null, 10)
  await dropOldRuns(deps(1000))
  expect(await rows()).toEqual(['r2', 'r3'])
  expect(await folders()).toEqual(['r2', 'r3'])
})

it('drops the oldest logs when they take too much room, never one that is being written', async () => {
  const now = Date.now()
  await run('r1', null, 600)
  await run('r2', now - 3, 700)
  await run('r3', now - 2, 300)
  await run('r4', now - 1, 100)
  await dropOldRuns(deps(1000))
  expect(await rows()).toEqual(['r1', 'r2', 'r3', 'r4'])
  expect(await folders()).toEqual(['r1', 'r3', 'r4'])
})

it('lets nothing that ended go for the room of a run that is under way, and tells all room', async () => {
  const now = Date.now()
  await run('r1', now - 2, 300)
  await run('r2', null, 5000)
  await run('r3', now - 1, 100)
  const told: number[] = []
  await dropOldRuns({ ...deps(1000), measured: (bytes) => told.push(bytes) })
  expect(await folders()).toEqual(['r1', 'r2', 'r3'])
  expect(told).toEqual([5400])
})

it('drops logs by an age of their own and keeps their records', async () => {
  const now = Date.now()
  const made = (ago: number): string => idSource(() => now - ago)('r')
  const [live, old, late, young] = [made(9 * day), made(8 * day), made(7 * day), made(day)] as const
  await run(live, null, 10)
  await run(old, now - 6 * day, 10)
  // Made long ago, and it ended only now.
  await run(late, now - 1, 10)
  await run(young, now - 1, 10)
  await dropOldRuns(deps(1000, { logsMs: 5 * day }))
  expect(await rows()).toEqual([live, old, late, young])
  expect(await folders()).toEqual([live, late, young])
})

it('drops the runs that ended first when there are too many, live ones never', async () => {
  const now = Date.now()
  await run('r1', null, 10)
  for (let n = 2; n <= 6; n++) await run(`r${n}`, now - 100 + n, 10)
  await dropOldRuns(deps(1000, { records: 2 }))
  expect(await rows()).toEqual(['r1', 'r5', 'r6'])
  expect(await folders()).toEqual(['r1', 'r5', 'r6'])
})
