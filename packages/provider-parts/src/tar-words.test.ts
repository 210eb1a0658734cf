import { expect, test } from 'vitest'
import { tarWords } from './tar-words.ts'

const changed = 'tar: a: file changed as we read it\n'
const removed = 'tar: many/7: File removed before we read it\n'
const filledUp = 'tar: a: File shrank by 99000 bytes; padding with zeros\n'

test.each([
  { what: 'nothing', text: '', code: 0, whole: true },
  { what: 'an error without a word', text: '', code: 1, whole: false },
  { what: 'a file that changed', text: changed, code: 1, whole: true },
  { what: 'files that are gone', text: removed.repeat(3), code: 1, whole: true },
  { what: 'a line without its end', text: changed.trim(), code: 1, whole: true },
  { what: 'a file that was filled up with zeros', text: `${changed}${filledUp}${changed}`, code: 1, whole: false },
  {
    what: 'a file that a tar without such words may not read',
    text: "tar: can't open 'a': Permission denied\n",
    code: 1,
    whole: false,
  },
  { what: 'an error after a change', text: `${changed}tar: b: Cannot open: Permission denied\n`, code: 2, whole: false },
  { what: 'the end of a signal', text: changed, code: null, whole: false },
])('$what', ({ text, code, whole }) => {
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
