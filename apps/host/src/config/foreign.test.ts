/** Schemas of a plugin that would harm whoever reads them: each is a problem of its plugin, and of nobody else. */
import { expect, test, vi } from 'vitest'
import { checkBySchema } from './foreign.ts'
import type { Problem } from './problem.ts'

const at = (_path: readonly PropertyKey[], { reason, fix }: { reason: string; fix: string }): Problem => ({
  ...{ file: 'muster.yaml', line: 1, column: 1 },
  ...{ reason, fix },
})
const found = (schema: Record<string, unknown>, value: unknown = {}): string[] =>
  checkBySchema(['config'], { schema, value, what: 'the plugin', strictly: false }, at).map((one) => one.reason)

test.each<[string, Record<string, unknown>]>([
  ['at its top', { $async: true, type: 'object', required: ['a'] }],
  ['where it refers to', { $ref: '#/$defs/x', $defs: { x: { $async: true, type: 'object', required: ['a'] } } }],
])('one that would answer later, %s, is refused: what it says then would fell the host', async (_where, schema) => {
  const late = vi.fn()
  process.on('unhandledRejection', late)
  try {
    expect(found(schema)).toEqual([expect.stringMatching(/^the plugin is no JSON Schema: .*async/)])
    await new Promise((done) => setImmediate(done))
    expect(late).not.toHaveBeenCalled()
  } finally {
    process.off('unhandledRejection', late)
  }
})

test('one that refers to itself without end is refused', () => {
  expect(found({ $ref: '#' })).toEqual(["the plugin cannot be used: it holds 'config' against itself without end"])
})

test('a pattern that a text makes run for ever is left', () => {
  const schema = { type: 'object', properties: { a: { pattern: '^(a+)+$' } } }
  expect(found(schema, { a: 'aaa' })).toEqual([])
  expect(found(schema, { a: `${'a'.repeat(64)}!` })).toEqual(["the plugin cannot be used: 'config' is not checked within 2 s"])
})
