import { expect, test } from 'vitest'
import { whatThereIs } from './context.ts'
import { isLive } from './top.ts'

test.each([
  ['there is no run nosuch', '`muster runs --all` shows those that there are.'],
  ['no live worker nosuch', '`muster workers` shows those that there are.'],
  ['there is no live worker nosuch', '`muster workers` shows those that there are.'],
  ['there is no lease nosuch', '`muster leases --all` shows those that there are.'],
  ['there is no provider nosuch', '`muster providers` shows those that there are.'],
  ['there is no token nosuch', '`muster tokens` shows those that there are.'],
  ["run r1 names no output 'x'", ''],
])('%s: what shows the others', (message, next) => {
  expect(whatThereIs(message)).toBe(next)
})

test('what is drawn anew needs a terminal that can be drawn on', () => {
  expect([isLive(true, 'xterm'), isLive(true, undefined), isLive(true, 'dumb'), isLive(false, 'xterm')]).toEqual([
    true,
    true,
    false,
    false,
  ])
})
