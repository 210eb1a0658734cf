/** The invariants under random requests, faults and crashes: whatever happened, records and vendor agree in the end. */
import { ProviderError, type ProviderErrorCode, providerErrorCodes } from '@muster/core'
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { killPoints } from './killpoint.ts'
import { type Harness, leaseRequest, openHarness, poolConfig } from './testing/harness.ts'
import { type Act, act, actOn, heldBack, putRight } from './testing/operator.ts'
import { type Fault, type VendorWorker } from './testing/vendor.ts'

const RUNS = Number(process.env['MUSTER_CHAOS_RUNS'] ?? 25)
/** `seed:path` of a failure, to run that case alone. */
const [seed, ...path] = (process.env['MUSTER_CHAOS_REPLAY'] ?? '').split(':')
const replay = seed === undefined || seed === '' ? {} : { seed: Number(seed), path: path.join(':') }

type Step =
  | { do: 'request'; pool: number; run: boolean; command: boolean; ttl: number }
  | { do: 'release'; nth: number; force: boolean; keep: boolean }
  | Act
  | { do: 'confirm'; nth: number }
  | { do: 'pass'; ms: number }
  | { do: 'faults'; seed: number; share: number; codes: ProviderErrorCode[] }
  | { do: 'exit' | 'vanish' | 'lose' | 'problem'; nth: number }
  | { do: 'down' | 'up'; nth: number }
  | { do: 'orphan'; nth: number }
  | { do: 'terminate'; nth: number; force: boolean }
  | { do: 'renew'; nth: number }
  | { do: 'turn' }
  | { do: 'crash' }
  | { do: 'crashAt'; point: number; count: number }

const nth = fc.nat(20)
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('request' as const),
      pool: fc.nat(2),
      run: fc.boolean(),
      command: fc.boolean(),
      ttl: fc.integer({ min: 5000, max: 600_000 }),
    }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('release' as const), nth, force: fc.boolean(), keep: fc.boolean() }) },
  { weight: 3, arbitrary: act },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('terminate' as const), nth, force: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('renew' as const), nth }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('turn' as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('confirm' as const), nth }) },
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant('pass' as const), ms: fc.oneof(fc.nat(50), fc.nat(5000), fc.nat(100_000)) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('faults' as const),
      seed: fc.nat(),
      share: fc.integer({ min: 0, max: 100 }),
      codes: fc.subarray([...providerErrorCodes], { minLength: 1 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constantFrom('exit' as const, 'vanish' as const, 'lose' as const, 'problem' as const), nth }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom('down' as const, 'up' as const), nth: fc.nat(1) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('orphan' as const), nth }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('crash' as const) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('crashAt' as const),
      point: fc.nat(killPoints.length - 1),
      count: fc.integer({ min: 1, max: 3 }),
    }),
  },
)

/** A small generator of random numbers, so that faults are the same when a failing case is run again (mulberry32). */
function randomOf(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}

const pools = [
  poolConfig({ name: 'cold', placement: ['one', 'two'], scale: { max: 4 } }),
  poolConfig({ name: 'warm', placement: ['two', 'one'], scale: { max: 4, warm: 2, min: 1, idleMs: 20_000 } }),
  poolConfig({ name: 'again', placement: ['one'], uses: 3, scale: { max: 3, warm: 1, idleMs: 10_000 }, lifetimeMs: 1_200_000 }),
]
const maximum = new Map(pools.map((pool) => [pool.name, pool.scale.max]))

interface World {
  h: Harness
  leases: string[]
  fault: (method: string, id: string | undefined) => Fault | undefined
  broken: string[]
  /** A call under way may make these again: the vendor lost them, not we. */
  vanished: Set<string>
}

async function openWorld(seed: number): Promise<World> {
  const world: Omit<World, 'h'> = { vanished: new Set(), leases: [], fault: () => undefined, broken: [] }
  let h: Harness | undefined
  const fault = (method: string, id: string | undefined): Fault | undefined => {
    if (id !== undefined && h !== undefined && !h.crashed) {
      if (method === 'launch') intentBeforeEffect(h, id)
      if (method === 'terminate') neverLeased(h, id)
    }
    return world.fault(method, id)
  }
  // A launch that was given up may still make its worker, but never once its record is closed.
  const made = (id: string): void => {
    if (h === undefined || h.crashed || h.engine.workers.get(id) !== undefined || world.vanished.has(id)) return
    world.broken.push(`${id} was made after its record was closed`)
  }
  const opened = await openHarness({
    pools,
    random: randomOf(seed),
    // Declared lag: the longest a call still works after it was given up, and then until its worker is seen.
    providers: [
      {
        name: 'one',
        made,
        fault,
        inFlight: 6,
        lagMs: 1000,
        capabilities: { visibility: { launchMs: 4000, goneMs: 0 } },
      },
      {
        name: 'two',
        made,
        fault,
        inFlight: 6,
        capabilities: { watch: false, visibility: { launchMs: 3000, goneMs: 0 } },
      },
    ],
    engine: { orphanGraceMs: 60_000 },
  })
  function intentBeforeEffect(h: Harness, id: string): void {
    const record = h.engine.workers.get(id)
    if (record === undefined) world.broken.push(`launch of ${id} without a record`)
    if (heldBack(h.engine, record)) world.broken.push(`launch of ${id}, which an operator holds back`)
    const counted = [...h.engine.workers.live()].filter((worker) => worker.pool === record?.pool).length
    if (counted > (maximum.get(record?.pool ?? '') ?? 0)) world.broken.push(`pool ${record?.pool} has ${counted} workers`)
  }
  function neverLeased(h: Harness, id: string): void {
    const record = h.engine.workers.get(id)
    if (record !== undefined && record.phase !== 'terminating') world.broken.push(`terminate of ${id}, which is ${record.phase}`)
    if (record !== undefined && record.lease_id !== null)
      world.broken.push(`terminate of ${id}, which lease ${record.lease_id} holds`)
  }
  h = opened
  return Object.assign(world, { h: opened })
}

function workersOf(world: World): [string, VendorWorker][] {
  return ['one', 'two'].flatMap((name) => [...world.h.provider(name).vendor.workers])
}

async function take(world: World, given: Step): Promise<void> {
  const { h } = world
  const pick = <T>(from: readonly T[], at: number): T | undefined => (from.length === 0 ? undefined : from[at % from.length])
  // What the API would answer while the daemon dies is nobody's business here.
  const ask = (work: Promise<unknown>): void => void work.catch(() => {})
  switch (given.do) {
    case 'request': {
      const request = leaseRequest({
        pool: pools[given.pool]?.name ?? '',
        ttlMs: given.ttl,
        ...(given.command && given.pool === 0 ? { command: { argv: ['true'] } } : {}),
        ...(given.run ? { ofRun: `r${world.leases.length}` } : {}),
      })
      ask(h.engine.leases.request(request).then((lease) => world.leases.push(lease.id)))
      return
    }
    case 'release': {
      const id = pick(world.leases, given.nth)
      const keep = given.keep ? { keep: { ms: 100_000, runId: 'r0', outcome: 'failed' } } : {}
      if (id !== undefined) ask(h.engine.leases.release(id, { reason: 'test', force: given.force, ...keep }))
      return
    }
    case 'wish':
    case 'provider':
    case 'cordon':
    case 'uncordon':
    case 'forget':
      ask(actOn(h.engine, given, (id) => world.vanished.add(id)))
      return
    case 'confirm': {
      const id = pick([...h.engine.workers.live()], given.nth)?.id
      if (id !== undefined) ask(h.engine.workers.confirmLogEnd(id))
      return
    }
    case 'terminate': {
      const id = pick([...h.engine.workers.live()], given.nth)?.id
      if (id !== undefined) ask(h.engine.workers.terminate(id, { reason: 'test', principal: 'ann', force: given.force }))
      return
    }
    case 'renew': {
      const id = pick(world.leases, given.nth)
      if (id !== undefined) ask(h.engine.leases.renew(id))
      return
    }
    case 'turn':
      await new Promise((resolve) => setImmediate(resolve))
      return
    case 'pass':
      return h.pass(given.ms)
    case 'faults':
      world.fault = faultsOf(given)
      return
    case 'exit':
    case 'lose':
    case 'problem':
    case 'vanish': {
      const found = pick(workersOf(world), given.nth)
      if (found !== undefined) befall(world, { id: found[0], worker: found[1], what: given.do })
      return
    }
    case 'down':
    case 'up':
      h.provider(given.nth === 0 ? 'one' : 'two').setState(given.do === 'up' ? 'ready' : 'degraded')
      return
    case 'orphan': {
      const found = pick(workersOf(world), given.nth)
      if (found === undefined) return
      const id = `w${'z'.repeat(24)}${String(given.nth).padStart(2, '0')}`
      const [, twin] = found
      const provider = twin.spec.tags['muster-provider']
      h.provider(provider).vendor.workers.set(id, { ...twin, spec: { ...twin.spec, id }, phase: 'running', ready: true })
      return
    }
    case 'crash':
      return h.crash()
    case 'crashAt':
      h.crashAt(killPoints[given.point] ?? 'call-sent', given.count)
  }
}

function befall(world: World, given: { id: string; worker: VendorWorker; what: 'exit' | 'vanish' | 'lose' | 'problem' }): void {
  const { id, worker, what } = given
  const provider = world.h.provider(worker.spec.tags['muster-provider'])
  if (what === 'vanish') {
    provider.vendor.workers.delete(id)
    world.vanished.add(id)
  } else if (what === 'problem') worker.problem = { code: 'capacity', message: 'unschedulable', final: true }
  else {
    worker.phase = what === 'exit' ? 'exited' : 'lost'
    worker.ready = false
    if (what === 'exit') worker.exit = { code: 3, reason: 'exited' }
  }
  provider.announce(id)
}

function faultsOf(given: Extract<Step, { do: 'faults' }>): World['fault'] {
  const random = randomOf(given.seed)
  return () => {
    const delayMs = random() < 0.4 ? Math.floor(random() * 2500) : undefined
    const early = random() < 0.3
    const late = random() < 0.7
    if (random() >= (given.share * 0.7) / 100) return delayMs === undefined ? undefined : { delayMs, early, late }
    const code = given.codes[Math.floor(random() * given.codes.length)] ?? 'transient'
    const effect = random() < 0.5
    const told = effect || random() < 0.3 ? 'possible' : 'none'
    const error = new ProviderError(code, 'as the test asked', {
      effect: told,
      ...(random() < 0.5 ? { retryAfterMs: Math.floor(random() * 4000) } : {}),
    })
    return { error, effect, early, ...(delayMs === undefined ? {} : { delayMs }) }
  }
}

/** Not only in the end: what we made has a live record as long as it exists. */
function noneForgotten(world: World): void {
  if (world.h.crashed) return
  for (const [id] of workersOf(world))
    if (!id.startsWith('wzzz') && !world.vanished.has(id) && world.h.engine.workers.get(id) === undefined)
      world.broken.push(`${id} exists after its record was closed`)
}

async function converge(world: World): Promise<void> {
  const { h } = world
  if (h.crashed) await h.crash()
  // An armed point may still be ahead.
  h.crashAt('call-sent', 1e9)
  world.fault = () => undefined
  for (const [, worker] of workersOf(world)) delete worker.problem
  for (const name of ['one', 'two']) h.provider(name).setState('ready')
  await putRight(h.engine)
  // Longer than every back-off, grace and lag together: the longest are exhaustion and log hold, 10 minutes each.
  for (let i = 0; i < 6; i++) {
    await h.pass(150_000)
    for (const worker of h.engine.workers.live()) await h.engine.workers.confirmLogEnd(worker.id)
  }
  // Many that were forgotten are as many orphans.
  for (const name of ['one', 'two']) await h.engine.reclaimOrphans(name)
  await h.pass(600_000)
}

async function check(world: World): Promise<void> {
  const { h } = world
  expect(world.broken).toEqual([])
  expect(h.reports).toEqual([])
  const records = [...h.engine.workers.live()]
  const exist = new Map(workersOf(world))
  expect(new Set(exist.keys())).toEqual(new Set(records.map((worker) => worker.id)))
  for (const worker of records) {
    expect(['idle', 'leased']).toContain(worker.phase)
    expect(exist.get(worker.id)?.spec.tags['muster-provider']).toBe(worker.provider)
    if (worker.phase !== 'leased') continue
    expect(h.engine.leases.get(worker.lease_id ?? '')).toMatchObject({ state: 'active', worker_id: worker.id })
  }
  for (const lease of h.engine.leases.live()) {
    if (lease.state === 'active')
      expect(h.engine.workers.get(lease.worker_id ?? '')).toMatchObject({ phase: 'leased', lease_id: lease.id })
    else expect(h.engine.pools.get(lease.pool)?.waiting).toMatch(/maximum/)
  }
  const rows = await h.engine.store.read.selectFrom('workers').select(['id', 'spec_sealed', 'ended_at', 'phase']).execute()
  for (const row of rows) expect(row.spec_sealed === null).toBe(row.ended_at !== null)
}

test(
  'after any faults and crashes: one worker per live record, none without, caps held, nothing leased was stopped',
  { timeout: 30_000 + RUNS * 1500 },
  async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.nat(),
        fc.array(fc.array(step, { minLength: 1, maxLength: 5 }), { minLength: 3, maxLength: 16 }),
        async (seed, bursts) => {
          const world = await openWorld(seed)
          try {
            for (const burst of bursts) {
              // Steps of one burst meet in one turn, or in neighbouring ones, as requests of several clients do.
              for (const given of burst) await take(world, given)
              await world.h.settle()
              if (world.h.crashed) await world.h.crash()
              noneForgotten(world)
            }
            await converge(world)
            await check(world)
          } finally {
            await world.h.close()
          }
        },
      ),
      { numRuns: RUNS, endOnFailure: true, ...replay },
    )
  },
)
