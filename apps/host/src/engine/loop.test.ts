/** Lists that fail: whose fault is told. */
import { ProviderError } from '@muster/core'
import { expect, test } from 'vitest'
import { openHarness, poolConfig } from './testing/harness.ts'

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
