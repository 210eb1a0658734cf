/** Copies with a shell of this machine in the place of a worker's: with the system's tar, and with what an image without tar has. */
import { chmod, mkdir, readdir, readFile, readlink, stat, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { type TarEntry, tarStream } from '@muster/test/systems/tar'
import { type TempFolder, tempFolder } from '@muster/test/systems/temp'
import { extract } from 'tar-stream'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type Copying, packed, unpack } from './copy.ts'
import { copyLimitsOf } from '@muster/provider-parts/copies'
import { localExec, losing } from '@muster/provider-parts/local.test.helper'

const plainest = ['mkdir', 'chmod', 'ln', 'rm', 'dd', 'ls', 'wc', 'head', 'readlink', 'sh']
const everyByte = Buffer.from(Array.from({ length: 200_000 }, (_one, index) => index % 251))
const tree: readonly TarEntry[] = [
  { kind: 'folder', path: 'bin', mode: 0o750 },
  { kind: 'file', path: 'bin/tool', mode: 0o755, content: '#!/bin/sh\n' },
  { kind: 'file', path: "it's a\n#.\nname", mode: 0o640, content: everyByte },
  { kind: 'file', path: 'nothing', content: '' },
  { kind: 'link', path: 'link', target: "it's a\n#.\nname" },
  { kind: 'folder', path: 'hollow' },
  { kind: 'file', path: 'deep/er/-file', content: 'deep' },
]

test.each([
  ['filled up with zeros', 'tar: at: File shrank by 9 bytes; padding with zeros', false],
  ['left out by a tar that has one code for all errors', "tar: can't open 'at/a': Permission denied", false],
  ['another file at the end than at the beginning', 'tar: at: file changed as we read it', true],
])('what was %s', async (_how, line, whole) => {
  await using temp = await tempFolder('copy')
  const [at, bin] = [join(temp.path, 'at'), join(temp.path, 'bin')]
  await mkdir(at)
  await mkdir(bin)
  await writeFile(join(bin, 'tar'), `#!/bin/sh\nprintf packed; echo "${line}" >&2; exit 1\n`, { mode: 0o755 })
  const raw = localExec({ path: bin })
  const way: Copying = { raw, at, path: 'asked', limits: copyLimitsOf({}), signal: new AbortController().signal }
  const taken = async (): Promise<string> => Buffer.concat(await Array.fromAsync(packed(way))).toString()
  if (whole) expect(await taken()).toBe('packed')
  else await expect(taken()).rejects.toMatchObject({ message: `cannot read asked: ${line}` })
})

describe.each([true, false])('where the image has tar: %s', (hasTar) => {
  let temp: TempFolder
  let way: Copying

  beforeEach(async () => {
    temp = await tempFolder('copy')
    const at = join(temp.path, 'at')
    const bin = join(temp.path, 'bin')
    await mkdir(bin)
    for (const name of plainest) await symlink(`/bin/${name}`, join(bin, name))
    const raw = localExec(hasTar ? {} : { path: bin })
    way = { raw, at, path: 'asked', limits: copyLimitsOf({}), signal: new AbortController().signal }
  })
  afterEach(() => temp.remove())

  const put = (entries: readonly TarEntry[], more: Partial<Copying> = {}): Promise<void> =>
    unpack({ ...way, ...more }, tarStream(entries))
  const modeOf = async (name: string): Promise<number> => (await stat(join(way.at, name))).mode & 0o7777

  test('a tree goes in as it is, and comes out again', async () => {
    await put(tree)
    const odd = "it's a\n#.\nname"
    expect(await readFile(join(way.at, odd))).toEqual(everyByte)
    expect(await readlink(join(way.at, 'link'))).toBe(odd)
    expect([await modeOf('bin'), await modeOf('bin/tool'), await modeOf(odd)]).toEqual([0o750, 0o755, 0o640])
    expect(await readdir(join(way.at, 'hollow'))).toEqual([])
    const out = await entriesOf(packed(way))
    expect([...out.keys()].toSorted()).toEqual(
      [
        'at/',
        'at/bin/',
        'at/bin/tool',
        'at/deep/',
        'at/deep/er/',
        'at/deep/er/-file',
        'at/hollow/',
        `at/${odd}`,
        'at/link',
        'at/nothing',
      ].toSorted(),
    )
    expect(out.get(`at/${odd}`)).toEqual({ mode: 0o640, type: 'file', content: everyByte, linkname: null })
    expect(out.get('at/link')).toMatchObject({ type: 'symlink', linkname: odd })
    expect(out.get('at/bin/')).toMatchObject({ type: 'directory', mode: 0o750 })
  })

  test('a node that ends an input before the last of it has come through loses nothing of a tree', async () => {
    const raw = losing(way.raw)
    await put(tree, { raw })
    expect(await readFile(join(way.at, 'deep/er/-file'), 'utf8')).toBe('deep')
    await expect(put([{ kind: 'file', path: 'last', content: 'last' }], { raw })).resolves.toBeUndefined()
    expect(await readFile(join(way.at, 'last'), 'utf8')).toBe('last')
  })

  test('a file goes over a file; none goes over a folder, nor a folder over what is none', async () => {
    await put(tree)
    await put([{ kind: 'file', path: 'nothing', content: 'something' }])
    expect(await readFile(join(way.at, 'nothing'), 'utf8')).toBe('something')
    for (const entry of [
      { kind: 'file', path: 'hollow', content: '' },
      { kind: 'folder', path: 'nothing' },
      { kind: 'folder', path: 'link' },
    ] satisfies TarEntry[])
      await expect(put([entry])).rejects.toMatchObject({ code: 'invalid-spec', path: 'asked' })
    expect(await readlink(join(way.at, 'link'))).toBeTypeOf('string')
  })

  test.each<[string, readonly TarEntry[], object]>([
    ['a path that leads out', [{ kind: 'file', path: '../out', content: '' }], { path: 'tar' }],
    ['an absolute path', [{ kind: 'file', path: '/out', content: '' }], { path: 'tar' }],
    [
      'a way through a link of its own',
      [
        { kind: 'link', path: 'a', target: '/' },
        { kind: 'file', path: 'a/out', content: '' },
      ],
      { path: 'tar' },
    ],
    ['more than the limit', [{ kind: 'file', path: 'a', content: Buffer.alloc(5000) }], { path: 'tar' }],
  ])('%s is refused', async (_what, entries, error) => {
    const limits = { bytes: 4000, entries: 10 }
    await expect(put(entries, { limits })).rejects.toMatchObject({ code: 'invalid-spec', ...error })
  })

  test('what is no tar, and what breaks off, is told as that', async () => {
    await expect(unpack(way, Readable.from([Buffer.alloc(2000, 'x')]))).rejects.toMatchObject({
      code: 'invalid-spec',
      path: 'tar',
    })
    async function* breaks(): AsyncGenerator<Buffer> {
      yield Buffer.alloc(100)
      throw new RangeError('it broke off')
    }
    await expect(unpack(way, breaks())).rejects.toThrow('it broke off')
  })

  test('what is not there is not found; what is not a folder takes none', async () => {
    await expect(Array.fromAsync(packed(way))).rejects.toMatchObject({ code: 'not-found', path: 'asked' })
    await writeFile(way.at, 'a file')
    await expect(put(tree)).rejects.toMatchObject({ code: 'invalid-spec', path: 'path' })
    const out = await entriesOf(packed(way))
    expect([...out]).toEqual([['at', { mode: 0o644, type: 'file', content: Buffer.from('a file'), linkname: null }]])
  })

  test('an output has a limit too', async () => {
    await put(tree)
    await expect(Array.fromAsync(packed({ ...way, limits: { bytes: 100_000, entries: 10 } }))).rejects.toMatchObject({
      path: 'tar',
    })
    await chmod(join(way.at, 'bin'), 0o755)
  })
})

interface Entry {
  type: string
  mode: number
  linkname: string | null
  content: Buffer
}

async function entriesOf(tar: AsyncIterable<Uint8Array>): Promise<Map<string, Entry>> {
  const found = new Map<string, Entry>()
  const reader = extract()
  Readable.from(tar)
    .on('error', (error) => reader.destroy(error))
    .pipe(reader)
  for await (const entry of reader) {
    const { name, type, mode, linkname } = entry.header
    const content = Buffer.concat(await Array.fromAsync(entry as AsyncIterable<Buffer>))
    found.set(name, { type: type ?? '', mode, linkname: linkname ?? null, content })
  }
  return found
}
