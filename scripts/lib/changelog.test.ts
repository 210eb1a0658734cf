import { readdirSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { intentProblem, withRelease } from './changelog.mjs'

const folder = new URL('../../changes/', import.meta.url)

test('every change that is told has a kind in its name and says it in a few lines', () => {
  const names = readdirSync(folder).filter((name) => name !== 'README.md')
  expect(names.flatMap((name) => intentProblem({ name, text: readFileSync(new URL(name, folder), 'utf8') }) ?? [])).toEqual([])
})

test.each([
  ['new-thing.md', 'Text.'],
  ['added-Thing.md', 'Text.'],
  ['added-thing.md', '  \n'],
  ['fixed-thing.md', '- Text.'],
  ['fixed-thing.md', '# Text'],
  ['fixed-thing.md', 'a\nb\nc\nd\ne\nf'],
])('%s with %j is refused', (name, text) => {
  expect(intentProblem({ name, text })).toContain(name)
})

test('a release stands above the ones before, its changes by kind', () => {
  const before = '# Changelog\n\nWords.\n\n## 0.1.0 (2026-01-01)\n\n### Added\n\n- All.\n'
  const intents = [
    { name: 'fixed-b.md', text: 'B is right.\n' },
    { name: 'added-z.md', text: 'Z.\n' },
    { name: 'added-a.md', text: 'A,\nin two lines.\n' },
  ]
  expect(withRelease(before, { version: '0.2.0', date: '2026-02-01', intents })).toBe(
    '# Changelog\n\nWords.\n\n## 0.2.0 (2026-02-01)\n\n### Added\n\n- A,\n  in two lines.\n- Z.\n\n### Fixed\n\n- B is right.\n\n## 0.1.0 (2026-01-01)\n\n### Added\n\n- All.\n',
  )
})
