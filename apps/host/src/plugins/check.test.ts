import { expect, test } from 'vitest'
import type { MusterConfig } from '../config/load.ts'
import { targetsOf } from './check.ts'
import type { Discovery } from './discover.ts'
import { strawTarget } from './testing/straw.ts'

test('a provider whose plugin could not be opened is no target; the others are', () => {
  const { provider, plugin } = strawTarget()
  const config = {
    providers: [{ ...provider, name: 'q', alias: 'gone' }, provider],
    network: undefined,
  } as unknown as MusterConfig
  const discovery: Discovery = { plugins: [plugin], aliases: ['straw', 'gone'], problems: [] }
  expect(targetsOf({ config, discovery }).map((one) => one.provider.name)).toEqual(['p'])
})
