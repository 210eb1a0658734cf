import { findDocker } from '@muster/test/systems/docker'
import { suiteWith } from '@muster/test/systems/presence'
import { describe, expect, it } from 'vitest'
import { killPoints } from '../engine/killpoint.ts'
import { limited, prove } from './kill.test.helper.ts'
import { dockerVendor, fakeVendor, localVendor, type OpenVendor } from './vendors.test.helper.ts'

/** How often each point is tried: once, unless `MUSTER_KILL_PROOFS` says more, as `10,5,3`, or not at all. `pnpm prove` is the long form. */
const [fake = 1, local = 1, docker = 1] = (process.env['MUSTER_KILL_PROOFS'] || '1,1,1').split(',').map(Number)
const times = { fake, local, docker }

function proofs(vendor: OpenVendor, count: number): void {
  it.concurrent.each([...killPoints])('%s', { timeout: 1_200_000 }, async (point) => {
    // The first passing, then the next ones: the same point in another life of a run.
    const passings = Array.from({ length: count }, (_, n) => 1 + (n % 3))
    const { killed } = await limited(() => prove({ point, passings, vendor }))
    expect(killed, 'how often the point was passed').toBeGreaterThan(0)
  })
}

if (times.fake > 0)
  describe('the daemon killed at every point, on the fake provider', () => {
    proofs(fakeVendor, times.fake)
  })

if (times.local > 0)
  describe('the daemon killed at every point, on local processes', () => {
    proofs(localVendor, times.local)
  })

if (times.docker > 0)
  suiteWith(await findDocker(), 'the daemon killed at every point, on Docker', ({ socket }) =>
    proofs(dockerVendor(socket), times.docker),
  )
