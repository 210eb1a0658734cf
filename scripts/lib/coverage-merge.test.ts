import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { tempFolder } from '@muster/test/systems/temp'
import { expect, test } from 'vitest'
import { heldAgainstFloor, mergeCoverage } from './coverage.mjs'

/** Ten lines of one file, of which some were reached. */
function reached(path: string, lines: readonly number[]): object {
  const place = (line: number): object => ({ start: { line, column: 0 }, end: { line, column: 10 } })
  const all = Array.from({ length: 10 }, (_, index) => index + 1)
  return {
    [path]: {
      path,
      statementMap: Object.fromEntries(all.map((line) => [line, place(line)])),
      fnMap: {},
      branchMap: {},
      s: Object.fromEntries(all.map((line) => [line, lines.includes(line) ? 1 : 0])),
      f: {},
      b: {},
    },
  }
}

test('parts from several folders are one, and each package is held against the floor', async () => {
  await using temp = await tempFolder('coverage')
  const part = async (name: string, content: object) => {
    await mkdir(join(temp.path, name))
    const file = join(temp.path, name, 'coverage-final.json')
    await writeFile(file, JSON.stringify(content))
    return file
  }
  const one = await part('one', reached('/there/packages/a/src/x.ts', [1, 2, 3, 4, 5]))
  const two = await part('two', {
    ...reached('/other/packages/a/src/x.ts', [4, 5, 6, 7, 8, 9]),
    ...reached('/other/packages/b/src/y.ts', [1]),
  })
  const parts = [
    { file: one, root: '/there' },
    { file: two, root: '/other' },
  ]
  const map = mergeCoverage(parts, '/here')
  expect(map.files()).toEqual(['/here/packages/a/src/x.ts', '/here/packages/b/src/y.ts'])
  expect(heldAgainstFloor(map, ['/here/packages/a', '/here/packages/b', '/here/packages/empty'])).toEqual([
    { folder: '/here/packages/a', lines: 90, branches: 100, low: false },
    { folder: '/here/packages/b', lines: 10, branches: 100, low: true },
    { folder: '/here/packages/empty', lines: 100, branches: 100, low: true },
  ])
  expect(() => mergeCoverage([{ file: one, root: '/elsewhere' }], '/here')).toThrow('which is not below /elsewhere')
})
