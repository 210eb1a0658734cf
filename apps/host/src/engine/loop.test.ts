/** Lists that fail: whose fault is told. */
import { ProviderError } from '@muster/core'
import { expect, test } from 'vitest'
import { openHarness, owner, poolConfig } from './testing/harness.ts'

test('that a process which is only starting cannot answer is no failure of its list', async () => {
  let error: ProviderError | undefined = new ProviderError('transient', 'it is starting')
  const h = await openHarness({
    pools: [poolConfig()],
    providers: [{ name: 'one', fault: (method) => (method === 'list' && error !== undefined ? { error } : undefined) }],
  })
  h.provider().setState('starting')
  await h.pass(200_000)
  expect(h.engine.conditions.list()).toEqual([])
  error = undefined
  h.provider().setState('ready')
  await h.pass(1000)
  expect(h.engine.looked('one')).toEqual({ looked: true })
  await h.close()
})

test('that the store cannot take what a list has shown is no failure of the list', async () => {
  const h = await openHarness({ pools: [poolConfig()], providers: [{ name: 'one' }] })
  const id = `w${'9'.repeat(26)}`
  const tags = { 'muster-owner': owner, 'muster-provider': 'one', 'muster-pool': 'ci', 'muster-worker': id, 'muster-epoch': '1' }
  const spec = { id, tags, work: { mode: 'hold' as const } }
  h.provider().vendor.workers.set(id, { spec, phase: 'running', ready: true, visibleAt: 0 })
  h.ill = 'full'
  await h.pass(300_000)
  expect(h.engine.conditions.list()).toEqual([])
  h.ill = undefined
  await h.pass(60_000)
  expect((await h.engine.orphans('one')).map((one) => one.id)).toEqual([id])
  expect(h.reports).toEqual([])
  await h.close()
})
