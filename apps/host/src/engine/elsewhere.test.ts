/** A start with another configuration of a provider, which means another place: what that does not show is neither lost nor gone. */
import { ProviderError } from '@muster/core'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type Harness, leaseRequest, openHarness, poolConfig } from './testing/harness.ts'
import type { Fault, VendorWorker } from './testing/vendor.ts'

let h: Harness
let configs: Record<string, string>
let left: Map<string, VendorWorker>
/** By method. */
let faults: Record<string, Fault>
/** What a pool waits for until it is prepared, where it has to be. */
let preparing: Promise<undefined> | undefined
beforeEach(async () => {
  faults = {}
  preparing = undefined
  configs = { one: 'here' }
  left = new Map()
  h = await openHarness({
    pools: [poolConfig({ work: 'hold' })],
    providers: [{ name: 'one', readyMs: 0, prepared: () => preparing, fault: (method) => faults[method] }],
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

/** Configured to be there from now on, while the engine runs; `known`: what that place was asked for and has. */
async function applied(place: string, known: string[] = []): Promise<void> {
  configs = { one: place }
  const settings = { configs, reconcileMs: 30_000, orphanGraceMs: 120_000, retention: { recordsMs: 1e12, journalMs: 1e12 } }
  const how = { principal: 'ann', changes: [], known: { one: known }, commit: () => undefined }
  await h.engine.configure({ pools: [poolConfig({ work: 'hold' })], ...settings }, how)
}

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
  const { rev = 0 } = h.engine.workers.get(id) ?? {}
  await applied('here', [id])
  expect(h.engine.workers.get(id)?.rev).toBe(rev)
  await applied('applied', [id])
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

test('what an apply did not find there is not gone, and as little handed out: of a provider that was missing, say', async () => {
  const id = await leased()
  h.provider().vendor.workers.clear()
  await applied('elsewhere')
  await h.pass(100_000)
  expect([phase(id), conditions()]).toEqual(['leased', ['stranded']])
})

test('a launch under way while another place is applied ends where it began', async () => {
  const { vendor } = h.provider()
  faults['launch'] = { delayMs: 20_000, early: true }
  const { id: lease } = await h.engine.leases.request(leaseRequest())
  await h.pass(100)
  const [id = ''] = vendor.made
  const there = new Map(vendor.workers)
  await applied('elsewhere')
  vendor.workers.clear()
  await h.pass(100_000)
  // Nobody has asked the new place for it, and nobody made another in its name.
  expect([vendor.made, vendor.calls.filter((one) => one.method === 'terminate')]).toEqual([[id], []])
  expect([h.engine.workers.get(id)?.handle, conditions()]).toEqual([expect.any(String), ['stranded']])
  for (const [key, worker] of there) vendor.workers.set(key, worker)
  await applied('here')
  await h.pass(100_000)
  expect([vendor.workers.size, h.engine.leases.get(lease)?.state, conditions()]).toEqual([1, 'active', []])
})

test('a launch that may have had an effect is repeated in no other place: after an apply, and after a start', async () => {
  const { vendor } = h.provider()
  faults['launch'] = { effect: true, error: new ProviderError('transient', 'the line broke', { effect: 'possible' }) }
  await h.engine.leases.request(leaseRequest())
  await h.pass(0)
  const [id = ''] = vendor.made
  const here = new Map(vendor.workers)
  await applied('elsewhere')
  vendor.workers.clear()
  faults = {}
  await h.pass(30_000)
  expect([vendor.made, vendor.workers.size, phase(id)]).toEqual([[id], 0, 'launching'])
  await h.crash(1000)
  await h.pass(20_000)
  expect([vendor.made, vendor.workers.size, conditions()]).toEqual([[id], 0, ['stranded']])
  await startAt('here', here)
  expect([vendor.made, phase(id), conditions()]).toEqual([[id], 'leased', []])
})

test('the end of a launch in doubt waits for its place', async () => {
  const { vendor } = h.provider()
  faults['launch'] = { effect: true, error: new ProviderError('transient', 'the line broke', { effect: 'possible' }) }
  const { id: lease } = await h.engine.leases.request(leaseRequest({ queueTimeoutMs: 1_000_000 }))
  await h.pass(0)
  const [id = ''] = vendor.made
  await startAt('elsewhere')
  const here = left
  await h.engine.leases.release(lease, { reason: 'over' })
  await h.pass(100_000)
  expect([phase(id), conditions()]).toEqual(['terminating', ['stranded']])
  await startAt('here', here)
  expect([phase(id), vendor.workers.size, conditions()]).toEqual([undefined, 0, []])
})

test('a launch that was not sent yet goes to the place that is configured by then, and is looked for there', async () => {
  const { vendor } = h.provider()
  h.provider().setState('starting')
  const { id: lease } = await h.engine.leases.request(leaseRequest())
  await h.pass(100)
  await applied('elsewhere')
  h.provider().setState('ready')
  await h.pass(1000)
  const { worker_id: id = '' } = h.engine.leases.get(lease) ?? {}
  expect([vendor.made, phase(id ?? '')]).toEqual([[id], 'leased'])
  await startAt('elsewhere')
  expect([phase(id ?? ''), conditions()]).toEqual([undefined, []])
})

test('what a launch that waited for its pool to be prepared may have made is looked for where it was sent', async () => {
  const { vendor, capabilities } = h.provider()
  Object.assign(capabilities, { preparePool: true })
  const prepared = Promise.withResolvers<undefined>()
  preparing = prepared.promise
  const { id: lease } = await h.engine.leases.request(leaseRequest())
  await h.settle()
  const { worker_id: id } = h.engine.leases.get(lease) ?? {}
  await applied('elsewhere')
  faults['launch'] = { error: new ProviderError('transient', 'the line broke', { effect: 'possible' }) }
  prepared.resolve(undefined)
  await h.settle()
  expect(vendor.calls.flatMap((one) => (one.method === 'launch' ? one.id : []))).toEqual([id])
  faults = {}
  await h.pass(20_000)
  expect([vendor.made, phase(id ?? ''), conditions()]).toEqual([[id], 'leased', []])
})

test('a launch that is repeated goes to no other place that is applied while its pool is prepared', async () => {
  const { vendor, capabilities } = h.provider()
  Object.assign(capabilities, { preparePool: true })
  faults['launch'] = { effect: true, error: new ProviderError('transient', 'the line broke', { effect: 'possible' }) }
  await h.engine.leases.request(leaseRequest())
  await h.pass(0)
  const [id = ''] = vendor.made
  const prepared = Promise.withResolvers<undefined>()
  preparing = prepared.promise
  const here = new Map(vendor.workers)
  await h.crash(1000)
  await applied('elsewhere')
  vendor.workers.clear()
  faults = {}
  prepared.resolve(undefined)
  await h.pass(10_000)
  expect([vendor.made, vendor.workers.size, phase(id)]).toEqual([[id], 0, 'launching'])
  await startAt('here', here)
  expect([vendor.made, phase(id), conditions()]).toEqual([[id], 'leased', []])
})

test('a list that was asked of the place before says nothing of the one that is applied meanwhile', async () => {
  const id = await leased()
  faults['list-page'] = { delayMs: 1000, early: true }
  const list = h.engine.reconcile('one')
  await h.settle()
  await applied('elsewhere')
  h.provider().vendor.workers.clear()
  faults = {}
  await h.pass(100_000)
  await list
  expect([phase(id), conditions()]).toEqual(['leased', ['stranded']])
})

test('workers of a host that did not note where they are count as being where they are looked for first', async () => {
  const id = await leased()
  await h.engine.store.write(async (tx) => void (await tx.updateTable('workers').set({ provider_config: null }).execute()))
  await h.crash(1000)
  await h.pass(1000)
  await startAt('elsewhere')
  expect([phase(id), conditions()]).toEqual(['leased', ['stranded']])
})
