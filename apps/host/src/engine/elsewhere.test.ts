/** A start with another configuration of a provider, which means another place: what that does not show is neither lost nor gone. */
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type Harness, leaseRequest, openHarness, poolConfig } from './testing/harness.ts'
import type { VendorWorker } from './testing/vendor.ts'

let h: Harness
let configs: Record<string, string>
let left: Map<string, VendorWorker>
beforeEach(async () => {
  configs = { one: 'here' }
  left = new Map()
  h = await openHarness({
    pools: [poolConfig({ work: 'hold' })],
    providers: [{ name: 'one' }],
    engine: {
      get configs() {
        return configs
      },
    },
  })
})
afterEach(async () => {
  expect(h.reports).toEqual([])
  await h.close()
})

async function leased(): Promise<string> {
  const { id } = await h.engine.leases.request(leaseRequest())
  await h.pass(100)
  return h.engine.leases.get(id)?.worker_id ?? ''
}

/** Configured to be there from now on, and started so. What is in one place is not in the other. */
async function startAt(place: string, has: ReadonlyMap<string, VendorWorker> = new Map()): Promise<void> {
  const { workers } = h.provider().vendor
  left = new Map(workers)
  workers.clear()
  for (const [id, worker] of has) workers.set(id, worker)
  configs = { one: place }
  await h.crash(1000)
  await h.pass(100_000)
}

const phase = (id: string): string | undefined => h.engine.workers.get(id)?.phase
const conditions = (): string[] => h.engine.conditions.list().map((one) => one.type)

test('workers of the place before are neither lost nor handed out, and are there again with it', async () => {
  const id = await leased()
  await startAt('elsewhere')
  expect([phase(id), conditions()]).toEqual(['leased', ['stranded']])
  expect(h.engine.conditions.list()[0]?.message).toBe(
    'it was configured otherwise when it made 1 worker, and as it is configured now it does not show it',
  )
  const here = left
  // A start more does not make it the place of before.
  await startAt('elsewhere')
  expect([phase(id), conditions()]).toEqual(['leased', ['stranded']])
  await startAt('here', here)
  expect([phase(id), conditions()]).toEqual(['leased', []])
})

test('a configuration that shows one of them is of the same place: the others are gone', async () => {
  const [one, other] = [await leased(), await leased()]
  const seen = new Map([...h.provider().vendor.workers].filter(([id]) => id === one))
  await startAt('here, in other words', seen)
  expect([phase(one), phase(other), conditions()]).toEqual(['leased', undefined, []])
  // It is known from then on, whatever is asked.
  await startAt('here, in other words')
  expect(phase(one)).toBeUndefined()
})

test('with the same configuration absence means what it always does', async () => {
  const id = await leased()
  await startAt('here')
  expect([phase(id), conditions()]).toEqual([undefined, []])
})

test('a configuration that was applied had to account for all workers: they are where it is', async () => {
  const id = await leased()
  configs = { one: 'applied' }
  await h.engine.configure(
    {
      pools: [poolConfig({ work: 'hold' })],
      configs,
      reconcileMs: 30_000,
      orphanGraceMs: 120_000,
      retention: { recordsMs: 1e12, journalMs: 1e12 },
    },
    { principal: 'ann', changes: [], commit: () => undefined },
  )
  await h.settle()
  await startAt('applied')
  expect([phase(id), conditions()]).toEqual([undefined, []])
})

test('what is made in the new place works as any other', async () => {
  const before = await leased()
  await startAt('elsewhere')
  const id = await leased()
  await h.engine.leases.release(h.engine.workers.get(id)?.lease_id ?? '', { reason: 'over' })
  await h.pass(100_000)
  expect([phase(before), phase(id)]).toEqual(['leased', undefined])
})

test('back at the first place, its workers are there, and those of the second are not gone', async () => {
  const first = await leased()
  await startAt('elsewhere')
  const here = left
  const second = await leased()
  const there = h.provider().vendor.workers.get(second)
  await startAt('here', here)
  expect([phase(first), phase(second), conditions()]).toEqual(['leased', 'leased', ['stranded']])
  await startAt('elsewhere', new Map(there === undefined ? [] : [[second, there]]))
  expect([phase(first), phase(second), conditions()]).toEqual(['leased', 'leased', ['stranded']])
})

test('of a provider that the configuration names no longer they are as little gone', async () => {
  const id = await leased()
  await startAt('elsewhere')
  configs = {}
  await h.crash(1000)
  await h.pass(100_000)
  expect([phase(id), conditions()]).toEqual(['leased', ['stranded']])
})
