import { expect, test } from 'vitest'
import { twiceIn } from './json-names.ts'

test.each([
  ['{"a":1,"a":1}', ['a']],
  ['{"a":{"b":[0,{"c":1},{"d":1,"e":2,"d":3}]}}', ['a', 'b', '2', 'd']],
  ['[[],[{"a":1,"a":2}]]', ['1', '0', 'a']],
  ['{"pool":1,"\\u0070ool":2}', ['pool']],
  ['{"":1,"":2}', ['']],
  ['{"a":{},"a":[]}', ['a']],
  ['{"\\"":1,"\\\\":2,"\\"":3}', ['"']],
  ['{ "a" : "}" , "b" : "\\\\" , "a" : [ ] }', ['a']],
  ['{"x":{"a":1},"x2":{"a":1},"a":1,"b":["a","a",{"a":"a"}],"c":"a","a2":{}}', undefined],
  ['{"a":"\\",\\"a\\":1","b":"{\\"b\\":1"}', undefined],
  ['{}', undefined],
  ['"a"', undefined],
  ['12', undefined],
])('%s', (text, place) => {
  JSON.parse(text)
  expect(twiceIn(text)).toEqual(place)
})

test('however deep it goes, and however many there are', () => {
  const deep = 100_000
  expect(twiceIn(`${'[{"a":'.repeat(deep)}1${'}]'.repeat(deep)}`)).toBe(undefined)
  expect(twiceIn(`${'['.repeat(deep)}{"a":1,"a":2}${']'.repeat(deep)}`)).toHaveLength(deep + 1)
  const wide = Array.from({ length: 50_000 }, (_, n) => `"k${n}":1`).join()
  expect([twiceIn(`{${wide}}`), twiceIn(`{${wide},"k49999":2}`)]).toEqual([undefined, ['k49999']])
})
