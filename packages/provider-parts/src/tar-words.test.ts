import { expect, test } from 'vitest'
import { tarWords } from './tar-words.ts'

const changed = 'tar: a: file changed as we read it\n'
const removed = 'tar: many/7: File removed before we read it\n'
const filledUp = 'tar: a: File shrank by 99000 bytes; padding with zeros\n'

test.each([
  ['nothing', '', 0, true],
  ['an error without a word', '', 1, false],
  ['a file that changed', changed, 1, true],
  ['files that are gone', removed.repeat(3), 1, true],
  ['a line without its end', changed.trim(), 1, true],
  ['a file that was filled up with zeros', `${changed}${filledUp}${changed}`, 1, false],
  ['a file that a tar without such words may not read', "tar: can't open 'a': Permission denied\n", 1, false],
  ['an error after a change', `${changed}tar: b: Cannot open: Permission denied\n`, 2, false],
  ['the end of a signal', changed, null, false],
])('%s', (_what, text, code, whole) => {
  // However it is cut.
  for (const size of [1, 7, 10_000]) {
    const words = tarWords()
    for (let at = 0; at < text.length; at += size) words.add(text.slice(at, at + size))
    expect(words.isWhole(code)).toBe(whole)
  }
})

test('what is said is bounded, and no room of it goes to what has changed', () => {
  const words = tarWords()
  for (let n = 0; n < 1000; n++) words.add(changed)
  words.add(filledUp)
  expect(words.said()).toBe(filledUp.trim())
  for (let n = 0; n < 1000; n++) words.add('tar: something else\n')
  words.add('x'.repeat(100_000))
  expect(words.said().length).toBeLessThanOrEqual(2000)
})
