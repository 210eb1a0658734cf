import type { ConformanceClaim } from '@muster/packed/conformance'
import { expect, test } from 'vitest'
import type { LockedVersion } from '../../plugins/lock.ts'
import { conforming, shownChange } from './change.ts'
import { waiverOf } from './site.ts'

const version: LockedVersion = {
  ...{ version: '1.0.0', sha512: `sha512-${'a'.repeat(86)}==`, size: 1, tree: '' },
  waiver: { by: 'ann', at: '2026-01-01T00:00:00.000Z', reason: 'read it' },
  permissions: { net: [], unix: [], fsRead: [], fsWrite: [], env: [], childProcess: false },
}
const claim: ConformanceClaim = {
  ...{ contract: '1.0', suite: '@muster/core@0.1.0', at: '2026-01-01T00:00:00.000Z' },
  result: 'pass',
  ...{ passed: 41, failed: 0, notDeclared: 27 },
}

test('what a plugin says of itself stays in its line: it looks like nothing else', () => {
  const shown = shownChange({
    ...{ alias: 'cloud', package: 'x', kind: 'added', after: version, compared: true },
    deprecated: 'old\n+ other: @acme/other 1.0.0',
    differences: [{ path: 'permissions.net', kind: 'added', after: 'x\n    signed by https://git.example/acme\u202egnp.\u2028' }],
  })
  expect(shown.split('\n').slice(4)).toEqual([
    '    deprecated: old\\u000a+ other: @acme/other 1.0.0',
    '    + permissions.net x\\u000a    signed by https://git.example/acme\\u202egnp.\\u2028',
  ])
})

test.each<[LockedVersion['conformance'], string]>([
  [undefined, 'unknown, no report is packed with it'],
  [
    { result: 'unfit', reason: 'it is of other files than these' },
    'unknown, the report that is packed with it says nothing: it is of other files than these',
  ],
  [
    claim,
    'its author says pass: 41 passed, 0 failed, 27 not declared, by @muster/core@0.1.0 for contract 1.0 at 2026-01-01T00:00:00.000Z; nobody else has run it',
  ],
  [
    { ...claim, result: 'partial' },
    'its author says nothing of the whole: 41 passed, 0 failed, 27 not declared of some tests only, by @muster/core@0.1.0 for contract 1.0 at 2026-01-01T00:00:00.000Z; nobody else has run it',
  ],
])('what the suite found is told with whose word it is', (conformance, wanted) => {
  const after = { ...version, ...(conformance && { conformance }) }
  expect(conforming(after)).toBe(wanted)
  const shown = shownChange({ alias: 'cloud', package: 'x', kind: 'added', after, differences: [], compared: true })
  expect(shown).toContain(`\n    conformance: ${wanted}`)
})

test('a word for a plugin that says nothing is none: no lock could be read that has it', () => {
  expect(() => waiverOf(' ', 0)).toThrow(expect.objectContaining({ code: 'no-trust' }))
  expect(waiverOf('read it', 0)).toMatchObject({ waiver: { reason: 'read it', at: '1970-01-01T00:00:00.000Z' } })
  expect(waiverOf(undefined, 0)).toEqual({})
})
