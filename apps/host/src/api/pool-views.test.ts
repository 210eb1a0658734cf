import { afterEach, expect, test } from 'vitest'
import { type Harness, leaseRequest, openHarness, owner, poolConfig } from '../engine/testing/harness.ts'
import { poolView } from './pool-views.ts'

let h: Harness
afterEach(() => h.close())

function shown(): string[] {
  return h.engine.pools.list().map((pool) => `${pool.config.name} ${poolView(pool).state}`)
}

test('a pool that the configuration names no longer is leaving until it is empty, over a restart too', async () => {
  const pools = [poolConfig(), poolConfig({ name: 'other' })]
  h = await openHarness({ pools, providers: [{ name: 'one' }] })
  const { id } = await h.engine.leases.request(leaseRequest())
  await h.pass(1000)
  expect(shown()).toEqual(['ci active', 'other active'])
  pools.shift()
  const settings = { owner, reconcileMs: 30_000, orphanGraceMs: 120_000, retention: { recordsMs: 1e12, journalMs: 1e12 } }
  await h.engine.configure({ ...settings, pools }, { principal: 'ann', changes: [], commit: () => undefined })
  await h.pass(1000)
  expect(shown().sort()).toEqual(['ci leaving', 'other active'])
  await h.crash()
  await h.pass(1000)
  expect(shown().sort()).toEqual(['ci leaving', 'other active'])
  await h.engine.leases.release(id, { reason: 'done' })
  await h.pass(1000)
  expect(shown()).toEqual(['other active'])
})
