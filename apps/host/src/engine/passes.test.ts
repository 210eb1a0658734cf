import { expect, test } from 'vitest'
import { StoreError } from '../store/store.ts'
import { leaseRequest, openHarness, poolConfig } from './testing/harness.ts'

test('a pool whose plan could not be stored, and that had news in that moment, is planned again', async () => {
  const h = await openHarness({ pools: [poolConfig()], providers: [{ name: 'one' }] })
  h.provider().setState('failed')
  const { id } = await h.engine.leases.request(leaseRequest())
  await h.pass(1000)
  const { write } = h.engine.store
  let refused = 0
  Object.assign(h.engine.store, {
    write: () => {
      refused += 1
      h.provider().setState('ready')
      return Promise.reject(new StoreError('full', 'as the test asked'))
    },
  })
  h.provider().setState('ready')
  await h.settle()
  expect(refused).toBe(1)
  Object.assign(h.engine.store, { write })
  await h.pass(10_000)
  expect(h.engine.leases.get(id)?.state).toBe('active')
  expect(h.reports).toEqual([])
  await h.close()
})
