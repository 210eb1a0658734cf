/** The journal, events, conditions, retention and memory of the engine. */
import * as fc from 'fast-check'
import { afterEach, describe, expect, test } from 'vitest'
import type { JournalRow, LeaseRecord, LiveWorker } from './model.ts'
import { engineState } from './state.ts'
import { type Harness, leaseRequest, openHarness, poolConfig } from './testing/harness.ts'

let h: Harness | undefined
afterEach(async () => {
  await h?.close()
  h = undefined
})
async function open(options: Partial<Parameters<typeof openHarness>[0]> = {}): Promise<Harness> {
  h = await openHarness({ pools: [poolConfig()], providers: [{ name: 'one' }], ...options })
  return h
}

describe('events', () => {
  async function note(at: Harness, count: number): Promise<void> {
    await Promise.all(
      Array.from({ length: count }, (_, i) =>
        at.engine.store.write((tx, after) =>
          at.engine.journal.append(tx, after, { rule: 'worker-reached', decision: String(i), inputs: {} }),
        ),
      ),
    )
  }

  test('come in order and without a gap, from the past into the present', async () => {
    const at = await open()
    await note(at, 3000)
    const seen: number[] = []
    const control = new AbortController()
    const reading = (async () => {
      for await (const row of at.engine.events.subscribe(0, control.signal)) {
        seen.push(row.seq)
        if (seen.length === 1) await note(at, 1000)
        if (seen.length === 4100) control.abort()
      }
    })()
    await note(at, 100)
    await reading
    expect(seen).toEqual(Array.from({ length: 4100 }, (_, i) => i + 1))
  })

  test('without a start are only the new ones, and end with the engine', async () => {
    const at = await open()
    await note(at, 10)
    const seen: JournalRow[] = []
    const reading = (async () => {
      for await (const row of at.engine.events.subscribe()) seen.push(row)
    })()
    await note(at, 1)
    await at.settle()
    await at.engine.stop()
    await reading
    expect(seen.map((row) => row.seq)).toEqual([11])
    expect(at.engine.events.last()).toBe(11)
  })

  test('go on after a restart with numbers that were never used', async () => {
    const at = await open()
    await note(at, 3)
    await at.engine.store.write((tx) => tx.deleteFrom('journal').execute())
    await at.crash()
    await note(at, 1)
    expect((await at.engine.journal.after(0, 10)).map((row) => row.seq)).toEqual([4])
  })

  test('a write that fails leaves no event', async () => {
    const at = await open()
    const failed = at.engine.store.write(async (tx, after) => {
      await at.engine.journal.append(tx, after, { rule: 'worker-reached', decision: 'x', inputs: {} })
      throw new Error('no')
    })
    await expect(failed).rejects.toThrow('no')
    expect(await at.engine.journal.after(0, 10)).toEqual([])
  })

  test('long inputs are cut', async () => {
    const at = await open()
    const inputs = { text: 'x'.repeat(100_000) }
    await at.engine.store.write((tx, after) =>
      at.engine.journal.append(tx, after, { rule: 'worker-reached', decision: 'x', inputs }),
    )
    const [row] = await at.engine.journal.after(0, 10)
    expect(row?.inputs.length).toBeLessThan(5000)
    expect(JSON.parse(row?.inputs ?? '')).toHaveProperty('cut')
  })
})

test('conditions are kept over a restart, are no news when raised again, and go when cleared', async () => {
  const at = await open()
  const key = { scope: 'pool' as const, name: 'ci', type: 'quota:one' as const }
  at.engine.conditions.raise({ ...key, message: 'a', hint: 'b' })
  await at.settle()
  const [first] = at.engine.conditions.list()
  await at.pass(1000)
  at.engine.conditions.raise({ ...key, message: 'a', hint: 'b' })
  expect(at.engine.conditions.list()).toEqual([first])
  at.engine.conditions.raise({ ...key, message: 'c', hint: 'b' })
  expect(at.engine.conditions.list()).toMatchObject([
    { message: 'c', since: first?.since, updated_at: (first?.since ?? 0) + 1000 },
  ])
  await at.settle()
  await at.crash()
  expect(at.engine.conditions.list()).toMatchObject([{ message: 'c' }])
  at.engine.conditions.clear(key)
  await at.settle()
  await at.crash()
  expect(at.engine.conditions.list()).toEqual([])
})

test('old records and rows are dropped, live ones never', async () => {
  const at = await open({
    engine: { retention: { recordsMs: 86_400_000, journalMs: 172_800_000 } },
    pools: [poolConfig({ lifetimeMs: 1e10 })],
  })
  const kept = await at.engine.leases.request(leaseRequest({ ofRun: 'r1' }))
  const old = await at.engine.leases.request(leaseRequest())
  await at.pass(1000)
  await at.engine.leases.release(old.id, { reason: 'done' })
  await at.pass(90_000_000)
  expect(await at.engine.leases.find(old.id)).toBeUndefined()
  expect(await at.engine.store.read.selectFrom('workers').select('phase').execute()).toEqual([{ phase: 'leased' }])
  expect(at.engine.leases.get(kept.id)?.state).toBe('active')
  expect(await at.engine.journal.why('lease', old.id)).not.toEqual([])
  await at.pass(90_000_000)
  expect(await at.engine.journal.why('lease', old.id)).toEqual([])
})

test('beyond a number of rows the oldest go, however young', async () => {
  const at = await open({ engine: { retention: { recordsMs: 1e12, journalMs: 1e12, records: 2, journalRows: 10 } } })
  const ids: string[] = []
  for (let i = 0; i < 4; i++) {
    const { id } = await at.engine.leases.request(leaseRequest())
    ids.push(id)
    await at.pass(1000)
    await at.engine.leases.release(id, { reason: 'done' })
  }
  await at.pass(3_700_000)
  const left = await at.engine.leases.list({ ended: true })
  expect(left.map((lease) => lease.id)).toEqual([ids[3], ids[2]])
  expect(await at.engine.store.read.selectFrom('workers').select('id').execute()).toHaveLength(2)
  expect(await at.engine.store.read.selectFrom('journal').select('seq').execute()).toHaveLength(10)
})

test('tokens that ended long ago are forgotten, but for the first admin, and so are orphans of providers that are gone', async () => {
  const at = await open({ engine: { retention: { recordsMs: 1000, journalMs: 1e12, tokensMs: 1000 } } })
  const now = at.engine.clock.now()
  const token = { role: 'viewer', created_at: 1, expires_at: null, revoked_at: null, last_used_at: null }
  const orphan = { worker_id: 'w1', handle: null, tags: '{}', first_seen: 1, state: 'quarantined', updated_at: 1 }
  const name = at.engine.plugins.list()[0]?.name ?? ''
  await at.engine.store.write(async (tx) => {
    await tx
      .insertInto('tokens')
      .values([
        { ...token, id: 't1', name: 'first', role: 'admin', hash: '1', revoked_at: 1 },
        { ...token, id: 't2', name: 'second', role: 'admin', hash: '2', revoked_at: 1 },
        { ...token, id: 't3', name: 'expired', hash: '3', expires_at: 1 },
        { ...token, id: 't4', name: 'live', hash: '4', expires_at: now + 1e12 },
        { ...token, id: 't5', name: 'just revoked', hash: '5', revoked_at: now + 60_000 },
      ])
      .execute()
    await tx
      .insertInto('orphans')
      .values([
        { ...orphan, provider: 'gone' },
        { ...orphan, provider: 'gone', worker_id: 'w2', updated_at: now + 60_000 },
      ])
      .execute()
  })
  expect(name).not.toBe('gone')
  await at.pass(60_500)
  const { store } = at.engine
  expect((await store.read.selectFrom('tokens').select('id').orderBy('id').execute()).map((row) => row.id)).toEqual([
    't1',
    't4',
    't5',
  ])
  expect((await store.read.selectFrom('orphans').select('worker_id').execute()).map((row) => row.worker_id)).toEqual(['w2'])
})

test('who listens is told of a condition when it comes and when it goes, not when its words change', async () => {
  const at = await open()
  const key = { scope: 'pool' as const, name: 'ci', type: 'quota:one' as const }
  const told: string[] = []
  at.engine.conditions.onChange(({ message }, how) => told.push(`${how}: ${message}`))
  for (const message of ['a', 'b']) at.engine.conditions.raise({ ...key, message, hint: 'ask for more' })
  at.engine.conditions.clear(key)
  expect(told).toEqual(['raised: a', 'cleared: b'])
})

test('the store is made smaller as far as it goes, after what is old was dropped', async () => {
  const at = await open()
  let left = 3
  Object.assign(at.engine.store, { shrink: async () => (left -= 1) > 0 })
  await at.pass(60_500)
  expect(left).toBe(0)
  const error = new Error('the disk is odd')
  Object.assign(at.engine.store, { shrink: () => Promise.reject(error) })
  await at.pass(3_600_000)
  expect(at.reports).toEqual([{ message: 'the store could not be made smaller', error }])
})

describe('memory', () => {
  test('its counters and lists are what a walk over all records would give', () => {
    const phases = ['launching', 'starting', 'idle', 'leased', 'draining', 'terminating', 'terminated'] as const
    const isUnready = ({ lease_id, phase }: LiveWorker): boolean =>
      lease_id === null && (phase === 'launching' || phase === 'starting')
    const operation = fc.oneof(
      fc.record({
        do: fc.constant('worker' as const),
        id: fc.nat(9),
        phase: fc.constantFrom(...phases),
        shape: fc.constantFrom('a', 'b'),
        lease: fc.boolean(),
        cordoned: fc.constantFrom(0, 1),
        kept: fc.boolean(),
      }),
      fc.record({
        do: fc.constant('lease' as const),
        id: fc.nat(9),
        state: fc.constantFrom('queued', 'assigned', 'active', 'ended'),
      }),
    )
    fc.assert(
      fc.property(fc.array(operation, { maxLength: 60 }), (operations) => {
        const state = engineState([poolConfig()])
        const shapes = new Map<string, string>()
        for (const one of operations) {
          if (one.do === 'lease') {
            state.setLease({
              id: `l${one.id}`,
              pool: 'ci',
              state: one.state,
              of_run: 1,
              request: `{"ofRun":"r${one.id}"}`,
            } as LeaseRecord)
            continue
          }
          // A worker's shape never changes while it lives.
          const id = `w${one.id}`
          const shape = state.workers.has(id) ? (shapes.get(id) ?? one.shape) : one.shape
          shapes.set(id, shape)
          const ended = one.phase === 'terminated' ? 1 : null
          const worker = {
            id,
            pool: 'ci',
            provider: 'one',
            phase: one.phase,
            shape,
            lease_id: one.lease ? 'l' : null,
            cordoned: one.cordoned,
            kept_until: one.kept ? 1 : null,
          }
          state.setWorker({ ...worker, ended_at: ended } as LiveWorker)
        }
        const pool = state.pool('ci')
        const workers = [...state.workers.values()]
        expect(pool.total).toBe(workers.length)
        for (const phase of phases)
          expect(pool.counts.get(phase) ?? 0).toBe(workers.filter((worker) => worker.phase === phase).length)
        for (const shape of ['a', 'b']) {
          const of = workers.filter((worker) => worker.shape === shape)
          const idle = of.filter((worker) => worker.phase === 'idle' && worker.cordoned === 0).map((worker) => worker.id)
          const coming = of.filter((worker) => isUnready(worker) && worker.cordoned === 0)
          expect([...(pool.idle.get(shape) ?? [])].sort()).toEqual(idle.sort())
          expect(pool.coming.get(shape) ?? 0).toBe(coming.length)
        }
        expect(pool.kept).toBe(workers.filter((worker) => worker.phase === 'draining' && worker.kept_until !== null).length)
        const free = workers.filter((worker) => worker.phase === 'idle' || isUnready(worker))
        expect(pool.cordoned).toBe(free.filter((worker) => worker.cordoned === 1).length)
        const leases = [...state.leases.values()]
        expect(pool.queue).toEqual(
          leases
            .filter((lease) => lease.state === 'queued')
            .map((lease) => lease.id)
            .sort(),
        )
        expect(pool.leases).toBe(leases.filter((lease) => lease.state === 'assigned' || lease.state === 'active').length)
        for (const lease of leases) expect(state.leaseOfRun(`r${lease.id.slice(1)}`)).toBe(lease.id)
        expect(state.ofProvider('one')).toEqual(new Set(state.workers.keys()))
      }),
    )
  })
})
