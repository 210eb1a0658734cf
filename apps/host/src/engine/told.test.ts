/** What the journal says of decisions: to whom it is told, and what they were made from. */
import { ProviderError } from '@muster/core'
import { expect, test } from 'vitest'
import type { JournalRow } from './model.ts'
import type { Journal } from './api.ts'
import { type Harness, owner, poolConfig } from './testing/harness.ts'
import { holding } from './holding.test.helper.ts'

let h: Harness
const { open, leased } = holding((opened) => (h = opened))

const ann = { principal: 'ann', reason: 'its disk is slow' }
const only = (): string => [...h.engine.workers.live()][0]?.id ?? ''

async function rowsOf(kind: Parameters<Journal['why']>[0], id: string, rule: string): Promise<JournalRow[]> {
  return (await h.engine.journal.why(kind, id)).filter((row) => row.rule === rule)
}

const inputsOf = (rows: JournalRow[]): unknown[] => rows.map(({ inputs }) => JSON.parse(inputs) as unknown)

test('a word about a worker is told to its lease too, with its reason where one was given', async () => {
  await open({ pools: [poolConfig({ work: 'hold', scale: { warm: 1 } })] })
  await h.pass(100)
  expect(await rowsOf('worker', only(), 'worker-idle')).toMatchObject([{ decision: 'ready, waits for a lease', lease_id: null }])
  const { lease, worker } = await leased()
  await h.engine.workers.cordon(worker, ann)
  await h.engine.workers.uncordon(worker, { principal: 'bob' })
  expect(await rowsOf('lease', lease, 'worker-cordon')).toMatchObject([{ worker_id: worker, lease_id: lease }])
  const facts = { phase: 'leased', expiresAt: h.engine.workers.get(worker)?.expires_at }
  expect(inputsOf(await rowsOf('worker', worker, 'worker-cordon'))).toEqual([{ ...ann, ...facts }])
  expect(inputsOf(await rowsOf('worker', worker, 'worker-uncordon'))).toEqual([{ principal: 'bob', ...facts }])
  const idle = [...h.engine.workers.live()].find(({ phase }) => phase === 'idle')?.id ?? ''
  await h.engine.workers.cordon(idle, ann)
  expect(await rowsOf('worker', idle, 'worker-cordon')).toMatchObject([{ lease_id: null }])
})

test('a word about a pool has its reason, and what was said before it', async () => {
  await open()
  await h.engine.pools.pause('ci', ann)
  await h.engine.pools.drain('ci', { principal: 'bob' })
  await h.engine.pools.resume('ci', ann)
  const rules = ['pool-pause', 'pool-drain', 'pool-resume']
  const all = await Promise.all(rules.map((rule) => rowsOf('pool', 'ci', rule)))
  expect(all.flatMap(inputsOf)).toEqual([ann, { principal: 'bob', before: 'paused' }, { ...ann, before: 'draining' }])
})

test('a lease that was not renewed and one whose worker reached its lifetime are told apart', async () => {
  await open({ pools: [poolConfig({ work: 'hold', lifetimeMs: 60_000 })] })
  const short = await leased({ ttlMs: 10_000 })
  const run = await leased({ ofRun: 'r1' })
  await h.pass(70_000)
  expect(await h.engine.leases.find(short.lease)).toMatchObject({
    end: 'expired',
    end_reason: 'the lease was not renewed in time',
  })
  expect(inputsOf(await rowsOf('worker', short.worker, 'lease-expired'))).toMatchObject([{ ttlMs: 10_000 }])
  expect(await h.engine.leases.find(run.lease)).toMatchObject({ end: 'expired', end_reason: 'the worker reached its lifetime' })
  expect(await rowsOf('worker', run.worker, 'worker-lifetime')).toHaveLength(1)
  expect(await rowsOf('worker', run.worker, 'lease-expired')).toEqual([])
})

test('of a lost worker it is told who saw that it was not there', async () => {
  await open()
  const { lease, worker } = await leased()
  h.provider().vendor.workers.delete(worker)
  await h.pass(120_000)
  expect(await h.engine.leases.find(lease)).toMatchObject({ end: 'lost' })
  expect(inputsOf(await rowsOf('worker', worker, 'worker-lost'))).toMatchObject([{ by: expect.stringContaining('inspect') }])
})

test.each([
  [{ code: 1, reason: 'exec format error' }, 'it ended before it was ready: exec format error'],
  [undefined, 'it ended before it was ready: no reason given'],
])('of a worker that ends before it is ready it is told why: %j', async (exit, message) => {
  await open({ providers: [{ name: 'one', readyMs: 50_000 }] })
  await leased()
  const worker = only()
  Object.assign(h.provider().vendor.workers.get(worker) ?? {}, { phase: 'exited', ...(exit === undefined ? {} : { exit }) })
  h.provider().announce(worker)
  await h.settle()
  expect(inputsOf(await rowsOf('worker', worker, 'exit-before-ready'))).toMatchObject([{ message }])
})

test('an orphan whose record was closed is told apart from one that has none, and both are listed', async () => {
  await open()
  const { lease, worker } = await leased()
  const { workers } = h.provider().vendor
  const left = workers.get(worker)
  if (left === undefined) throw new Error('the worker was not made')
  await h.engine.leases.release(lease, { reason: 'done' })
  await h.pass(60_000)
  expect(await h.engine.workers.find(worker)).toMatchObject({ end: 'gone' })
  expect(await h.engine.orphans('one')).toEqual([])
  const foreign = `w${'0'.repeat(26)}`
  const tags = { ...left.spec.tags, 'muster-worker': foreign, 'muster-owner': owner }
  workers.set(worker, left)
  workers.set(foreign, { ...left, spec: { ...left.spec, id: foreign, tags } })
  await h.pass(60_000)
  const records = [worker, foreign].map((id) => rowsOf('worker', id, 'orphan-quarantined'))
  expect((await Promise.all(records)).flatMap(inputsOf)).toMatchObject([{ record: 'closed' }, { record: 'none' }])
  const listed = await h.engine.orphans('one')
  expect(listed.map(({ id }) => id).sort()).toEqual([worker, foreign].sort())
  expect(listed[0]).toMatchObject({ pool: 'ci', state: 'quarantined' })
})

test('whose lease ends is told whether that makes a worker free, and how its end was seen', async () => {
  await open({ pools: [poolConfig({ work: 'hold', scale: { max: 1 } })] })
  const held = await leased()
  expect(await rowsOf('lease', held.lease, 'lease-active')).toMatchObject([{ decision: 'ready, the lease has its worker' }])
  const queued = await leased()
  for (const { lease } of [queued, held]) await h.engine.leases.release(lease, { reason: 'done' })
  await h.pass(1000)
  expect(await rowsOf('lease', queued.lease, 'lease-released')).toMatchObject([{ decision: 'the lease ends', worker_id: null }])
  expect(await rowsOf('lease', held.lease, 'lease-released')).toMatchObject([
    { decision: 'the lease ends, its worker is free', worker_id: held.worker },
  ])
  expect(inputsOf(await rowsOf('worker', held.worker, 'worker-gone'))).toMatchObject([{ by: 'terminate' }])
})

test('of an idle worker that is fit no longer it is told what was seen of it', async () => {
  await open({ pools: [poolConfig({ work: 'hold', scale: { warm: 1, max: 1 } })] })
  await h.pass(100)
  const worker = only()
  Object.assign(h.provider().vendor.workers.get(worker) ?? {}, { ready: false })
  h.provider().announce(worker)
  await h.settle()
  expect(inputsOf(await rowsOf('worker', worker, 'idle-unfit'))).toMatchObject([{ seen: 'running', ready: false }])
})

test('of a launch that a quota has refused it is told which one', async () => {
  const error = new ProviderError('quota', 'no more', { effect: 'none', quota: 'vcpus' })
  await open({ providers: [{ name: 'one', fault: (method) => (method === 'launch' ? { error } : undefined) }] })
  const { lease } = await leased()
  expect(inputsOf(await rowsOf('lease', lease, 'launch-quota'))).toMatchObject([{ code: 'quota', quota: 'vcpus' }])
})

test('that a worker is killed since it resists is told once, however often that fails', async () => {
  const error = new ProviderError('transient', 'busy')
  await open({ providers: [{ name: 'one', fault: (method) => (method === 'terminate' ? { error } : undefined) }] })
  const { lease, worker } = await leased()
  await h.engine.leases.release(lease, { reason: 'done' })
  await h.pass(600_000)
  const { calls } = h.provider().vendor
  expect(calls.filter(({ force }) => force === true).length).toBeGreaterThan(2)
  expect(await rowsOf('worker', worker, 'terminate-force')).toHaveLength(1)
  expect(h.engine.workers.get(worker)).toMatchObject({ terminate_force: 1 })
})
