import { inspect } from 'node:util'
import { expect, test } from 'vitest'
import { cleanSpans, createRedactor, givenIn } from './redactor.ts'

const secret = 'pä ss/wörd+"1"\\9'

test.each([
  ['as it is', secret],
  ['in base64', Buffer.from(secret).toString('base64')],
  ['in base64 of URLs', Buffer.from(secret).toString('base64url')],
  ['in hex', Buffer.from(secret).toString('hex')],
  ['in a URL', encodeURIComponent(secret)],
  ['in JSON', JSON.stringify({ secret })],
  ['in JSON in JSON', JSON.stringify(JSON.stringify({ secret }))],
  ['as Node shows it', inspect({ secret })],
  ['in JSON as Node shows it', JSON.stringify(inspect({ secret }))],
])('a secret is taken out %s', (_how, text) => {
  const redactor = createRedactor()
  expect(redactor.clean(`a ${text} b`)).toContain(text)
  redactor.learn(secret)
  const clean = redactor.clean(`a ${text} b ${text}`)
  expect(clean).not.toContain(text.replace(/=+$/, ''))
  expect(clean.split('[secret]')).toHaveLength(3)
})

test('of many lines each is known, also as Node shows them one by one', () => {
  const redactor = createRedactor()
  const lines = Array.from({ length: 9 }, (_, n) => `line ${n} with ${secret}`)
  redactor.learn(lines.join('\n'))
  for (const text of [inspect(lines.join('\n')), inspect({ of: `${lines.join('\n')}\n` }), lines.join('\n  ')])
    expect(redactor.clean(text)).not.toMatch(/line|wörd/)
})

test('a value of three letters cuts no holes into words', () => {
  const redactor = createRedactor()
  redactor.learn('the')
  expect(redactor.clean('other')).toBe('other')
})

test('of values in each other nothing is left, in whatever order they were learnt', () => {
  for (const order of [
    ['hunter', 'hunter22-long', '22-longer'],
    ['22-longer', 'hunter22-long', 'hunter'],
  ]) {
    const redactor = createRedactor()
    for (const value of order) redactor.learn(value)
    expect(redactor.clean('a hunter22-longer, hunter22-long, hunter')).toBe('a [secret], [secret], [secret]')
  }
})

test('the beginning of a long value is known as well: whoever prints it may cut it', () => {
  const redactor = createRedactor()
  const long = Array.from({ length: 50 }, (_, n) => `part ${n}`).join(' ')
  redactor.learnGiven([long])
  expect(redactor.clean(`'${long.slice(0, 150)}'... 200 more characters`)).toBe("'[secret]'... 200 more characters")
})

test('what runs are given is known while there is room, and takes none from the provider’s own', () => {
  const redactor = createRedactor()
  const given = (n: number): string => `given-value-${n};`
  redactor.learn('own-secret')
  redactor.learnGiven(['short', given(0), given(1)])
  expect(redactor.clean(`short own-secret ${given(0)}`)).toBe('short [secret] [secret]')
  for (let n = 2; n <= 4096; n += 1) redactor.learnGiven([given(1), given(n)])
  expect(redactor.clean(`own-secret ${given(0)} ${given(1)} ${given(4096)}`)).toBe(`[secret] ${given(0)} [secret] [secret]`)
  redactor.learnGiven(['x', 'w', 'y', 'z'].map((letter) => letter.repeat(1024 * 1024)))
  expect(redactor.clean(`${given(4096)} ${'x'.repeat(99)} ${'z'.repeat(99)}`)).toBe(`${given(4096)} ${'x'.repeat(99)} [secret]`)
})

test('the newest 512 secrets of a provider are known; one that is used again is new again', () => {
  const redactor = createRedactor()
  const token = (n: number): string => `token-${n};`
  for (let n = 0; n <= 512; n += 1) for (const value of [token(0), token(n)]) redactor.learn(value)
  expect(redactor.clean([0, 1, 2, 512].map(token).join(' '))).toBe(`[secret] ${token(1)} [secret] [secret]`)
})

test('what a spec gives is each value of env, each file as it is and as it travels, and the ticket', () => {
  const base64 = Buffer.from('a file').toString('base64')
  expect(
    givenIn({
      env: { A: 'a' },
      services: [
        { name: 's', image: 'i', env: { B: 'b' } },
        { name: 't', image: 'i' },
      ],
      files: [{ path: 'f', base64 }],
      work: { mode: 'agent', ticket: { $secret: 'ticket' }, url: 'http://x' },
    }),
  ).toEqual(['a', 'b', base64, 'a file', 'ticket'])
  expect(givenIn({ work: { mode: 'hold' } })).toEqual([])
})

test('half a character is no reason to fail', () => {
  const redactor = createRedactor()
  redactor.learnGiven(['\ud800 half of a pair'])
  expect(redactor.clean('it is \ud800 half of a pair')).toBe('it is [secret]')
})

test('the spans of a call are clean in name, failure and facts, and have no more than they had', () => {
  const redactor = createRedactor()
  redactor.learn(secret)
  const bare = { trace: 't', span: 's', parent: 'p', kind: 'client', start: 1, end: 2 } as const
  const given = {
    dropped: 3,
    spans: [
      { ...bare, name: `a ${secret}`, failed: `b ${secret}`, facts: { [secret]: secret, n: 1 } },
      { ...bare, name: 'c' },
    ],
  }
  expect(cleanSpans(given as never, redactor)).toEqual({
    dropped: 3,
    spans: [
      { ...bare, name: 'a [secret]', failed: 'b [secret]', facts: { '[secret]': '[secret]', n: 1 } },
      { ...bare, name: 'c' },
    ],
  })
})

test('the shortest value that is taken out is taken out wherever it stands', () => {
  const redactor = createRedactor()
  redactor.learn('abcd')
  expect(redactor.clean('abcd, xabcdy, abcd')).toBe('[secret], x[secret]y, [secret]')
})

test('so many are known at once, and with one more the one goes that was not given for longest', () => {
  const redactor = createRedactor()
  const value = (n: number): string => `value-${n};`
  for (let n = 0; n < 512; n++) redactor.learn(value(n))
  expect(redactor.clean(value(0))).toBe('[secret]')
  redactor.learn(value(0))
  redactor.learn(value(512))
  expect([0, 1, 2, 512].map((n) => redactor.clean(value(n)))).toEqual(['[secret]', value(1), '[secret]', '[secret]'])
})
