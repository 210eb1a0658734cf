import { mkdir, mkdtemp, readdir, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { collectContent, drop, heldMs, markContent } from './collect.ts'
import { findContent } from './content.ts'
import { hexOf } from './hex.ts'

const now = Date.parse('2026-06-01T00:00:00Z')
const hour = 3_600_000
const name = (letter: string): string => letter.repeat(128)
let store: string
beforeEach(async () => {
  store = await mkdtemp(join(tmpdir(), 'muster-collect-'))
})
afterEach(() => rm(store, { recursive: true, force: true }))

async function folder(named: string, ageMs: number): Promise<void> {
  await mkdir(join(store, named, 'package'), { recursive: true })
  await writeFile(join(store, named, 'package/plugin.mjs'), 'x')
  const at = new Date(now - ageMs)
  await utimes(join(store, named), at, at)
}
const left = async (): Promise<string[]> => (await readdir(store)).sort()
const collect = (more: Partial<Parameters<typeof collectContent>[0]> = {}): Promise<string[]> =>
  collectContent({ store, needed: [], keepMs: 0, now, ...more })

test('what nobody needs and nobody has used for long goes; what is needed stays however old it is', async () => {
  await folder(name('a'), 500 * hour)
  await folder(name('b'), 500 * hour)
  await folder('of-somebody-else', 500 * hour)
  expect(await collect({ needed: [name('b')], dryRun: true })).toEqual([name('a')])
  expect(await left()).toEqual([name('a'), name('b'), 'of-somebody-else'])
  expect(await collect({ needed: [name('b')] })).toEqual([name('a')])
  expect(await left()).toEqual([name('b'), 'of-somebody-else'])
})

test('nothing that may be the one of another host, or of a fetch under way, goes, whatever is asked for', async () => {
  const draft = `.draft-${'0'.repeat(16)}`
  await folder(name('a'), heldMs - 1000)
  await folder(draft, heldMs - 1000)
  expect(await collect()).toEqual([])
  // A retention that is longer holds longer.
  await folder(name('b'), 24 * hour)
  expect(await collect({ keepMs: 25 * hour })).toEqual([])
  await folder(draft, heldMs + 1000)
  expect(await collect({ keepMs: 25 * hour, dryRun: true })).toEqual([])
  expect(await collect()).toEqual([draft, name('b')])
  expect(await left()).toEqual([name('a')])
})

test('a tarball goes once nothing of it is unpacked any more, and nobody needs it', async () => {
  const packed = async (letter: string, ageMs: number): Promise<void> => {
    await mkdir(join(store, '.packed'), { recursive: true })
    for (const end of ['.tgz', '.tgz.attestations.json']) {
      const file = join(store, '.packed', name(letter) + end)
      await writeFile(file, 'x')
      await utimes(file, new Date(now - ageMs), new Date(now - ageMs))
    }
  }
  // Unpacked and needed by nobody; unpacked and in use; needed and not unpacked; fetched right now.
  for (const letter of ['a', 'b', 'c']) await packed(letter, 500 * hour)
  await packed('d', heldMs - 1000)
  await folder(name('a'), 500 * hour)
  await folder(name('b'), 1000)
  await writeFile(join(store, '.packed/of-somebody-else'), 'x')
  const gone = [name('a'), `.packed/${name('a')}.tgz`, `.packed/${name('a')}.tgz.attestations.json`]
  expect(await collect({ needed: [name('c')], dryRun: true })).toEqual([name('a')])
  expect((await readdir(join(store, '.packed'))).length).toBe(9)
  expect(await collect({ needed: [name('c')] })).toEqual(gone)
  expect((await readdir(join(store, '.packed'))).map((one) => one[0])).toEqual(['b', 'b', 'c', 'c', 'd', 'd', 'o'])
})

test('a host that marks what it needs keeps it from all others on its store', async () => {
  for (const letter of ['a', 'b']) await folder(name(letter), 500 * hour)
  await markContent(store, [name('a'), name('c')], now)
  expect(await collect()).toEqual([name('b')])
  expect(await left()).toEqual([name('a')])
})

test('a removal that was cut off is ended by the next one, and nothing half is under its name', async () => {
  const marked = `.drop-${'1'.repeat(16)}`
  await folder(`.drop-${'0'.repeat(16)}`, heldMs + 1000)
  // Somebody else is about to put it back.
  await folder(marked, heldMs - 1000)
  await folder(name('a'), 0)
  expect(await collect({ dryRun: true })).toEqual([])
  expect(await left()).toHaveLength(3)
  expect(await collect({ keepMs: 25 * hour })).toEqual([])
  expect(await left()).toEqual([marked, name('a')])
})

test('two at once remove each thing once', async () => {
  const names = Array.from({ length: 16 }, (_, n) => name(n.toString(16)))
  for (const one of names) await folder(one, 500 * hour)
  const removed = await Promise.all([collect(), collect(), collect()])
  expect(removed.flat().sort()).toEqual(names.sort())
  expect(await left()).toEqual([])
})

test('what is marked in the moment of its removal is put back, whole', async () => {
  await folder(name('a'), 500 * hour)
  const before = now - heldMs
  await markContent(store, [name('a')], now)
  expect(await drop(store, name('a'), before)).toBe(false)
  expect(await left()).toEqual([name('a')])
  expect((await stat(join(store, name('a'), 'package/plugin.mjs'))).isFile()).toBe(true)
  // Another host was quicker.
  expect(await drop(store, name('b'), before)).toBe(false)
})

test('what cannot be removed is told, and not taken for gone', async () => {
  await writeFile(join(store, 'file'), '')
  await expect(drop(join(store, 'file'), name('a'), now)).rejects.toMatchObject({ code: 'ENOTDIR' })
})

test('what went in the moment in which it was found is not found', async () => {
  const digest = `sha512-${Buffer.alloc(64, 1).toString('base64')}`
  await folder(hexOf(digest), 0)
  expect(await findContent(digest, [store])).toBe(join(store, hexOf(digest)))
  await rm(join(store, hexOf(digest)), { recursive: true })
  expect(await findContent(digest, [store])).toBeUndefined()
})

test('what was used just as long ago as it is left is left still', async () => {
  await folder(name('a'), heldMs)
  expect(await collect()).toEqual([])
  await folder(name('b'), heldMs + 1)
  expect(await collect()).toEqual([name('b')])
})
