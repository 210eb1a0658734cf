import { expect, test } from 'vitest'
import { tellingLine } from './telling.ts'

test.each<[string, string[], string | undefined]>([
  ['nothing where nothing was said', [], undefined],
  ['nothing where only a crash was shown', ['    at run (x.js:1)', '', '  ^', '{', '}', 'Node.js v26.0.0'], undefined],
  ['the last line', ['one', 'two'], 'two'],
  ['the last that speaks of an error', ['TypeError: a', 'an error: b', 'two'], 'an error: b'],
  ['the error above its stack', ['throw x', 'Error: no luck', '    at run (x.js:1)', 'Node.js v26.0.0'], 'Error: no luck'],
  ['the message of a line of its log', ['{"level":"error","message":"no luck"}'], 'no luck'],
  ['it under its other name', ['{"level":"error","msg":"no luck"}'], 'no luck'],
  ['the message before the other', ['{"message":"a","msg":"b"}'], 'a'],
  ['the line where its log says none', ['["error"]'], '["error"]'],
])('of what a plugin wrote it tells %s', (_, tail, told) => {
  expect(tellingLine(tail)).toBe(told)
})
