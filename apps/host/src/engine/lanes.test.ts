/** The calls of one provider wait for their own places, and for those of no other. */
import { afterEach, expect, test } from 'vitest'
import { type Harness, leaseRequest, openHarness, poolConfig } from './testing/harness.ts'

let h: Harness
afterEach(async () => {
  expect(h.reports).toEqual([])
  await h.close()
})

test.each(['launch', 'terminate'])('a provider that answers no %s takes the places of no other one', async (hung) => {
  let hangs = false
  h = await openHarness({
    pools: [poolConfig({ name: 'a', placement: ['one'] }), poolConfig({ name: 'b', placement: ['two'] })],
    providers: [
      { name: 'one', inFlight: 2, fault: (method) => (hangs && method === hung ? { delayMs: 10_000_000 } : undefined) },
      { name: 'two', inFlight: 2 },
    ],
  })
  const { leases } = h.engine
  const ask = async (pool: string): Promise<string> => (await leases.request(leaseRequest({ pool }))).id
  const [own, other] = [await ask('a'), await ask('b')]
  await h.pass(100)
  hangs = true
  await ask('a')
  await leases.release(own, { reason: 'done' })
  await h.pass(10)
  const next = await ask('b')
  await leases.release(other, { reason: 'done' })
  await h.pass(1000)
  const { vendor } = h.provider('one')
  expect(vendor.calls.filter(({ method }) => method === hung)).toHaveLength(hung === 'launch' ? 2 : 1)
  expect(leases.get(next)?.state).toBe('active')
  expect(h.provider('two').vendor.workers.size).toBe(1)
})
