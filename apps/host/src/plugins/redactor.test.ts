import { expect, test } from 'vitest'
import { createRedactor } from './redactor.ts'

const secret = 'pä ss/wörd+"1"'

test.each([
  ['as it is', secret],
  ['in base64', Buffer.from(secret).toString('base64')],
  ['in base64 of URLs', Buffer.from(secret).toString('base64url')],
  ['in hex', Buffer.from(secret).toString('hex')],
  ['in a URL', encodeURIComponent(secret)],
  ['in JSON', JSON.stringify({ secret })],
])('a secret is taken out %s', (_how, text) => {
  const redactor = createRedactor()
  expect(redactor.clean(`a ${text} b`)).toContain(text)
  redactor.learn(secret)
  const clean = redactor.clean(`a ${text} b ${text}`)
  expect(clean).not.toContain(text.replace(/=+$/, ''))
  expect(clean.split('[secret]')).toHaveLength(3)
})

test('a value of three letters cuts no holes into words', () => {
  const redactor = createRedactor()
  redactor.learn('the')
  expect(redactor.clean('other')).toBe('other')
})
