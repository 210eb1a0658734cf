/** What a plugin, or a defect of our own, must not be able to do: make a worker that nobody ends, or one that nobody makes. */
import { ProviderError } from '@muster/core'
import { afterEach, describe, expect, test } from 'vitest'
import { type Harness, leaseRequest, openHarness, poolConfig } from './testing/harness.ts'

let h: Harness | undefined
afterEach(async () => {
  await h?.close()
  h = undefined
})

/** One worker from its launch to its end, with one call of `method` failing so. */
async function livesAndEnds(method: string, error: ProviderError): Promise<Harness> {
  let left = 1
  const fault = (called: string): { error: ProviderError } | undefined =>
    called === method && left-- > 0 ? { error } : undefined
  // Without a watch the end of a worker is inspected.
  h = await openHarness({ pools: [poolConfig()], providers: [{ name: 'one', fault, capabilities: { watch: false } }] })
  const lease = await h.engine.leases.request(leaseRequest())
  await h.pass(40_000)
  expect(h.engine.leases.get(lease.id)?.state).toBe('active')
  await h.engine.leases.release(lease.id, { reason: 'done' })
  // A vendor may ask for a long pause; ten minutes is the longest that it gets.
  await h.pass(700_000)
  expect([...h.engine.workers.live()]).toEqual([])
  expect(h.provider().vendor.workers.size).toBe(0)
  expect(h.provider().vendor.made).toHaveLength(1)
  return h
}

describe.each(['launch', 'terminate', 'inspect', 'list'])('a %s', (method) => {
  test.each([0.4, 5000.5, Number.NaN, Infinity, 1e300])('that may be tried again after %d ms is', async (retryAfterMs) => {
    const at = await livesAndEnds(method, new ProviderError('transient', 'busy', { effect: 'none', retryAfterMs }))
    expect(at.reports).toEqual([])
  })

  test('whose failure we cannot handle is reported and made again', async () => {
    const error = new ProviderError('transient', 'busy', { effect: 'none' })
    Object.defineProperty(error, 'code', {
      get() {
        throw new Error('planted')
      },
    })
    const at = await livesAndEnds(method, error)
    expect(at.reports).toEqual([{ message: expect.stringMatching(/could not be handled|failed/), error: expect.any(Error) }])
  })
})
