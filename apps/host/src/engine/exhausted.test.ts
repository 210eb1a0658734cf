/** A provider that has no more: it is left alone for a while, but not while workers of ours make room there. */
import { ProviderError } from '@muster/core'
import { afterEach, expect, test } from 'vitest'
import { type Harness, leaseRequest, openHarness, poolConfig } from './testing/harness.ts'
import type { Fault } from './testing/vendor.ts'

let h: Harness
afterEach(async () => {
  expect(h.reports).toEqual([])
  await h.close()
})

const vendor = () => h.provider('one').vendor
const launches = (): number => vendor().calls.filter(({ method }) => method === 'launch').length
const state = (id: string): string | undefined => h.engine.leases.get(id)?.state

/** It has room for two workers. */
async function open(): Promise<void> {
  const full = (method: string): Fault | undefined =>
    method === 'launch' && vendor().workers.size >= 2
      ? { error: new ProviderError('quota', 'no more', { effect: 'none', quota: 'pods' }) }
      : undefined
  h = await openHarness({
    pools: [poolConfig({ scale: { max: 9 } }), poolConfig({ name: 'other', scale: { max: 9 } })],
    providers: [{ name: 'one', fault: full }],
  })
}

async function ask(pool = 'ci'): Promise<string> {
  const { id } = await h.engine.leases.request(leaseRequest({ pool }))
  await h.pass(100)
  return id
}

test.each(['ci', 'other'])(
  'whoever waits in pool %s is served as soon as a worker of ours has ended, and no more are asked for than have',
  async (pool) => {
    await open()
    const first = await ask()
    await ask()
    const waits = [await ask(pool), await ask(pool), await ask(pool)]
    expect(waits.map(state)).toEqual(['queued', 'queued', 'queued'])
    const before = launches()
    await h.engine.leases.release(first, { reason: 'done' })
    await h.pass(2000)
    expect(waits.map(state)).toEqual(['active', 'queued', 'queued'])
    expect(launches()).toBe(before + 1)
  },
)

test('nobody is asked again where none of ours has ended, before the pause is over', async () => {
  await open()
  const held = [await ask(), await ask()]
  const waits = await ask()
  const before = launches()
  await h.pass(29_000)
  expect(launches()).toBe(before)
  await h.pass(2000)
  expect(launches()).toBe(before + 1)
  expect([...held, waits].map(state)).toEqual(['active', 'active', 'queued'])
})

test('one that was made, and for which there was no room after all, makes none by its end', async () => {
  h = await openHarness({ pools: [poolConfig({ scale: { max: 9 } })], providers: [{ name: 'one', readyMs: 1e9 }] })
  const waits = await ask()
  const [[id, worker] = []] = [...vendor().workers]
  if (id === undefined || worker === undefined) throw new Error('no worker')
  worker.problem = { code: 'capacity', message: 'unschedulable', final: true }
  h.provider('one').announce(id)
  await h.pass(20_000)
  expect([vendor().workers.size, launches(), state(waits)]).toEqual([0, 1, 'queued'])
  await h.pass(11_000)
  expect(launches()).toBe(2)
})
