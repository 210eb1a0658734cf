import { expect, test } from 'vitest'
import { tellingLine } from './telling.ts'

test.each<[string, string[], string | undefined]>([
  ['nothing where nothing was said', [], undefined],
  ['nothing where only a crash was shown', ['    at run (x.js:1)', '', '  ^', '{', '}', 'Node.js v26.0.0'], undefined],
  ['the last line', ['one', 'two'], 'two'],
  ['the last that speaks of an error', ['TypeError: a', 'an error: b', 'two'], 'an error: b'],
  ['the error above its stack', ['throw x', 'Error: no luck', '    at run (x.js:1)', 'Node.js v26.0.0'], 'Error: no luck'],
  ['no line that begins with a brace', ['{"level":"error","msg":"no luck"}'], undefined],
])('of what a plugin wrote it tells %s', (_, tail, told) => {
  expect(tellingLine(tail)).toBe(told)
})
