import { stripTypeScriptTypes } from 'node:module'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { runInThisContext } from 'node:vm'
import { expect, test } from 'vitest'
import { root } from '../paths.mjs'
import { editsOf } from './generate.mjs'
import { provedRooms } from './rooms.mjs'
import { installSwitch, switchedSource } from './switched.mjs'

const functions = [
  'const f = (a, b) => a < b',
  'const f = (a, b) => (a > 1 && b > 1) || a === b',
  'const f = (a, b) => { if (a > b) return true\n return [a, -b].map((one) => one + 1) }',
  'const f = (a, b) => { let n = a\n --n\n n += b\n n++\n return n }',
  'const f = (a, b) => { const o = a > 1 ? undefined : { b }\n return o?.b.toFixed(1).trim().startsWith("2") }',
  'const f = (a, b) => { const o = { g: { h() { return this.v }, v: a } }\n return o.g?.h() }',
  // A line that begins with a changed expression, and has no semicolon before it.
  'const f = (a, b) => { let c = [a]\n c.filter((one) => one > b).forEach((one) => c.push(one))\n a++\n return [a, c] }',
  'const f = (a, b) => { const g = (x: number): boolean => !x\n return [g(a) as boolean, Math.min(a, b)!] }',
  'function* g(a) { yield* [a, a] }\nconst f = (a, b) => [...g(a)].slice(b)',
]

function outcome(text: string): string {
  try {
    const made = runInThisContext(`(() => {\n${stripTypeScriptTypes(text)}\nreturn f\n})()`) as (a: number, b: number) => unknown
    const all = [0, 1, 2, 3].flatMap((a) => [0, 2, 5].map((b) => tried(() => made(a, b))))
    return JSON.stringify(all)
  } catch {
    return 'no function'
  }
}

function tried(call: () => unknown): unknown {
  try {
    return call() ?? 'nothing'
  } catch (error) {
    return (error as Error).name
  }
}

test.each(functions)('%s: each choice does what its mutant does', (source) => {
  const edits = editsOf(source)
  const { activate, hits } = installSwitch(edits.length)
  const switched = switchedSource(
    source,
    edits.map((edit, at) => ({ edit, id: at + 1 })),
  )
  expect(outcome(switched)).toBe(outcome(source))
  expect([...hits].slice(1)).toContain(1)
  for (const [at, { start, end, instead }] of edits.entries()) {
    activate(at + 1)
    expect([instead, outcome(switched)]).toEqual([instead, outcome(source.slice(0, start) + instead + source.slice(end))])
    activate(0)
  }
})

test('every source of the rooms is TypeScript with its switches', () => {
  for (const file of provedRooms().flatMap(({ sources }) => sources)) {
    const source = readFileSync(join(root, file), 'utf8')
    // `a ?? b || c` is TypeScript no more with `&&` in it.
    const edits = editsOf(source).filter(({ start, end, instead }) => source.slice(start, end) !== '??' || instead !== '&&')
    const switched = switchedSource(
      source,
      edits.map((edit, at) => ({ edit, id: at + 1 })),
    )
    expect([file, tried(() => stripTypeScriptTypes(switched).length > 0)]).toEqual([file, true])
  }
})
