import { expect, it } from 'vitest'
import { negotiate } from './contract.ts'

it.each([
  [['1.0'], ['1.0'], '1.0'],
  [['1.2'], ['1.5'], '1.2'],
  [['1.5', '2.1'], ['1.9', '2.0'], '2.0'],
  [['2.0'], ['1.9'], undefined],
  [['1.0', '1.3'], ['1.2'], '1.2'],
  [['1.0'], [], undefined],
])('host %j and plugin %j speak %j', (host, plugin, wanted) => {
  expect(negotiate(host, plugin)).toBe(wanted)
})
