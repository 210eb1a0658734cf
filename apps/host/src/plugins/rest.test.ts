import { expect, test } from 'vitest'
import { openRest } from './rest.ts'

test('what lasts ends with what ends it, and is no pause that may be cut short', async () => {
  const ended = new AbortController()
  const rest = openRest(() => ended.signal)
  let over = false
  const lasting = rest.lasting().then(() => (over = true))
  rest.over()
  await rest.wake()
  expect(over).toBe(false)
  ended.abort()
  await lasting
  expect(over).toBe(true)
})
