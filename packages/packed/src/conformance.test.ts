import { expect, test } from 'vitest'
import { conformanceOf, reportFile, testedTree } from './conformance.ts'
import { sha512Of, treeOf } from './digest.ts'

const named = { name: '@acme/plugin', version: '1.0.0' }
const bare = new Map([
  ['package.json', Buffer.from('{}')],
  ['dist/plugin.js', Buffer.from('export {}')],
])
const report = {
  schema: 1,
  result: 'pass',
  artifact: { package: '@acme/plugin', version: '1.0.0', tree: treeOf(bare) },
  suite: { package: '@muster/core', version: '0.1.0', contract: '1.0', tests: 3 },
  startedAt: '2026-01-01T00:00:00.000Z',
  tests: [
    { name: 'one', outcome: 'pass', ms: 1 },
    { name: 'two', outcome: 'not declared', ms: 0 },
  ],
}
const packed = (text: string, more: [string, Buffer][] = []): Map<string, Buffer> =>
  new Map([...bare, ...more, [reportFile, Buffer.from(text)]])
const said = (change: object, more: [string, Buffer][] = []): unknown =>
  conformanceOf(packed(JSON.stringify({ ...report, ...change }), more), named)

test('a report says something of the very files that it lies beside', () => {
  expect(testedTree(packed('x'))).toBe(treeOf(bare))
  expect(conformanceOf(bare, named)).toBeUndefined()
  expect(said({})).toEqual({
    ...{ result: 'pass', passed: 1, failed: 0, notDeclared: 1 },
    ...{ contract: '1.0', suite: '@muster/core@0.1.0', at: report.startedAt },
    report: sha512Of(Buffer.from(JSON.stringify(report))),
  })
})

test('what its tests say outweighs its one word', () => {
  expect(said({ tests: [...report.tests, { name: 'three', outcome: 'fail' }] })).toMatchObject({ result: 'fail', failed: 1 })
  expect(said({ tests: [] })).toMatchObject({ result: 'partial', passed: 0 })
  expect(said({ result: 'partial' })).toMatchObject({ result: 'partial' })
})

test.each<[string, unknown, RegExp]>([
  ['a file more', said({}, [['dist/more.js', Buffer.from('x')]]), /other files than these/],
  ['other bytes', said({}, [['dist/plugin.js', Buffer.from('x')]]), /other files than these/],
  ['another package', said({ artifact: { ...report.artifact, package: 'x' } }), /^it is of x@1\.0\.0$/],
  ['a name that steers a terminal', said({ artifact: { ...report.artifact, version: '\u001b[2J' } }), /plugin@\?\?2J$/],
  ['another form', said({ schema: 2 }), /cannot be read/],
  ['no tests', said({ tests: undefined }), /cannot be read/],
  ['no JSON', conformanceOf(packed('{'), named), /cannot be read/],
  ['more than a report has', conformanceOf(packed(' '.repeat(2 ** 20 + 1)), named), /cannot be read/],
])('with %s it says nothing', (_name, found, wanted) => {
  expect(found).toEqual({ result: 'unfit', reason: expect.stringMatching(wanted) as string })
})
