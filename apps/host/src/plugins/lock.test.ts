/** The lock as a file: read, checked, written only over what was read. */
import { chmod, mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { tempFolder, type TempFolder } from '@muster/test/systems/temp'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { hexOf } from './hex.ts'
import {
  candidateFileOf,
  dropCandidates,
  holdsPrevious,
  type Lock,
  loadLock,
  lockedDigests,
  lockedFolders,
  lockedFor,
  lockFileOf,
  type LockedPlugin,
  lockText,
  replaceFile,
} from './lock.ts'
import type { PluginRefusal } from './refusal.ts'

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

test.each(['../../etc/x', '/etc/x', 'a/b', '@a/../p'])(
  'a package that would be a path (%s) is none: a mirror has a folder for each',
  async (name) => {
    await writeFile(file, lockText(lockOf({ a: plugin({ package: name }) })))
    const { lock, problems } = await loadLock(file, 'shown')
    expect([lock.plugins, problems.map(({ code, reason }) => [code, reason])]).toEqual([
      {},
      [['bad-lock', expect.stringMatching(/'plugins\.a\.package'.*this is no name of an npm package/)]],
    ])
  },
)

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

test('what killed commands have left is dropped, with its lock, and nothing that only looks like it', async () => {
  const at = (name: string): string => join(folder.path, name)
  const left = 'plugins.next-0123456789abcdef'
  const others = [
    'plugins.json',
    'plugins.lock.json',
    'plugins.next-0123456789abcde.json',
    'plugins.next-0123456789ABCDEF.json',
    'plugins.next-0123456789abcdef.json.new-7',
    'plugins.next-a0123456789abcdef.json',
    'other.next-0123456789abcdef.json',
    '0123456789abcdef.json',
  ]
  for (const name of [`${left}.json`, `${left}.lock.json`, ...others]) await writeFile(at(name), '{}')
  await dropCandidates(at('plugins.json'))
  expect((await readdir(folder.path)).sort()).toEqual([...others].sort())
})

test('each plugin of it has a digest of its own, that changes with any of it', async () => {
  const manifest = join(folder.path, 'plugins.json')
  expect(await lockedDigests(manifest)).toEqual(new Map())
  await writeFile(file, lockText(lockOf({ a: plugin(), b: plugin({ package: '@a/q' }) })))
  const before = await lockedDigests(manifest)
  expect([...before.keys()]).toEqual(['a', 'b'])
  expect(before.get('a')).toMatch(/^[0-9a-f]{64}$/)
  await writeFile(file, lockText(lockOf({ a: plugin({ size: 11 }), b: plugin({ package: '@a/q' }) })))
  const after = await lockedDigests(manifest)
  expect(after.get('b')).toBe(before.get('b'))
  expect(after.get('a')).not.toBe(before.get('a'))
})

test('it tells whether it holds just that version to go back to', async () => {
  const manifest = join(folder.path, 'plugins.json')
  const previous = { ...version, version: '0.9.0', tree: sha512('c') }
  await writeFile(file, lockText(lockOf({ a: plugin({ previous }), b: plugin() })))
  const holds = (alias: string, one: string, tree: string): Promise<boolean> =>
    holdsPrevious(manifest, { alias, version: one, tree: sha512(tree) })
  expect(await holds('a', '0.9.0', 'c')).toBe(true)
  expect(await holds('a', '1.0.0', 'c')).toBe(false)
  expect(await holds('a', '0.9.0', 'b')).toBe(false)
  expect(await holds('b', '0.9.0', 'c')).toBe(false)
  expect(await holds('none', '0.9.0', 'c')).toBe(false)
  expect(await holds('toString', '0.9.0', 'c')).toBe(false)
})

test('what an entry has in it, it has for that package, source and range alone', async () => {
  const entry = { alias: 'a', package: '@a/p', version: '^1.0.0', source: { registry: 'default' } }
  const lock = lockOf({ a: plugin() })
  expect(lockedFor(entry, lock)).toEqual(plugin())
  const early = { ...plugin(), version: '1.1.0-rc.1' }
  expect(lockedFor(entry, lockOf({ a: early }))).toEqual(early)
  const refused = (over: object): string => {
    try {
      lockedFor({ ...entry, ...over }, lock)
      return ''
    } catch (error) {
      const { code, message, fix } = error as PluginRefusal
      return `${code}: ${message} | ${fix}`
    }
  }
  const fix = 'run: muster plugins lock'
  expect(refused({ alias: 'toString' })).toBe(`not-locked: the lock has no plugin 'toString' | ${fix}`)
  expect(refused({ package: '@a/q' })).toBe(`lock-stale: the lock of 'a' is for the package @a/p, not @a/q | ${fix}`)
  expect(refused({ source: { mirror: 'm' } })).toBe(`lock-stale: the lock of 'a' is for the registry, not mirror m | ${fix}`)
  expect(refused({ source: { registry: 'x' } })).toBe(`lock-stale: the lock of 'a' is for the registry, not registry x | ${fix}`)
  expect(refused({ version: '^2.0.0' })).toBe(`lock-stale: the lock of 'a' is for version 1.0.0, which is not in ^2.0.0 | ${fix}`)
})

test('a lock that cannot be read is no empty one', async () => {
  await mkdir(file)
  await expect(loadLock(file, 'shown')).rejects.toThrow(/EISDIR/)
})
