/** Workers that are kept for a look after their run failed. */
import { afterEach, expect, test } from 'vitest'
import type { RunRecord, RunRequest } from './model.ts'
import { keepOf, keepRefusal, withKeep } from './runs/keep.ts'
import { type Harness, type HarnessOptions, leaseRequest, openHarness, poolConfig } from './testing/harness.ts'

let h: Harness

async function open(options: Partial<HarnessOptions> = {}): Promise<void> {
  h = await openHarness({ pools: [poolConfig({ scale: { max: 1 } })], providers: [{ name: 'one' }], ...options })
}
afterEach(async () => {
  expect(h.reports).toEqual([])
  await h.close()
})

const ask = async (): Promise<string> => (await h.engine.leases.request(leaseRequest({ ofRun: 'r1' }))).id

/** As the end of a failed run does it: its log is confirmed, its lease released with the wish. */
async function fail(ms: number): Promise<string> {
  const lease = await ask()
  await h.pass(100)
  const id = h.engine.leases.get(lease)?.worker_id ?? ''
  await h.engine.workers.confirmLogEnd(id)
  await h.engine.leases.release(lease, { reason: 'its run ended: failed', keep: { ms, runId: 'r1', outcome: 'failed' } })
  return id
}

test('it is of nobody, counts against the maximum, and ends when its time is over', async () => {
  await open()
  const id = await fail(60_000)
  const until = h.clock.now() + 60_000
  expect(h.engine.workers.get(id)).toMatchObject({ phase: 'draining', lease_id: null, kept_until: until, kept_for: 'r1' })
  const next = await ask()
  await h.pass(50_000)
  expect(h.engine.workers.get(id)?.phase).toBe('draining')
  expect(h.engine.leases.get(next)?.state).toBe('queued')
  expect(h.engine.pools.get('ci')).toMatchObject({
    aside: 1,
    waiting: 'the pool is at its maximum of 1, 1 of them cordoned or kept',
  })
  await h.pass(11_000)
  expect(h.engine.workers.get(id)).toBeUndefined()
  expect(h.provider().vendor.workers.has(id)).toBe(false)
  expect(h.engine.leases.get(next)?.state).toBe('active')
  const rules = (await h.engine.journal.why('worker', id)).map((row) => row.rule)
  expect(rules.slice(-3)).toEqual(['keep-failed', 'keep-over', 'worker-gone'])
  expect((await h.engine.journal.why('run', 'r1')).map((row) => row.rule)).toContain('keep-failed')
})

test('a kill changes nothing, also one that lasts for longer than its time', async () => {
  await open()
  const id = await fail(60_000)
  await h.crash(30_000)
  expect(h.engine.workers.get(id)).toMatchObject({ phase: 'draining', kept_for: 'r1' })
  await h.pass(20_000)
  expect(h.engine.workers.get(id)).toBeDefined()
  await h.pass(15_000)
  expect(h.engine.workers.get(id)).toBeUndefined()
  const second = await fail(60_000)
  await h.crash(600_000)
  await h.pass(1000)
  expect(h.engine.workers.get(second)).toBeUndefined()
  expect(h.provider().vendor.workers.size).toBe(0)
})

test('its lifetime is its bound', async () => {
  await open({ pools: [poolConfig({ lifetimeMs: 100_000 })] })
  const id = await fail(86_400_000)
  expect(h.engine.workers.get(id)?.kept_until).toBe(h.engine.workers.get(id)?.expires_at)
  await h.pass(101_000)
  expect(h.engine.workers.get(id)).toBeUndefined()
})

test('an operator ends it before, without force; so does its own end, and so does its loss', async () => {
  await open({ pools: [poolConfig()] })
  const [one, two, three] = [await fail(600_000), await fail(600_000), await fail(600_000)]
  expect(await h.engine.workers.terminate(one, { principal: 'ann', force: false })).toMatchObject({ phase: 'terminating' })
  const vendor = h.provider().vendor.workers
  const ended = vendor.get(two)
  if (ended !== undefined) ended.phase = 'exited'
  h.provider().announce(two)
  vendor.delete(three)
  await h.pass(60_000)
  expect([one, two, three].map((id) => h.engine.workers.get(id))).toEqual([undefined, undefined, undefined])
})

test('its place is not taken for one that becomes free soon: an idle worker of another shape makes room', async () => {
  await open({ pools: [poolConfig({ work: 'hold', uses: 5, scale: { max: 2 } })] })
  const id = await fail(600_000)
  const other = await h.engine.leases.request(leaseRequest())
  await h.pass(100)
  await h.engine.leases.release(other.id, { reason: 'done' })
  const image = await h.engine.leases.request(leaseRequest({ requirements: { image: 'other:1' } }))
  await h.pass(5000)
  expect(h.engine.leases.get(image.id)?.state).toBe('active')
  expect(h.engine.workers.get(id)?.phase).toBe('draining')
})

test('a worker that has ended is not kept', async () => {
  await open()
  const lease = await ask()
  await h.pass(100)
  const id = h.engine.leases.get(lease)?.worker_id ?? ''
  const at = h.provider().vendor.workers.get(id)
  if (at !== undefined) Object.assign(at, { phase: 'exited', exit: { code: 1, reason: 'exited' } })
  h.provider().announce(id)
  await h.pass(100)
  await h.engine.workers.confirmLogEnd(id)
  await h.engine.leases.release(lease, { reason: 'failed', keep: { ms: 60_000, runId: 'r1', outcome: 'failed' } })
  await h.pass(1000)
  expect(h.engine.workers.get(id)).toBeUndefined()
})

test.each([
  ['failed', true],
  ['timeout', true],
  ['oom', true],
  ['infrastructure', true],
  ['unknown', true],
  ['passed', false],
  ['cancelled', false],
] as const)('a run that %s asks for it: %s', async (outcome, kept) => {
  await open()
  const run = { id: 'r1', request: JSON.stringify({ keepFailedMs: 1000 }) } as RunRecord
  expect(keepOf(run, outcome)).toEqual(kept ? { keep: { ms: 1000, runId: 'r1', outcome } } : {})
  expect(keepOf({ ...run, request: '{}' }, outcome)).toEqual({})
  expect(keepOf({ ...run, request: '{"keepFailedMs":0}' }, outcome)).toEqual({})
})

test('what a pool gives to every run, a run may have otherwise', async () => {
  await open({ pools: [poolConfig({ keepFailedMs: 5000 })] })
  const run = (given: Partial<RunRequest> = {}): RunRequest => ({
    pool: 'ci',
    command: ['true'],
    requirements: {},
    stdin: false,
    inputs: [],
    outputs: [],
    ...given,
  })
  expect(withKeep(h.engine, run()).keepFailedMs).toBe(5000)
  expect(withKeep(h.engine, run({ keepFailedMs: 0 })).keepFailedMs).toBe(0)
  expect(withKeep(h.engine, run({ requirements: { mode: 'command' } })).keepFailedMs).toBeUndefined()
  expect(keepRefusal(run({ keepFailedMs: 1, requirements: { mode: 'command' } }), undefined)?.code).toBe('cannot-be-kept')
  const nearest = { pool: 'ci', field: 'work', asked: 'hold', has: 'command' }
  const refusal = { code: 'cannot-be-served', message: 'm', hint: 'h', nearest }
  expect(keepRefusal(run({ keepFailedMs: 1 }), refusal)).toMatchObject({
    code: 'cannot-be-kept',
    message: 'a worker cannot be kept for a look after this run fails: that needs one that holds, and pool ci has command',
  })
  expect(keepRefusal(run(), refusal)).toBe(refusal)
  expect(keepRefusal(run({ keepFailedMs: 1 }), undefined)).toBeUndefined()
})
