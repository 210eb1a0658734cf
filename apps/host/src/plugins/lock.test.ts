/** The lock as a file: read, checked, written only over what was read. */
import { readdir, readFile, stat, writeFile, chmod } from 'node:fs/promises'
import { join } from 'node:path'
import { tempFolder, type TempFolder } from '@muster/test/systems/temp'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { hexOf } from './content.ts'
import {
  candidateFileOf,
  type Lock,
  loadLock,
  lockedFolders,
  lockFileOf,
  type LockedPlugin,
  lockText,
  replaceFile,
} from './lock.ts'

let folder: TempFolder
let file: string
beforeEach(async () => {
  folder = await tempFolder('lock')
  file = join(folder.path, 'plugins.lock.json')
})
afterEach(() => folder.remove())

const sha512 = (letter: string): string => `sha512-${Buffer.alloc(64, letter).toString('base64')}`
const version = {
  ...{ version: '1.0.0', sha512: sha512('a'), size: 10, tree: sha512('b') },
  waiver: { by: 'ann', at: '2026-01-01T00:00:00.000Z', reason: 'a test' },
  permissions: { net: [], unix: [], fsRead: [], fsWrite: [], env: [], childProcess: false },
}
const plugin = (more: object = {}): LockedPlugin => ({ package: '@a/p', source: { registry: 'default' }, ...version, ...more })
const lockOf = (plugins: Record<string, LockedPlugin>): Lock => ({ plugins })

test('its name and that of the candidate come from the registry manifest’s', () => {
  expect([lockFileOf('/x/plugins.json'), candidateFileOf('/x/plugins.json', 'a')]).toEqual([
    '/x/plugins.lock.json',
    '/x/plugins.next-a.json',
  ])
  expect(lockFileOf('/x.json/plugins')).toBe('/x.json/plugins.lock.json')
})

test('what is written is read again, in the order of the names and whatever their order was', async () => {
  const sources = [{ registry: 'r' }, { mirror: '/m' }, { tarball: '/t.tgz' }]
  const [one, two, three] = sources.map((source) => plugin({ source }))
  const lock = lockOf({ b: one, a: two, c: three } as Record<string, LockedPlugin>)
  expect(lockText(lock)).toBe(lockText(lockOf({ c: three, a: two, b: one } as Record<string, LockedPlugin>)))
  expect(Object.keys((JSON.parse(lockText(lock)) as Lock).plugins)).toEqual(['a', 'b', 'c'])
  await writeFile(file, lockText(lock))
  const read = await loadLock(file, 'shown')
  expect([read.problems, read.lock.plugins, read.text]).toEqual([[], lock.plugins, lockText(lock)])
})

test('none is an empty one, and says what makes one', async () => {
  const { lock, problems, problem, text } = await loadLock(file, 'shown')
  expect([lock, problems, text]).toEqual([{ plugins: {} }, [], undefined])
  expect(problem([], { reason: 'x', fix: 'y' })).toMatchObject({ file: 'shown', fix: 'run: muster plugins lock' })
})

test.each([
  ['both a signer and a waiver', { signer: { issuer: 'i', repository: 'r', workflow: 'w' } }],
  ['neither', { waiver: undefined }],
  ['another digest than SHA-512', { sha512: 'sha256-AAAA' }],
  ['a source of a folder', { source: { folder: '/f' } }],
  ['two sources', { source: { mirror: '/m', tarball: '/t' } }],
  ['an empty source', { source: { mirror: '' } }],
  ['no size', { size: 0 }],
  ['a key that nobody knows', { odd: 1 }],
  ['a previous one that nobody vouches for', { previous: { ...version, waiver: undefined } }],
])('%s is refused', async (_, more) => {
  await writeFile(file, lockText(lockOf({ a: plugin(more) })))
  const { lock, problems } = await loadLock(file, 'shown')
  expect(problems).not.toEqual([])
  expect(lock).toEqual({ plugins: {} })
  await expect(lockedFolders(join(folder.path, 'plugins.json'))).rejects.toThrow('the lock cannot be read')
})

test('its folders are those of what it has, and of what it would go back to', async () => {
  const previous = { ...version, sha512: sha512('c') }
  await writeFile(file, lockText(lockOf({ a: plugin(), b: plugin({ sha512: sha512('d'), previous }) })))
  expect(await lockedFolders(join(folder.path, 'plugins.json'))).toEqual(['a', 'd', 'c'].map((letter) => hexOf(sha512(letter))))
})

test('a file is replaced whole, with its mode, and only over what was read', async () => {
  await replaceFile(file, { before: undefined, after: 'one' })
  expect([await readFile(file, 'utf8'), (await stat(file)).mode & 0o777]).toEqual(['one', 0o644])
  await chmod(file, 0o600)
  await replaceFile(file, { before: 'one', after: 'two' })
  expect([await readFile(file, 'utf8'), (await stat(file)).mode & 0o777]).toEqual(['two', 0o600])
  await expect(replaceFile(file, { before: 'one', after: 'three' })).rejects.toMatchObject({ code: 'changed-meanwhile' })
  const { mtimeMs } = await stat(file)
  await replaceFile(file, { before: 'same', after: 'same' })
  expect([await readFile(file, 'utf8'), (await stat(file)).mtimeMs]).toEqual(['two', mtimeMs])
  expect(await readdir(folder.path)).toEqual(['plugins.lock.json'])
})
