import { expect, test } from 'vitest'
import { withoutEcho } from './terminal-echo.ts'

test.each([
  { shown: ['\r\n'], rest: '' },
  { shown: ['\r', '\nhi\r\n'], rest: 'hi\r\n' },
  { shown: ['\r\n', '\r\nhi'], rest: '\r\nhi' },
  { shown: ['\r\n\r\n'], rest: '\r\n' },
  { shown: ['hi', '\r\n'], rest: 'hi\r\n' },
  { shown: ['\rhi'], rest: '\rhi' },
  { shown: ['\r'], rest: '\r' },
  { shown: [], rest: '' },
])('of $shown there is $rest', async ({ shown, rest }) => {
  async function* given(): AsyncGenerator<Buffer> {
    for (const text of shown) yield Buffer.from(text)
  }
  expect(Buffer.concat(await Array.fromAsync(withoutEcho(given()))).toString()).toBe(rest)
})
