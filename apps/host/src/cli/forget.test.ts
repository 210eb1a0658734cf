import { PassThrough } from 'node:stream'
import { expect, test } from 'vitest'
import { confirmed } from './forget.ts'

test.each([
  ['y\n', true],
  ['YES \n', true],
  ['n\n', false],
  ['\n', false],
  ['yesterday\n', false],
  ['', false],
])('%j is a yes: %s', async (text, yes) => {
  const [input, output] = [new PassThrough(), new PassThrough()]
  input.end(text)
  expect(await confirmed('Forget it? [y/N] ', { input, output })).toBe(yes)
  expect(String(output.read())).toContain('Forget it?')
})
