/** What is recorded of workers by what their provider shows of them. */
import type { WorkerObservation, WorkerTarget } from '@muster/core'
import { expect, test } from 'vitest'
import { type Harness, leaseRequest, poolConfig } from './testing/harness.ts'
import { holding } from './holding.test.helper.ts'

let h: Harness
const { open, leased } = holding((opened) => (h = opened))

/** From now on its workers are shown so. */
function show(change: (one: WorkerObservation) => Partial<WorkerObservation>): void {
  const one = h.provider()
  const { inspect, list } = one
  const changed = (seen: WorkerObservation): WorkerObservation => ({ ...seen, ...change(seen) })
  one.inspect = async (targets) => (await inspect(targets)).map(changed)
  one.list = async (query) => {
    const page = await list(query)
    return { ...page, workers: page.workers.map(changed) }
  }
}

test('a worker of which its provider cannot say whether it is ready is so once it runs, and where it is probed only by that', async () => {
  const readiness = { check: { kind: 'tcp', port: 80 }, intervalMs: 100, timeoutMs: 100, failures: 1 } as const
  const pools = [poolConfig({ work: 'hold' }), poolConfig({ name: 'probed', work: 'hold', worker: { readiness } })]
  await open({ pools, providers: [{ name: 'one', readyMs: 5000, capabilities: { watch: false, fields: ['readiness'] } }] })
  let ready: WorkerObservation['ready'] = 'unknown'
  show(() => ({ ready }))
  for (const { name } of pools) await h.engine.leases.request(leaseRequest({ pool: name }))
  const phases = (): string[] =>
    pools.flatMap(({ name }) => [...h.engine.workers.live()].flatMap((one) => (one.pool === name ? one.phase : [])))
  await h.pass(4500)
  expect(phases()).toEqual(['starting', 'starting'])
  await h.pass(5000)
  expect(phases()).toEqual(['leased', 'starting'])
  ready = true
  await h.pass(5000)
  expect(phases()).toEqual(['leased', 'leased'])
})

test('a handle that its provider shows anew is the one that it is asked with from then on, after a kill too', async () => {
  await open()
  const { lease, worker } = await leased()
  const handle = { v: 2, data: { id: worker, zone: 'b' } }
  show(() => ({ handle }))
  await h.pass(40_000)
  await h.crash()
  const targets: WorkerTarget[] = []
  const { terminate } = h.provider()
  h.provider().terminate = (target, ...how) => {
    targets.push(target)
    return terminate(target, ...how)
  }
  await h.engine.leases.release(lease, { reason: 'done' })
  await h.pass(100)
  expect(targets).toEqual([{ id: worker, handle }])
})

test('a worker that somebody else is ending is handed to nobody once its lease is over, and not kept', async () => {
  await open({ pools: [poolConfig({ work: 'hold', uses: 3, scale: { max: 2 } })] })
  const [first, second] = [await leased(), await leased()]
  for (const { worker } of [first, second]) {
    Object.assign(h.provider().vendor.workers.get(worker) ?? {}, { phase: 'stopping' })
    h.provider().announce(worker)
  }
  await h.settle()
  const states = (): (string | undefined)[] => [first, second].map(({ worker }) => h.engine.workers.get(worker)?.phase)
  expect(states()).toEqual(['leased', 'leased'])
  await h.engine.leases.release(first.lease, { reason: 'done' })
  await h.engine.leases.release(second.lease, { reason: 'done', keep: { ms: 60_000, runId: 'r1', outcome: 'failed' } })
  await h.pass(1000)
  expect(states()).toEqual([undefined, undefined])
})
