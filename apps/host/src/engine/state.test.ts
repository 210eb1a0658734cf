/** What is known of live workers and pools, and where. */
import { expect, test } from 'vitest'
import type { LiveWorker } from './model.ts'
import { engineState, isThere, type PoolState } from './state.ts'
import { poolConfig } from './testing/harness.ts'

test.each<[Partial<PoolState>, boolean]>([
  [{}, false],
  [{ total: 1 }, true],
  [{ leases: 1 }, true],
  [{ queue: ['l1'] }, true],
  [{ config: poolConfig() }, true],
])('a pool that is named no longer is there as long as anything of it is: %j', (part, there) => {
  const config = poolConfig({ placement: [] })
  expect(isThere({ config, total: 0, leases: 0, queue: [], ...part } as PoolState)).toBe(there)
})

const idle = (id: string): LiveWorker =>
  ({ id, pool: 'ci', provider: 'one', phase: 'idle', shape: 's', lease_id: null, cordoned: 0, kept_until: null }) as LiveWorker

test.each([
  ['w1', ['w2', 'w3', 'w4']],
  ['w2', ['w1', 'w3', 'w4']],
  ['w3', ['w1', 'w2', 'w4']],
  ['w4', ['w1', 'w2', 'w3']],
])('of idle workers the one that is taken goes, wherever it stands: %s', (taken, left) => {
  const state = engineState([poolConfig()])
  for (const id of ['w1', 'w2', 'w3', 'w4']) state.setWorker(idle(id))
  state.setWorker({ ...idle(taken), phase: 'leased', lease_id: 'l1' })
  expect(state.pool('ci').idle.get('s')).toEqual(left)
})
