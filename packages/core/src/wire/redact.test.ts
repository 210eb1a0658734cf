import { expect, test } from 'vitest'
import { createRedactor } from './redact.ts'

test('a secret is taken out in each spelling; a word too short to be one stays', () => {
  const redactor = createRedactor()
  redactor.add('short')
  redactor.add('pass"word/ä')
  expect(redactor.clean('a short text')).toBe('a short text')
  for (const spelling of [
    'pass"word/ä',
    'pass\\"word/ä',
    encodeURIComponent('pass"word/ä'),
    Buffer.from('pass"word/ä').toString('base64'),
    Buffer.from('pass"word/ä').toString('base64url'),
  ])
    expect(redactor.clean(`<${spelling}>`).replace(/=+>/, '>')).toBe('<[secret]>')
})

test('the shortest that is one has six characters; of a secret in another one nothing is left', () => {
  const redactor = createRedactor()
  redactor.add('sixsix')
  // In JSON it is longer than by itself, and holds it.
  redactor.add('\\\\\\\\\\\\')
  expect(redactor.clean('sixsix five5')).toBe('[secret] five5')
  expect(redactor.clean(JSON.stringify('\\\\\\\\\\\\'))).toBe('"[secret]"')
})

test('the oldest is forgotten first, and one that comes again is new', () => {
  const redactor = createRedactor()
  const name = (n: number): string => `secret-${String(n).padStart(4, '0')}`
  for (let n = 0; n < 512; n++) redactor.add(name(n))
  expect(redactor.clean(name(0))).toBe('[secret]')
  redactor.add(name(0))
  redactor.add(name(512))
  expect([0, 1, 2, 512].map((n) => redactor.clean(name(n)))).toEqual(['[secret]', name(1), '[secret]', '[secret]'])
})

test('secrets are found wherever they stand in a value', () => {
  const redactor = createRedactor()
  redactor.addFrom({
    list: [{ $secret: 'in-a-list' }],
    deep: { er: { $secret: 'deep-down' } },
    none: null,
    bytes: Buffer.from('x'),
  })
  expect(redactor.clean('in-a-list deep-down')).toBe('[secret] [secret]')
})
