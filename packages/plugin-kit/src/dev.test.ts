import { expect, test } from 'vitest'
import { bannerOf, devNameOf, durationOf } from './dev.ts'

test('a duration is one that a daemon takes', () => {
  const all = ['1s', '30m', '24h', '0s', '25h', '4', 'h', '1.5h', '4 h', '-1h', '99999h']
  expect(all.map(durationOf)).toEqual([1000, 1_800_000, 86_400_000, ...Array<undefined>(8)])
})

test.each([
  ['@acme/muster-plugin-cloud', 'dev-cloud'],
  ['plugin-cloud', 'dev-cloud'],
  ['muster-cloud', 'dev-muster-cloud'],
  ['@acme/c.l~oud_', 'dev-c-l-oud-'],
  [`muster-plugin-${'x'.repeat(50)}`, `dev-${'x'.repeat(36)}`],
])('%s is %s', (name, wanted) => {
  expect(devNameOf(name)).toBe(wanted)
})

test('the banner says what it is, until when, and how it ends', () => {
  const until = new Date('2026-01-01T00:00:00Z')
  const lines = bannerOf({ package: '@acme/x', version: '1.0.0', name: 'dev-x', folder: '/srv/x', until }).split('\n')
  expect(lines.at(0)).toMatch(/^=+$/)
  expect(lines.at(-1)).toBe(lines[0])
  expect(lines.join('\n')).toMatch(
    /DEVELOPMENT {2}@acme\/x@1\.0\.0 from \/srv\/x\n.*dev-x until 2026-01-01T00:00:00\.000Z[^]*Nobody checks[^]*--pool dev-x -- COMMAND/,
  )
})
