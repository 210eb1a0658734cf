import { expect, test } from 'vitest'
import { editsOf } from './generate.mjs'

function changes(source: string): string[] {
  return editsOf(source).map(({ start, end, instead }) => `${source.slice(start, end)} => ${instead}`)
}

test.each<[string, string[]]>([
  ['a < b', ['< => <=', '< => >=']],
  ['a /* < */ === (b)', ['=== => !==']],
  ['(a) >= b', ['>= => >', '>= => <']],
  ['a && b || c', ['&& => ||', '|| => &&']],
  ['a ?? b', ['?? => &&']],
  ['a + 1 - 2', ['+ => -', '- => +']],
  ["a + 'text'", []],
  ['a += 1', ['+= => -=']],
  ['a++', ['a++ => a--']],
  ['--a', ['--a => ++a']],
  ['!a', ['!a => a']],
  ['x(-a)', ['-a => +a']],
  ['x = true', ['true => false']],
  ['a ? 1 : 2', ['a => false', 'a => true']],
  ['while (a) b()', ['a => false']],
  ['for (let i = 0; i < 3; i++);', ['i < 3 => false', '< => <=', '< => >=', 'i++ => i--']],
  ['[a]; []', ['[a] => []']],
  ['x({ a })', ['{ a } => {}']],
  ['x(() => a)', ['() => a => () => undefined']],
  ['a?.b', ['?. => .']],
  ['a?.[0]', ['?. => ']],
  ['Math.min(a, 1)', ['min => max']],
  ["a.trim().startsWith('x')", ['a.trim() => a', 'startsWith => endsWith']],
  ['function f() { g() }', ['{ g() } => {}']],
  // What a compiler takes away is no behaviour.
  ['type A = { b?: true }; interface C { d: [1] }', []],
  ['const a = b as { c: true }', []],
  ['const a: Map<string, true> = new Map<string, [1]>()', []],
  ["import { a } from './a.ts'", []],
])('%s', (source, expected) => {
  expect(changes(source).sort()).toEqual(expected.sort())
})

test('places are those of the text, whatever stands before them', () => {
  expect(changes("const ö = '…𝄞' // …\nif (ö === 'ü') go()")).toEqual(["ö === 'ü' => false", "ö === 'ü' => true", '=== => !=='])
})
