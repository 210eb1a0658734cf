import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { cache, root } from './paths.mjs'
import { hashOf, quietly, step, StepError } from './step.mjs'

const name = `test-${process.pid}`
const folder = join(cache, name)

beforeEach(() => mkdirSync(join(folder, 'src'), { recursive: true }))
afterEach(() => {
  rmSync(folder, { recursive: true, force: true })
  rmSync(join(cache, 'stamps', name), { force: true })
})

describe('a step', () => {
  test('runs once for the same key, and again for another or when its result is gone', async () => {
    const runs: string[] = []
    let there = true
    const attempt = (key: string): Promise<void> =>
      step('a test step', { key, stamp: name, done: () => there, run: () => void runs.push(key) })
    await attempt('one')
    await attempt('one')
    await attempt('two')
    there = false
    await attempt('two')
    expect(runs).toEqual(['one', 'two', 'two'])
  })

  test('that failed is not done', async () => {
    const failing = step('a test step', { key: 'k', stamp: name, run: () => Promise.reject(new StepError('broken', 'mend it')) })
    await expect(failing).rejects.toMatchObject({ message: 'broken', fix: 'mend it' })
    let ran = false
    await step('a test step', { key: 'k', stamp: name, run: () => void (ran = true) })
    expect(ran).toBe(true)
  })
})

describe('a quiet command', () => {
  test('that fails tells its output, its exit code and the fix', async () => {
    const run = quietly('sh', ['-c', 'echo to-out; echo to-err >&2; exit 3'], {
      fix: (output) => `seen: ${output.includes('to-err')}`,
    })
    await expect(run).rejects.toMatchObject({
      message: expect.stringContaining('ended with 3'),
      output: expect.stringMatching(/to-out[^]*to-err|to-err[^]*to-out/),
      fix: 'seen: true',
    })
  })

  test('that does not exist is an error of the step', async () => {
    await expect(quietly('no-such-command-anywhere', [])).rejects.toThrow(/cannot be started/)
  })
})

describe('the hash of files', () => {
  const path = folder.slice(root.length + 1)

  test('changes with a content, a name and an absence, and with nothing else', () => {
    const seen = new Set<string>()
    const look = (): number => seen.add(hashOf([path, `${path}/absent`])).size
    expect(look()).toBe(1)
    writeFileSync(join(folder, 'src/a.ts'), 'a')
    expect(look()).toBe(2)
    writeFileSync(join(folder, 'src/a.ts'), 'b')
    expect(look()).toBe(3)
    writeFileSync(join(folder, 'src/b.ts'), '')
    expect(look()).toBe(4)
    writeFileSync(join(folder, 'src/a.ts'), 'b')
    mkdirSync(join(folder, 'node_modules'))
    writeFileSync(join(folder, 'node_modules/x'), 'x')
    expect(look()).toBe(4)
  })

  test('leaves out what is not wanted', () => {
    writeFileSync(join(folder, 'src/a.ts'), 'a')
    const before = hashOf([path], (file) => !file.endsWith('.test.ts'))
    writeFileSync(join(folder, 'src/a.test.ts'), 'a')
    expect(hashOf([path], (file) => !file.endsWith('.test.ts'))).toBe(before)
  })
})
