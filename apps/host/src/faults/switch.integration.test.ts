/** 32 callers of a host while versions of a plugin take over from each other; `pnpm prove` is the long form. */
import { expect, test } from 'vitest'
import { proveSwitch } from './switch.test.helper.ts'

test(
  'no call fails because of an upgrade; each of those that a restart of the process cuts off does',
  { timeout: 300_000 },
  async () => {
    const { switched, killed, accounted } = await proveSwitch({ callers: 32, calls: 3000, switches: 12, kills: 2 })
    process.stdout.write(
      `switch: ${switched.failed} of ${switched.calls} calls failed over ${switched.times} upgrades; ${killed.failed} of ${killed.calls} over ${killed.times} restarts\n`,
    )
    expect([switched.failed, switched.said]).toEqual([0, []])
    expect(switched.calls).toBeGreaterThanOrEqual(3000)
    expect(switched.times).toBeGreaterThanOrEqual(12)
    expect(accounted).toBeGreaterThanOrEqual(switched.times)
    expect(killed.failed).toBeGreaterThanOrEqual(killed.times)
  },
)
