/** `keepFailed` of a pool: read with its unit and its bounds, and refused where nothing could be kept. */
import type { WorkerCapabilities } from '@muster/core'
import { expect, test } from 'vitest'
import { plainCapabilities, plainManifest } from '../plugins/testing/manifest.ts'
import { crossCheck } from './check.ts'
import { parseConfig } from './load.ts'

const exec: NonNullable<WorkerCapabilities['exec']> = { reattach: true, stdin: true, tty: false, exitCode: true }

function problemsOf(pool: string, capabilities: Partial<WorkerCapabilities> = { work: ['command', 'hold'], exec }): string[] {
  const text = `providers:\n  p: { plugin: x }\npools:\n  ci: { placement: [p], ${pool} }\n`
  const loaded = parseConfig('/x/muster.yaml', text, 'muster.yaml')
  const manifest = plainManifest('x', { capabilities: { ...plainCapabilities, ...capabilities } })
  return [...loaded.problems, ...crossCheck(loaded, new Map([['x', manifest]]), { strictly: true })].map(
    ({ line, reason, fix }) => `${line}: ${reason} | ${fix}`,
  )
}

test('it is a duration, and absent it is none', () => {
  const pool = (text: string): number | undefined =>
    parseConfig('/x/muster.yaml', `providers: {}\npools:\n  ci: { placement: [p]${text} }\n`).config?.pools[0]?.keepFailedMs
  expect([pool(', keepFailed: 15m'), pool(', keepFailed: 0s'), pool('')]).toEqual([900_000, 0, undefined])
  expect(problemsOf('keepFailed: 15m')).toEqual([])
})

test.each([
  ['keepFailed: 15', /a duration is text with a unit/],
  ['keepFailed: 25h', /it is at most 24h/],
  ['keepFaild: 15m', /did you mean 'keepFailed'/],
  ['keepFailed: 2h, worker: { lifetime: 1h }', /longer than its lifetime.*\| shorten keepFailed or lengthen worker.lifetime/],
  ['keepFailed: 15m, worker: { work: command }', /nothing can be kept where work is command \| remove keepFailed/],
])('%s is refused', (pool, wanted) => {
  expect(problemsOf(pool)).toEqual([expect.stringMatching(wanted)])
})

test.each([
  [{ work: ['command'] as const }, '4: a worker can be kept for a look where it holds and has exec'],
  [{ work: ['command', 'hold'] as const }, "'p' has not both"],
])('a provider with %j has nothing to keep, and nobody minds where it is not asked for', ({ work }, wanted) => {
  expect(problemsOf('keepFailed: 15m', { work: [...work] })).toEqual([expect.stringContaining(wanted)])
  expect(problemsOf('keepFailed: 0s', { work: [...work] })).toEqual([])
})
