import { expect, test } from 'vitest'
import { StoreError } from '../store/store.ts'
import { leaseRequest, openHarness, poolConfig } from './testing/harness.ts'

test('a lease that gets an idle worker is told how long it had waited', async () => {
  const h = await openHarness({ pools: [poolConfig({ work: 'hold', uses: 2, scale: { max: 1 } })], providers: [{ name: 'one' }] })
  const first = await h.engine.leases.request(leaseRequest())
  await h.pass(1000)
  const second = await h.engine.leases.request(leaseRequest())
  await h.pass(7000)
  await h.engine.leases.release(first.id, { reason: 'done' })
  await h.pass(1000)
  const row = (await h.engine.journal.why('lease', second.id)).find(({ rule }) => rule === 'assign-idle')
  expect(JSON.parse(row?.inputs ?? '{}')).toMatchObject({ waitedMs: 7000 })
  await h.close()
})

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
