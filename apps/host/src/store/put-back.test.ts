/** What a store that was put back makes of what it knows to be live: nothing that had not begun is begun, since it may have begun since. */
import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openIdentity, type Restore } from './identity.ts'
import { openSqliteStore } from './open.ts'
import { ownerPath, readNote, writeNote } from './note.ts'
import type { Store } from './store.ts'
import { acquireTerm } from './term.ts'

let dir: string
let store: Store
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'muster-put-back-'))
  store = await openSqliteStore(dir)
})
afterEach(async () => {
  await store.close()
  rmSync(dir, { recursive: true, force: true })
})

const nothing = { ended_at: null, request: '{}', request_sealed: 'sealed', ahead: null, rev: 1 }

async function addRun(id: string, given: { state: string; lease?: string; worker?: string }): Promise<void> {
  const artifacts = [
    { name: 'in', path: 'a', direction: 'in', state: 'stored' },
    { name: 'out', path: 'b', direction: 'out', state: 'awaited' },
  ]
  const of = {
    kind: 'run',
    pool: 'p',
    principal: 'me',
    exec_id: null,
    created_at: 1,
    queued_at: 1,
    started_at: null,
    deadline: null,
  }
  const end = { outcome: null, exit: null, reason: null, log_problem: null, log_end: null, cancel_requested: 0 }
  const { state, lease = null, worker = null } = given
  await store.write((tx) =>
    tx
      .insertInto('runs')
      .values({ ...nothing, ...of, ...end, id, state, lease_id: lease, worker_id: worker, artifacts: JSON.stringify(artifacts) })
      .execute(),
  )
}

async function addLease(id: string, given: { state: string; worker?: string; ofRun?: 0 | 1 }): Promise<void> {
  const at = { requested_at: 1, assigned_at: null, active_at: null, ttl_ms: 1, expires_at: null, queue_deadline: null }
  const { state, worker = null, ofRun = 1 } = given
  await store.write((tx) =>
    tx
      .insertInto('leases')
      .values({
        ...nothing,
        ...at,
        ...{ id, pool: 'p', principal: 'me', state, shape: 's', worker_id: worker, of_run: ofRun },
        ...{ end: null, end_reason: null, tries: 0 },
      })
      .execute(),
  )
}

async function addWorker(
  id: string,
  given: { phase: 'launching' | 'starting' | 'idle' | 'leased'; lease?: string },
): Promise<void> {
  const record = {
    id,
    pool: 'p',
    provider: 'v',
    spec: '{}',
    shape: 's',
    epoch: 1,
    created_at: 1,
    grace_ms: 1,
    uses: 0,
    attempt: 0,
  }
  const { phase, lease = null } = given
  await store.write((tx) =>
    tx
      .insertInto('workers')
      .values({ ...record, rev: 1, phase, lease_id: lease, terminate_force: 0, log_hold: 0, cordoned: 0 })
      .execute(),
  )
}

/** As after a restore: the note beside the store knows of a later term. */
async function putBack(how: Restore): Promise<void> {
  const { owner } = await openIdentity(store, dir)
  const note = readNote(ownerPath(dir))
  if (note === undefined) throw new Error('no note')
  writeNote(ownerPath(dir), { ...note, owner, epoch: 9 })
  await openIdentity(store, dir, { restore: how, now: () => 1_000 })
}

const runs = () =>
  store.read.selectFrom('runs').select(['id', 'state', 'outcome', 'ended_at', 'request_sealed']).orderBy('id').execute()
const leases = () => store.read.selectFrom('leases').select(['id', 'state', 'end']).orderBy('id').execute()
const workers = () => store.read.selectFrom('workers').select(['id', 'phase', 'lease_id']).orderBy('id').execute()

test.each(['adopt', 'new-owner'] as const)(
  'a run that had no worker yet ends as unknown (%s), and its lease with it',
  async (how) => {
    await addRun('r1', { state: 'uploading' })
    await addRun('r2', { state: 'queued' })
    await addRun('r3', { state: 'queued', lease: 'l3' })
    await addLease('l3', { state: 'queued' })
    await putBack(how)
    const ended = { state: 'ended', outcome: 'unknown', ended_at: 1_000, request_sealed: null }
    expect(await runs()).toEqual(['r1', 'r2', 'r3'].map((id) => ({ id, ...ended })))
    expect(await leases()).toEqual([{ id: 'l3', state: 'ended', end: 'lost' }])
    const { artifacts } = await store.read.selectFrom('runs').select('artifacts').where('id', '=', 'r2').executeTakeFirstOrThrow()
    expect((JSON.parse(artifacts) as { state: string }[]).map(({ state }) => state)).toEqual(['dropped', 'missing'])
    const told = await store.read.selectFrom('journal').select(['rule', 'run_id']).execute()
    expect(told).toEqual(['r1', 'r2', 'r3'].map((id) => ({ rule: 'restored-unbegun', run_id: id })))
  },
)

test('a worker that was on its way for such a run ends; what had begun goes on, and so does a lease that somebody holds', async () => {
  await addRun('r1', { state: 'queued', lease: 'l1' })
  await addLease('l1', { state: 'assigned', worker: 'w1' })
  await addWorker('w1', { phase: 'launching', lease: 'l1' })
  await addRun('r2', { state: 'queued', lease: 'l2' })
  await addLease('l2', { state: 'active', worker: 'w2' })
  await addWorker('w2', { phase: 'leased', lease: 'l2' })
  await addRun('r3', { state: 'starting', lease: 'l3', worker: 'w3' })
  await addLease('l3', { state: 'active', worker: 'w3' })
  await addWorker('w3', { phase: 'leased', lease: 'l3' })
  await addLease('l4', { state: 'assigned', worker: 'w4', ofRun: 0 })
  await addWorker('w4', { phase: 'starting', lease: 'l4' })
  await addWorker('w5', { phase: 'idle' })
  await putBack('adopt')
  expect((await runs()).map(({ id, state }) => [id, state])).toEqual([
    ['r1', 'ended'],
    ['r2', 'ended'],
    ['r3', 'starting'],
  ])
  expect((await leases()).map(({ id, state }) => [id, state])).toEqual([
    ['l1', 'ended'],
    ['l2', 'ended'],
    ['l3', 'active'],
    ['l4', 'assigned'],
  ])
  expect(await workers()).toEqual([
    { id: 'w1', phase: 'terminating', lease_id: null },
    { id: 'w2', phase: 'terminating', lease_id: null },
    { id: 'w3', phase: 'leased', lease_id: 'l3' },
    { id: 'w4', phase: 'starting', lease_id: 'l4' },
    { id: 'w5', phase: 'terminating', lease_id: null },
  ])
})

test.each([
  ['of a daemon that ended in order goes on with what waits', { stopped: true, again: false }, ['queued', 'idle']],
  ['of a daemon at work does not', { stopped: false, again: false }, ['ended', 'terminating']],
  ['of a daemon that was at work since does not', { stopped: true, again: true }, ['ended', 'terminating']],
])('a copy of the folder %s', async (_what, { stopped, again }, expected) => {
  await addRun('r1', { state: 'queued' })
  await addWorker('w1', { phase: 'idle' })
  async function atWork(): Promise<() => Promise<void>> {
    const identity = await openIdentity(store, dir)
    const term = await acquireTerm(store, { holder: 'a', exclusive: true, renewMs: 1e6 })
    identity.note(term.epoch())
    return () => term.release()
  }
  const release = await atWork()
  if (stopped) await release()
  await store.close()
  const made = mkdtempSync(join(tmpdir(), 'muster-put-back-copy-'))
  try {
    cpSync(dir, made, { recursive: true })
    if (again) {
      store = await openSqliteStore(dir)
      await (
        await atWork()
      )()
      await store.close()
    }
    const copied = await openSqliteStore(made)
    await openIdentity(copied, made, { restore: 'adopt' })
    const run = await copied.read.selectFrom('runs').select('state').executeTakeFirst()
    const worker = await copied.read.selectFrom('workers').select('phase').executeTakeFirst()
    await copied.close()
    expect([run?.state, worker?.phase]).toEqual(expected)
  } finally {
    rmSync(made, { recursive: true, force: true })
    store = await openSqliteStore(dir)
  }
})
