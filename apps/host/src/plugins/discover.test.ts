import { createHash } from 'node:crypto'
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { pack, type Header } from 'tar-stream'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { discover } from './discover.ts'
import { openSource } from './source.ts'
import { plainManifest } from './testing/manifest.ts'

const manifest = plainManifest('@acme/plugin', { version: '1.2.3', entry: 'dist/plugin.js' })
const pkg = { name: '@acme/plugin', version: '1.2.3', muster: 'muster-plugin.json' }

let folder: string
let store: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'muster-discover-'))
  store = join(folder, 'store')
})
afterEach(() => rm(folder, { recursive: true, force: true }))

type Entry = [(Partial<Header> & { name: string }) | string, string?]

function tarball(entries: Entry[]): Promise<Buffer> {
  const stream = pack()
  for (const [header, body] of entries) stream.entry(typeof header === 'string' ? { name: header } : header, body ?? '')
  stream.finalize()
  return Array.fromAsync(stream as AsyncIterable<Buffer>).then((parts) => gzipSync(Buffer.concat(parts)))
}

function files(over: { manifest?: object; pkg?: object } = {}): Entry[] {
  return [
    ['package/package.json', JSON.stringify({ ...pkg, ...over.pkg }, null, 2)],
    ['package/muster-plugin.json', JSON.stringify({ ...manifest, ...over.manifest }, null, 2)],
    ['package/dist/plugin.js', 'export {}'],
  ]
}

function sha512(bytes: Buffer): string {
  return `sha512-${createHash('sha512').update(bytes).digest('base64')}`
}

async function put(name: string, bytes: Buffer): Promise<{ tarball: string; sha512: string }> {
  await writeFile(join(folder, name), bytes)
  return { tarball: name, sha512: sha512(bytes) }
}

async function look(registry: unknown): Promise<Awaited<ReturnType<typeof discover>> & { texts: string[] }> {
  const file = join(folder, 'plugins.json')
  await writeFile(file, typeof registry === 'string' ? registry : JSON.stringify(registry, null, 2))
  const found = await discover(file, { store, shown: 'plugins.json' })
  return {
    ...found,
    texts: found.problems.map((one) => `${one.file.replace(folder, '')}:${one.line}:${one.column} ${one.reason} | ${one.fix}`),
  }
}

const entry = (source: object, over: object = {}): object => ({ package: '@acme/plugin', version: '1.2.3', source, ...over })

describe('discover', () => {
  it('opens a packed plugin into the store, read-only, and finds its manifest', async () => {
    const found = await look({ plugins: { acme: entry(await put('a.tgz', await tarball(files()))) } })
    expect(found.texts).toEqual([])
    expect(found.plugins[0]).toMatchObject({ alias: 'acme', contract: '1.0', manifest: { name: '@acme/plugin' } })
    expect(await readFile(found.plugins[0]?.main ?? '', 'utf8')).toBe('export {}')
    expect(await readdir(store)).toEqual([expect.stringMatching(/^[0-9a-f]{128}$/)])
  })

  it('opens a folder where it is', async () => {
    await mkdir(join(folder, 'dev/dist'), { recursive: true })
    for (const [name, body] of files())
      await writeFile(join(folder, 'dev', (typeof name === 'string' ? name : name.name).replace('package/', '')), body ?? '')
    const found = await look({ plugins: { acme: entry({ folder: 'dev' }) } })
    expect(found.texts).toEqual([])
    expect(found.plugins[0]?.root).toBe(join(folder, 'dev'))
  })

  it.each<[string, { manifest?: object; pkg?: object }, RegExp]>([
    [
      'a runtime dependency',
      { pkg: { dependencies: { left: '1.0.0' } } },
      /package\.json:5:\d+ a plugin has no runtime dependencies, and this one has left \| bundle it: npx tsup/,
    ],
    ['a native addon', { pkg: { gypfile: true } }, /has no native addons/],
    ['no manifest', { pkg: { muster: undefined } }, /names no plugin manifest \| add "muster"/],
    ['a manifest outside', { pkg: { muster: '../../etc/passwd' } }, /is outside the package/],
    [
      'a contract out of range',
      { manifest: { contract: ['2.0'] } },
      /muster-plugin\.json:6:\d+ it speaks contract 2\.0, this host 1\.0/,
    ],
    ['another name in the manifest', { manifest: { name: '@acme/other' } }, /the manifest says name @acme\/other/],
    ['an entry that is not there', { manifest: { entry: 'dist/none.js' } }, /the entry 'dist\/none.js' does not exist/],
    ['an entry outside', { manifest: { entry: '../x.js' } }, /is outside the package/],
    ['an unknown manifest key', { manifest: { capabilites: {} } }, /unknown key 'capabilites'/],
    ['a missing manifest key', { manifest: { secrets: undefined } }, /'secrets' is missing/],
    [
      'another version',
      { pkg: { version: '9.9.9' }, manifest: { version: '9.9.9' } },
      /plugins\.json:5:\d+ the source holds version 9\.9\.9, not 1\.2\.3/,
    ],
    ['another package', { pkg: { name: 'x' }, manifest: { name: 'x' } }, /the source holds 'x', not '@acme\/plugin'/],
  ])('refuses %s', async (_name, over, wanted) => {
    const found = await look({ plugins: { acme: entry(await put('a.tgz', await tarball(files(over)))) } })
    expect(found.plugins).toEqual([])
    expect(found.texts.join('\n')).toMatch(wanted)
  })

  it.each<[string, unknown, RegExp]>([
    ['an unknown key', { plugins: {}, pugins: {} }, /unknown key 'pugins'/],
    ['a range', { plugins: { a: entry({ folder: '.' }, { version: '^1.0.0' }) } }, /no exact version/],
    ['no source', { plugins: { a: entry({}) } }, /exactly one of folder and tarball/],
    ['a tarball without a hash', { plugins: { a: entry({ tarball: 'a.tgz' }) } }, /needs its sha512/],
    ['a folder that is not there', { plugins: { a: entry({ folder: 'nowhere' }) } }, /the folder '.*nowhere' does not exist/],
    ['one alias twice', '{"plugins": {"a": {}, "a": {}}}', /Map keys must be unique/],
    ['a wrong alias', { plugins: { A_B: entry({ folder: '.' }) } }, /Invalid key|alias/],
  ])('refuses a registry manifest with %s', async (_name, registry, wanted) => {
    expect((await look(registry)).texts.join('\n')).toMatch(wanted)
  })

  it('refuses two aliases with other bytes for the same version, and takes two versions', async () => {
    const one = await put('a.tgz', await tarball(files()))
    const two = await put('b.tgz', await tarball([...files(), ['package/extra', 'x']]))
    expect((await look({ plugins: { a: entry(one), b: entry(two) } })).texts.join()).toMatch(/'a' and 'b' clash/)
    const other = await put('c.tgz', await tarball(files({ pkg: { version: '2.0.0' }, manifest: { version: '2.0.0' } })))
    expect((await look({ plugins: { a: entry(one), b: entry(other, { version: '2.0.0' }), c: entry(one) } })).texts).toEqual([])
  })

  it('names a missing registry manifest and how to make one', async () => {
    const found = await discover(join(folder, 'none.json'), { store, shown: 'none.json' })
    expect(found.problems[0]).toMatchObject({ file: 'none.json', fix: expect.stringMatching(/create it/) })
  })
})

describe('a tarball', () => {
  it('is refused when its bytes are not the pinned ones', async () => {
    const source = { kind: 'tarball', path: join(folder, 'a.tgz'), sha512: sha512(Buffer.from('other')) } as const
    await put('a.tgz', await tarball(files()))
    await expect(openSource(source, store)).rejects.toThrow(/not the pinned one: its hash is sha512-/)
  })

  it.each<[string, Entry[], RegExp]>([
    ['a symbolic link', [[{ name: 'package/l', type: 'symlink', linkname: '/etc/passwd' }]], /is a symlink/],
    ['a hard link', [[{ name: 'package/l', type: 'link', linkname: 'package/package.json' }]], /is a link/],
    ['a device', [[{ name: 'package/d', type: 'character-device' }]], /character-device/],
    ['a way out', [['package/../../x', 'x']], /leaves the package/],
    ['an absolute path', [['/etc/x', 'x']], /not a relative path/],
    ['names that differ in case only', [['package/Dist/plugin.js', 'x']], /differs from another only in case/],
  ])('with %s is refused, and nothing is left of it', async (_name, extra, wanted) => {
    const bytes = await tarball([...files(), ...extra])
    const path = join(folder, 'bad.tgz')
    await writeFile(path, bytes)
    await expect(openSource({ kind: 'tarball', path, sha512: sha512(bytes) }, store)).rejects.toThrow(wanted)
    await expect(readdir(store)).rejects.toThrow(/ENOENT/)
  })

  it('that is a compression bomb is stopped by its size', async () => {
    const bytes = gzipSync(Buffer.alloc(257 * 2 ** 20), { level: 1 })
    const path = join(folder, 'bomb.tgz')
    await writeFile(path, bytes)
    await expect(openSource({ kind: 'tarball', path, sha512: sha512(bytes) }, store)).rejects.toThrow(
      /unpacks to more than|cannot be read/,
    )
    // 256 MiB come out in pieces of 16 KiB, each a turn that a busy machine may be slow to give.
  }, 120_000)

  it('that is no archive, or is missing, is refused with a reason', async () => {
    const bytes = Buffer.from('no archive')
    const path = join(folder, 'x.tgz')
    await writeFile(path, bytes)
    await expect(openSource({ kind: 'tarball', path, sha512: sha512(bytes) }, store)).rejects.toThrow(/cannot be read/)
    await expect(openSource({ kind: 'tarball', path: `${path}.none`, sha512: sha512(bytes) }, store)).rejects.toThrow(
      /does not exist/,
    )
  })

  it('is unpacked once when two hosts open it at the same time', async () => {
    const bytes = await tarball(files())
    const path = join(folder, 'a.tgz')
    await writeFile(path, bytes)
    const source = { kind: 'tarball', path, sha512: sha512(bytes) } as const
    const opened = await Promise.all(Array.from({ length: 8 }, () => openSource(source, store)))
    expect(new Set(opened).size).toBe(1)
    expect(await readdir(store)).toHaveLength(1)
    await chmod(opened[0] ?? '', 0o755)
  })
})
