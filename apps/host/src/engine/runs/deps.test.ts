import { ProviderError } from '@muster/core'
import { expect, test } from 'vitest'
import { retryDelay } from './deps.ts'

test('the time to the next try doubles up to five seconds, and is longer once a provider is taken for away', () => {
  expect([0, 1, 3, 5, 6, 24, 25, 1000].map((failures) => retryDelay(undefined, failures, 1))).toEqual([
    100, 200, 800, 3200, 5000, 5000, 30_000, 30_000,
  ])
  expect([retryDelay(undefined, 3, 0.5), retryDelay(undefined, 3, 0)]).toEqual([400, 20])
})

test('a vendor that asks for a pause gets it, up to five seconds', () => {
  const asking = (retryAfterMs: number): ProviderError => new ProviderError('throttled', 'too many', { retryAfterMs })
  expect([1, 3000, 60_000].map((ms) => retryDelay(asking(ms), 1, 1))).toEqual([200, 3000, 5000])
})
