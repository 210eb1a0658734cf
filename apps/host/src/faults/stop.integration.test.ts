/** The short form of what `pnpm prove` does for two minutes: a stop that is longer than the lease which is held meanwhile. */
import { expect, test } from 'vitest'
import { proveStop } from './stop.test.helper.ts'
import { fakeVendor, localVendor } from './vendors.test.helper.ts'

test.each([
  ['daemon', fakeVendor],
  ['daemon', localVendor],
  ['plugin', fakeVendor],
] as const)('a %s that stands still and goes on loses and doubles nothing', { timeout: 600_000 }, async (what, vendor) => {
  await expect(proveStop({ what, ms: 16_000, ttlMs: 12_000, vendor })).resolves.toBeUndefined()
})
