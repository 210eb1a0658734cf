/** The runner of mutants with real runs of vitest, on a sample. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { root } from '../paths.mjs'
import { fateOf } from './fate.mjs'
import { editsOf } from './generate.mjs'
import { judgeAll } from './judge.mjs'
import type { Ready } from './list.mjs'
import { reachOf, visitsOf } from './reach.mjs'
import { switchedSource } from './switched.mjs'
import { testRunner } from './vitest.mjs'
import { warmTests } from './warm.mjs'

const sample = 'scripts/lib/mutants/sample'
const tests = [`${sample}/sample.run.ts`]
const runner = testRunner(`${sample}/vitest.config.ts`)

afterAll(() => runner.close())

function planted(name: string, text: string, instead: string): Ready {
  const file = `${sample}/${name}`
  const source = readFileSync(join(root, file), 'utf8').replace(text, instead)
  return { file, text, instead, tests, why: 'a sample', line: 1, source }
}

test('a mutant is in the process of the tests only: one they see is killed, others live, and the file is as it was', async () => {
  const before = readFileSync(join(root, sample, 'sample.ts'), 'utf8')
  const mutants = [
    planted('sample.ts', 'return most', 'return value'),
    planted('sample.ts', 'value + 1', 'value - 1'),
    planted('other.ts', 'reads', 'read'),
  ]
  const lines: string[] = []
  const { judged, red } = await judgeAll(mutants, { run: runner.run, atOnce: 1, tell: (line) => lines.push(line) })
  expect(red).toBeUndefined()
  expect(judged.map((one) => one.verdict)).toEqual(['killed', 'survived', 'never loaded'])
  expect(lines[1]).toContain('by scripts/lib/mutants/sample/sample.run.ts > a value stays between its bounds')
  expect(readFileSync(join(root, sample, 'sample.ts'), 'utf8')).toBe(before)
})

test('a loop that never turns is ended from outside, with all that the tests started', async () => {
  const { file, source } = planted('sample.ts', 'if (value < 0) return 0', 'while (value < 0) continue')
  // Long enough that a busy machine comes to the loop, which then holds until the end of that time.
  const run = await runner.run(tests, { change: { file, source }, timeoutMs: 15_000 })
  expect(run).toMatchObject({ outcome: 'hung', loaded: true })
})

test('in a process that stays each mutant has its own fate, also after one that never turned', async () => {
  const file = `${sample}/sample.ts`
  const source = readFileSync(join(root, file), 'utf8')
  const edits = editsOf(source)
  const at = source.indexOf('value < 0')
  const span = { start: at, end: at + 'value < 0'.length }
  edits.push({ ...span, scope: span, operator: 'condition', instead: '(() => { for (;;); })()' })
  const changes = edits.map((edit, place) => ({ edit, id: place + 1 }))
  const warm = warmTests({
    first: tests[0] ?? '',
    count: edits.length,
    sources: { [file]: switchedSource(source, changes) },
  })
  try {
    const endless = edits.length
    expect(await warm.run({ file: tests[0] ?? '', active: endless, fresh: false }, 5000)).toMatchObject({ outcome: 'hung' })
    const visits = visitsOf(await reachOf(tests, warm))
    const lived: string[] = []
    for (const { edit, id } of changes.slice(0, -1)) {
      const fate = await fateOf(id, visits.get(id) ?? [], { warm, near: [] })
      if (fate === 'survived') lived.push(`${source.slice(edit.start, edit.end)} => ${edit.instead}`)
      else expect(fate).toBe('killed')
    }
    // At a bound both ways give the bound.
    expect(lived).toEqual(['> => >=', '< => <=', '{\n  return value + 1\n} => {}', '+ => -'])
  } finally {
    warm.close()
  }
})
