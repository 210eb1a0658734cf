import { access, mkdir, readdir, rename, rm, stat, symlink, truncate, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { tempFolder } from '@muster/test/systems/temp'
import { expect, test } from 'vitest'
import { filesOf } from './archive.ts'
import { sha512Of, treeOf } from '@muster/packed/digest'
import { addContent, findContent, unpackAnew, verifyTree } from './content.ts'
import { hexOf } from './hex.ts'
import { keptTarball } from './kept-tarballs.ts'
import { packPlugin } from './testing/pack.ts'
import { word } from './word.ts'

/** Beside the tarballs. */
async function unpackedIn(store: string): Promise<string[]> {
  return (await readdir(store)).filter((name) => name !== '.packed')
}

test('the bytes are kept beside what is unpacked of them, and only those are given', async () => {
  await using temp = await tempFolder('content')
  const tarball = await packPlugin()
  const sha512 = sha512Of(tarball)
  expect(await keptTarball(sha512, [temp.path])).toBeUndefined()
  // One that was unpacked before bytes were kept is given its own.
  const root = await addContent(tarball, temp.path)
  await rm(join(temp.path, '.packed'), { recursive: true })
  expect(await addContent(tarball, temp.path)).toBe(root)
  expect(await keptTarball(sha512, [join(temp.path, 'none'), temp.path])).toEqual(tarball)
  const file = join(temp.path, '.packed', `${hexOf(sha512)}.tgz`)
  const { mode, ino } = await stat(file)
  expect(mode & 0o777).toBe(0o444)
  // What is here is not written again.
  await addContent(tarball, temp.path)
  expect((await stat(file)).ino).toBe(ino)
  await rm(file)
  await writeFile(file, Buffer.alloc(tarball.length))
  expect(await keptTarball(sha512, [temp.path])).toBeUndefined()
  await addContent(tarball, temp.path)
  expect(await keptTarball(sha512, [temp.path])).toEqual(tarball)
})

test('a folder that is gone is unpacked anew by its name; one that is only named alike has no bytes', async () => {
  await using temp = await tempFolder('content')
  const root = await addContent(await packPlugin(), temp.path)
  await rm(root, { recursive: true })
  for (const name of [`${root}.old`, join(temp.path, 'dev')])
    await expect(unpackAnew(name)).rejects.toMatchObject({
      code: 'other-files',
      message: `the unpacked files in ${name} are gone, and their tarball too`,
    })
  expect(await unpackedIn(temp.path)).toEqual([])
  await unpackAnew(root)
  expect(await unpackedIn(temp.path)).toEqual([basename(root)])
})

test('many at once unpack the same bytes to one folder', async () => {
  await using temp = await tempFolder('content')
  const tarball = await packPlugin()
  const found = await Promise.all(Array.from({ length: 8 }, () => addContent(tarball, join(temp.path, 'store'))))
  expect(new Set(found).size).toBe(1)
  expect(await unpackedIn(join(temp.path, 'store'))).toHaveLength(1)
  expect(await findContent(sha512Of(tarball), [join(temp.path, 'none'), join(temp.path, 'store')])).toBe(found[0])
})

test('the digest of a tree is that of its files, in whatever order they lie', async () => {
  await using temp = await tempFolder('content')
  const root = await addContent(await packPlugin({ more: [['package/a/b', '1']] }), temp.path)
  const tree = treeOf(await filesOf(await packPlugin({ more: [['package/a/b', '1']] })))
  await verifyTree(root, tree)
  const a = Buffer.from('a')
  const b = Buffer.from('b')
  expect(
    treeOf(
      new Map([
        ['x', a],
        ['y', b],
      ]),
    ),
  ).toBe(
    treeOf(
      new Map([
        ['y', b],
        ['x', a],
      ]),
    ),
  )
  expect(
    treeOf(
      new Map([
        ['x', a],
        ['y', b],
      ]),
    ),
  ).not.toBe(
    treeOf(
      new Map([
        ['y', a],
        ['x', b],
      ]),
    ),
  )
})

test('what is no plain file in an unpacked plugin is refused, and an empty folder is nothing', async () => {
  await using temp = await tempFolder('content')
  const tarball = await packPlugin()
  const root = await addContent(tarball, temp.path)
  const tree = treeOf(await filesOf(tarball))
  await mkdir(join(root, 'empty'))
  await verifyTree(root, tree)
  await symlink('/etc/passwd', join(root, 'link'))
  await expect(verifyTree(root, tree)).rejects.toMatchObject({
    code: 'other-files',
    message: expect.stringMatching(/link' is not a file/),
  })
})

interface Planted {
  what: string
  /** In what is unpacked already; else in its place. */
  inside?: true
  put(root: string, other: string): Promise<unknown>
  reason: RegExp
}

test.each<Planted>([
  { what: 'a file', put: (root) => writeFile(root, ''), reason: /it is no folder$/ },
  { what: 'a link to nothing', put: (root) => symlink('/nowhere', root), reason: /it is no folder$/ },
  {
    ...{ what: 'a link to the right files', inside: true, reason: /it is no folder$/ },
    put: async (root, other) => {
      await rename(root, other)
      await symlink(other, root)
    },
  },
  {
    ...{ what: 'a name that is no text', inside: true, reason: /they cannot be read: ENOENT/ },
    put: (root) => writeFile(Buffer.concat([Buffer.from(`${root}/a`), Buffer.of(0xff)]), ''),
  },
  {
    ...{ what: 'a file of gigabytes', inside: true, reason: /they have more than \d+ bytes/ },
    put: async (root) => {
      await writeFile(join(root, 'big'), '')
      await truncate(join(root, 'big'), 3 * 2 ** 30)
    },
  },
])('$what where unpacked files should be is refused, with what mends it', async ({ inside, put, reason }) => {
  await using temp = await tempFolder('content planted')
  const tarball = await packPlugin()
  const tree = treeOf(await filesOf(tarball))
  const sha512 = sha512Of(tarball)
  const root = join(temp.path, hexOf(sha512))
  if (inside === true) await addContent(tarball, temp.path)
  await put(root, join(temp.path, 'other'))
  const opened = async (): Promise<void> => {
    const found = await findContent(sha512, [temp.path])
    await verifyTree(found ?? (await addContent(tarball, temp.path)), tree)
  }
  await expect(opened()).rejects.toMatchObject({
    code: 'other-files',
    message: expect.stringMatching(reason) as string,
    fix: expect.stringContaining(`run: rm -r ${word(root)}, `) as string,
  })
  await rm(root, { recursive: true })
  await opened()
})

test('nothing of a refused archive is written', async () => {
  await using temp = await tempFolder('content')
  const bad = packPlugin({ more: [[{ name: 'package/l', type: 'symlink', linkname: '/etc/passwd' }]] })
  await expect(addContent(await bad, join(temp.path, 'store'))).rejects.toThrow(/symlink/)
  await expect(access(join(temp.path, 'store'))).rejects.toThrow(/ENOENT/)
})

test('what was hashed is what runs: nobody writes to it by mistake', async () => {
  await using temp = await tempFolder('content')
  const folder = await addContent(await packPlugin(), join(temp.path, 'store'))
  const files = (await readdir(folder, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile())
  const modes = await Promise.all(files.map(async ({ parentPath, name }) => (await stat(join(parentPath, name))).mode & 0o777))
  expect(modes).toEqual(files.map(() => 0o444))
})

test('whatever this host lets others see of what it makes, the user of a plugin can read all of it', async () => {
  await using temp = await tempFolder('content')
  const before = process.umask(0o077)
  try {
    const root = await addContent(await packPlugin({ more: [['package/deep/er/x', '']] }), join(temp.path, 'store'))
    const modes = await Promise.all(
      ['', 'dist', 'deep', 'deep/er', 'deep/er/x'].map(async (path) => (await stat(join(root, path))).mode & 0o777),
    )
    expect(modes).toEqual([0o755, 0o755, 0o755, 0o755, 0o444])
    expect(await addContent(await packPlugin({ more: [['package/deep/er/x', '']] }), join(temp.path, 'store'))).toBe(root)
    expect(await unpackedIn(join(temp.path, 'store'))).toHaveLength(1)
  } finally {
    process.umask(before)
  }
})

test('a store that cannot be written to says so, and has no half a folder', async () => {
  await using temp = await tempFolder('content')
  const tarball = await packPlugin()
  const store = join(temp.path, 'store')
  await writeFile(store, 'in the way')
  await expect(addContent(tarball, store)).rejects.toThrow(/ENOTDIR|EEXIST/)
  expect(await readdir(temp.path)).toEqual(['store'])
  expect(await findContent(sha512Of(tarball), [store])).toBeUndefined()
})
