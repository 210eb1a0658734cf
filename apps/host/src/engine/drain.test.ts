import { afterEach, expect, test } from 'vitest'
import type { PoolStatus } from './api.ts'
import { type Harness, leaseRequest, openHarness, poolConfig } from './testing/harness.ts'

let h: Harness
afterEach(async () => {
  expect(h.reports).toEqual([])
  await h.close()
})

test('a drained pool keeps nobody idle, still serves, and goes on when resumed', async () => {
  h = await openHarness({ pools: [poolConfig({ work: 'hold', scale: { min: 2, warm: 3 } })], providers: [{ name: 'one' }] })
  const workers = (): number => h.provider().vendor.workers.size
  await h.pass(100)
  expect(workers()).toBe(3)
  const held = await h.engine.leases.request(leaseRequest())
  await h.pass(100)
  expect(workers()).toBe(4)

  expect(await h.engine.pools.drain('ci', { principal: 'tester' })).toMatchObject({
    wish: { wish: 'draining', principal: 'tester' },
  })
  await h.pass(100)
  expect(workers()).toBe(1)
  expect(h.engine.leases.get(held.id)).toMatchObject({ state: 'active' })

  const asked = await h.engine.leases.request(leaseRequest())
  await h.pass(100)
  expect(h.engine.leases.get(asked.id)).toMatchObject({ state: 'active' })
  for (const { id } of [held, asked]) await h.engine.leases.release(id, { reason: 'done' })
  await h.pass(100)
  expect(workers()).toBe(0)

  await h.engine.pools.drain('ci', { principal: 'tester' })
  expect(await h.engine.pools.resume('ci', { principal: 'tester' })).toSatisfy((status: PoolStatus) => status.wish === undefined)
  await h.pass(100)
  expect(workers()).toBe(3)
  const told = (await h.engine.journal.why('pool', 'ci')).map((row) => row.rule).filter((rule) => rule.startsWith('pool-'))
  expect(told).toEqual(['pool-drain', 'pool-resume'])
  await expect(h.engine.pools.drain('nowhere', { principal: 'tester' })).rejects.toThrow('there is no pool nowhere')
})
