import { describe, expect, it } from 'vitest'
import type { Published } from './origin.ts'
import { chooseVersion, type Rule } from './resolve.ts'

const now = Date.parse('2026-01-10T00:00:00Z')
const hours = (ago: number): string => new Date(now - ago * 3_600_000).toISOString()
const rule = (over: Partial<Rule['policy']> = {}, aged = true): Rule => ({
  policy: { minReleaseAgeMs: 24 * 3_600_000, exempt: [], ...over },
  now,
  aged,
})
const wanted = (range: string): { alias: string; package: string; range: string } => ({ alias: 'a', package: '@acme/p', range })
const at = (version: string, ago: number | null = 100, more: Partial<Published> = {}): Published => ({
  version,
  ...(ago === null ? {} : { published: hours(ago) }),
  ...more,
})

describe('the version of a range', () => {
  it.each<[string, { range: string; found: Published[]; version: string; by?: Rule }]>([
    ['is the highest', { range: '^1.0.0', found: [at('1.0.0'), at('1.10.0'), at('1.9.0'), at('2.0.0')], version: '1.10.0' }],
    ['is no pre-release that nobody asked for', { range: '^1.0.0', found: [at('1.0.0'), at('1.1.0-rc.1')], version: '1.0.0' }],
    [
      'is a pre-release that somebody asked for',
      { range: '1.1.0-rc.1', found: [at('1.0.0'), at('1.1.0-rc.1')], version: '1.1.0-rc.1' },
    ],
    ['is old enough', { range: '^1.0.0', found: [at('1.0.0'), at('1.1.0', 23)], version: '1.0.0' }],
    ['counts from its day on', { range: '^1.0.0', found: [at('1.0.0'), at('1.1.0', 24)], version: '1.1.0' }],
    [
      'may be of any age where the package is exempt',
      { range: '^1.0.0', found: [at('1.0.0'), at('1.1.0', 0)], version: '1.1.0', by: rule({ exempt: ['@acme/p'] }) },
    ],
    [
      'or its scope',
      { range: '^1.0.0', found: [at('1.0.0'), at('1.1.0', 0)], version: '1.1.0', by: rule({ exempt: ['@acme/*'] }) },
    ],
    [
      'or where no age is asked for',
      { range: '^1.0.0', found: [at('1.1.0', 0)], version: '1.1.0', by: rule({ minReleaseAgeMs: 0 }) },
    ],
    ['or where the source knows none', { range: '^1.0.0', found: [{ version: '1.1.0' }], version: '1.1.0', by: rule({}, false) }],
    [
      'is none that is deprecated',
      { range: '^1.0.0', found: [at('1.0.0'), at('1.1.0', 100, { deprecated: 'broken' })], version: '1.0.0' },
    ],
    [
      'but for want of another',
      { range: '^1.1.0', found: [at('1.0.0'), at('1.1.0', 100, { deprecated: 'broken' })], version: '1.1.0' },
    ],
  ])('%s', (_name, { range, found, version, by = rule() }) => {
    expect(chooseVersion(wanted(range), found, by).version).toBe(version)
  })

  it.each<[string, { range: string; found: Published[]; refusal: object }]>([
    [
      'nobody knows when the newest was published: the other that counts soonest is named',
      {
        range: '^1.0.0',
        found: [{ version: '1.2.0', published: 'some day' }, at('1.1.0', 1), at('1.0.0', 2)],
        refusal: { code: 'too-new', message: expect.stringContaining('@acme/p@1.0.0 was published') as string },
      },
    ],
    [
      'there is none: the nearest is named',
      {
        range: '^3.0.0',
        found: [at('1.0.0'), at('4.0.0'), at('5.0.0')],
        refusal: {
          code: 'no-version',
          message: 'no version of @acme/p is in ^3.0.0; there are: 5.0.0, 4.0.0, 1.0.0',
          fix: 'run: muster plugins add @acme/p@^4.0.0 --as a',
        },
      },
    ],
    [
      'all are too new: it is said from when on',
      {
        range: '^1.0.0',
        found: [at('1.0.0', 20), at('1.1.0', 1)],
        refusal: {
          code: 'too-new',
          message: '@acme/p@1.0.0 was published 2026-01-09T04:00:00.000Z, and counts from 2026-01-10T04:00:00.000Z on',
          fix: 'run: muster plugins add @acme/p@1.0.0 --as a, once that is; or add "@acme/p" to policy.exempt in the registry manifest',
        },
      },
    ],
    [
      'two are as new as each other: the higher is told',
      {
        range: '^1.0.0',
        found: [at('1.0.0', 20), at('1.1.0', 20)],
        refusal: { message: expect.stringMatching(/^@acme\/p@1\.1\.0 was/) },
      },
    ],
    [
      'nobody knows their age',
      {
        range: '^1.0.0',
        found: [at('1.0.0', null)],
        refusal: { code: 'no-release-time', message: 'the source does not say when @acme/p@1.0.0 was published' },
      },
    ],
    [
      'what counts already is before it: the nearest of that is named',
      {
        range: '^2.0.0',
        found: [at('2.0.0', null), at('1.0.0', 48), at('1.1.0', 48), { ...at('1.2.0', 48), deprecated: 'no' }, at('3.0.0', 48)],
        refusal: { code: 'no-release-time', fix: expect.stringMatching(/^run: muster plugins add @acme\/p@1\.1\.0 --as a; or /) },
      },
    ],
    [
      'nothing is before it: the nearest after it is named',
      {
        range: '^2.0.0',
        found: [at('2.0.0', 1), at('3.1.0', 48), at('3.0.0', 48)],
        refusal: { code: 'too-new', fix: expect.stringMatching(/^run: muster plugins add @acme\/p@3\.0\.0 --as a; or /) },
      },
    ],
    [
      'there are more than help: some of them are told',
      {
        range: '^9.0.0',
        found: ['1', '2', '3', '4', '5', '6', '7'].map((major) => at(`${major}.0.0`)),
        refusal: {
          code: 'no-version',
          message: 'no version of @acme/p is in ^9.0.0; there are: 7.0.0, 6.0.0, 5.0.0, 4.0.0, 3.0.0 and 2 more',
          fix: 'run: muster plugins add @acme/p@^7.0.0 --as a',
        },
      },
    ],
    [
      'there are just as many as help: all are told',
      {
        range: '^9.0.0',
        found: ['1', '2', '3', '4', '5'].map((major) => at(`${major}.0.0`)),
        refusal: { message: 'no version of @acme/p is in ^9.0.0; there are: 5.0.0, 4.0.0, 3.0.0, 2.0.0, 1.0.0' },
      },
    ],
    [
      'there are pre-releases alone',
      {
        range: '*',
        found: [at('2.0.0-rc.1'), at('1.0.0-rc.1')],
        refusal: { fix: 'run: muster plugins add @acme/p@^2.0.0-rc.1 --as a' },
      },
    ],
    [
      'there is none at all',
      { range: '*', found: [], refusal: { code: 'no-version', message: '@acme/p has no version at all' } },
    ],
  ])('is refused where %s', (_name, { range, found, refusal }) => {
    let thrown: unknown
    try {
      chooseVersion(wanted(range), found, rule())
    } catch (error) {
      thrown = error
    }
    expect(thrown).toMatchObject(refusal)
  })

  it('what is no exact version as a lock has them is none', () => {
    const found = [at('v9.0.0'), at('=8.0.0'), at(' 7.0.0'), at('6.0.0+build'), at('1.0.0')]
    expect(chooseVersion(wanted('*'), found, rule()).version).toBe('1.0.0')
    expect(() => chooseVersion(wanted('v9.0.0'), found, rule())).toThrow('no version of @acme/p is in v9.0.0; there are: 1.0.0')
  })

  it('a name that only begins like an exempt one is not exempt', () => {
    const found = [at('1.0.0', 1)]
    expect(() => chooseVersion(wanted('*'), found, rule({ exempt: ['@acme/*x', '@acm/*', '@acme/plugin', '@acme'] }))).toThrow(
      /counts from/,
    )
  })
})
