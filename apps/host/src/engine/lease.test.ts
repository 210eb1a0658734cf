/** Leases as their holders see them end, and as they are listed. */
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type Harness, leaseRequest, openHarness, poolConfig } from './testing/harness.ts'

let h: Harness
beforeEach(async () => {
  h = await openHarness({ pools: [poolConfig()], providers: [{ name: 'one' }] })
})
afterEach(async () => {
  expect(h.reports).toEqual([])
  await h.close()
})

async function active(given: Parameters<typeof leaseRequest>[0] = {}): Promise<{ id: string; worker: string }> {
  const { id } = await h.engine.leases.request(leaseRequest(given))
  await h.pass(1000)
  return { id, worker: h.engine.leases.get(id)?.worker_id ?? '' }
}

test('a list has as many as were asked for, the newest first', async () => {
  const [, second, third] = [await active(), await active(), await active()]
  expect((await h.engine.leases.list({ limit: 2 })).map(({ id }) => id)).toEqual([third?.id, second?.id])
})

test('the worker of a run that never began is held for no log, that of one that began is', async () => {
  const [unread, read] = [await active({ ofRun: 'r1' }), await active({ ofRun: 'r2' })]
  await h.engine.leases.release(unread.id, { reason: 'its run was cancelled', unread: true })
  await h.engine.leases.release(read.id, { reason: 'its run ended' })
  await h.pass(1000)
  expect(h.engine.workers.get(unread.worker)).toBeUndefined()
  expect(h.engine.workers.get(read.worker)?.phase).toBe('draining')
})

test.each(['released', 'cancelled'] as const)('a worker that ends with its lease is told how that ended: %s', async (end) => {
  const { id, worker } = await active()
  await h.engine.leases.release(id, { reason: 'no need', end })
  const row = (await h.engine.journal.why('worker', worker)).find(({ rule }) => rule === 'lease-over')
  expect(JSON.parse(row?.inputs ?? '{}')).toMatchObject({ end })
})
