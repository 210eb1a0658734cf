import { afterEach, expect, test } from 'vitest'
import { type Harness, leaseRequest, openHarness, poolConfig } from './testing/harness.ts'

let h: Harness
afterEach(async () => {
  expect(h.reports).toEqual([])
  await h.close()
})

test('a launch that waits for a provider which is away is made by another, once that was given its time to be back', async () => {
  h = await openHarness({
    pools: [poolConfig({ placement: ['one', 'two'] })],
    providers: [
      // One place for launches: the second waits for the first.
      { name: 'one', inFlight: 2, fault: (method) => (method === 'launch' ? { delayMs: 20_000 } : undefined) },
      { name: 'two' },
    ],
  })
  await h.engine.leases.request(leaseRequest())
  const { id } = await h.engine.leases.request(leaseRequest())
  await h.pass(100)
  const where = (): string | undefined => h.engine.workers.get(h.engine.leases.get(id)?.worker_id ?? '')?.provider
  expect(where()).toBe('one')
  h.provider('one').setState('starting')
  await h.pass(4900)
  expect(where()).toBe('one')
  await h.pass(200)
  expect([where(), h.engine.leases.get(id)?.state]).toEqual(['two', 'active'])
  expect((await h.engine.journal.why('lease', id)).map(({ rule }) => rule)).toContain('launch-taken-back')
})

test('so is one for the stock of a pool', async () => {
  h = await openHarness({
    pools: [poolConfig({ placement: ['one', 'two'], work: 'hold', scale: { warm: 2 } })],
    providers: [
      { name: 'one', inFlight: 2, fault: (method) => (method === 'launch' ? { delayMs: 20_000 } : undefined) },
      { name: 'two' },
    ],
  })
  await h.pass(100)
  const where = (): string[] => [...h.engine.workers.live()].map(({ provider }) => provider).sort()
  expect(where()).toEqual(['one', 'one'])
  h.provider('one').setState('starting')
  await h.pass(5100)
  expect(where()).toEqual(['one', 'two'])
})
