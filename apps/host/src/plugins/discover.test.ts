import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { reasonOf } from '../config/problem.ts'
import { discover } from './discover.ts'
import type { Ground } from './ground.ts'
import { writeMirror } from './mirror.ts'
import { lockHere } from './testing/lock.ts'
import { plainManifest } from './testing/manifest.ts'
import { packPlugin, type Packed, pluginFiles } from './testing/pack.ts'

let folder: string
let store: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'muster-discover-'))
  store = join(folder, 'store')
  asked = 0
})
afterEach(() => rm(folder, { recursive: true, force: true }))

async function put(name: string, packed: Packed = {}): Promise<{ tarball: string }> {
  await writeFile(join(folder, name), await packPlugin(packed))
  return { tarball: name }
}

const text = (one: { file: string; line: number; column: number; code?: string; reason: string; fix: string }): string =>
  `${one.file.replace(folder, '')}:${one.line}:${one.column} ${reasonOf(one)} | ${one.fix}`

/** Locks what can be locked, and then reads it as the daemon does. */
/** How often it was asked what the machine gives. */
let asked = 0
const ground = async (): Promise<Ground> => {
  asked += 1
  return {}
}

async function look(registry: unknown): Promise<Awaited<ReturnType<typeof discover>> & { texts: string[] }> {
  const file = join(folder, 'plugins.json')
  await writeFile(file, typeof registry === 'string' ? registry : JSON.stringify(registry, null, 2))
  const { problems } = await lockHere(file)
  const found = await discover(file, { stores: [store], shown: 'plugins.json', ground })
  return { ...found, texts: [...problems, ...found.problems].map(text) }
}

const entry = (source: object, over: object = {}): object => ({ package: '@acme/plugin', version: '1.2.3', source, ...over })

describe('discover', () => {
  it('opens a packed plugin into the store, read-only, and finds its manifest', async () => {
    const found = await look({ plugins: { acme: entry(await put('a.tgz')) } })
    expect(found.texts).toEqual([])
    expect(found.plugins[0]).toMatchObject({ alias: 'acme', contract: '1.0', manifest: { name: '@acme/plugin' } })
    expect(await readFile(found.plugins[0]?.main ?? '', 'utf8')).toBe('export {}')
    expect((await readdir(store)).filter((name) => name !== '.packed')).toEqual([expect.stringMatching(/^[0-9a-f]{128}$/)])
  })

  it('says which version a manifest of another shape is of, and what to lock in its place', async () => {
    const { capabilities } = plainManifest('@acme/plugin')
    const older = { manifest: { capabilities: { ...capabilities, suspend: { keeps: 'memory' } } } } as unknown as Packed
    const { texts } = await look({ plugins: { acme: entry(await put('a.tgz', older)) } })
    expect(texts[0]).toMatch(
      /^@acme\/plugin@1\.2\.3\/muster-plugin\.json:\d+:\d+ bad-manifest: it is no manifest of contract 1\.0, as this host speaks it: 'capabilities\.suspend\.keeps': .* \| run: npx -p @muster\/plugin-kit muster-plugin lint, as its author; take a version that was made for it, or the host that this version was locked with$/,
    )
  })

  it('takes one in a folder for another when a file of it is, which for one that an interpreter runs are all that are packed', async () => {
    const digest = async (interpreter: string | undefined, more: Record<string, string> = {}): Promise<string> => {
      const root = join(folder, 'loose')
      const manifest = interpreter === undefined ? {} : { interpreter }
      const pkg = { files: ['dist', 'lib', 'more.py', '../outside'] }
      const files = pluginFiles({ manifest, pkg }).map(([name, body]) => [name as string, body ?? ''] as const)
      for (const [name, body] of [...files, ...Object.entries(more)]) {
        const path = join(root, name.replace(/^package\//, ''))
        await mkdir(dirname(path), { recursive: true })
        await writeFile(path, body)
      }
      const found = await look({ plugins: { acme: entry({ folder: './loose' }) } })
      expect(found.texts).toEqual([])
      return found.plugins[0]?.digest ?? ''
    }
    const first = await digest('python3', { 'lib/one.py': '1', 'more.py': '1', 'notes/x': '1' })
    expect(await digest('python3', { 'notes/x': '2', 'lib/__pycache__/one.pyc': '1', '../outside/x.py': '1' })).toBe(first)
    const second = await digest('python3', { 'lib/one.py': '2' })
    const third = await digest('python3', { 'more.py': '2' })
    expect(new Set([first, second, third, await digest('python3', { 'dist/plugin.js': '2' })]).size).toBe(4)
    const bundle = await digest(undefined)
    expect(await digest(undefined, { 'lib/one.py': '3' })).toBe(bundle)
  })

  it('asks once what the machine gives to keep plugins in', async () => {
    const [a, b] = [await put('a.tgz'), await put('b.tgz', { name: '@acme/other' })]
    const found = await look({ plugins: { a: entry(a), b: entry(b, { package: '@acme/other' }) } })
    expect([found.texts, asked, found.plugins.map((one) => one.isolation.level)]).toEqual([[], 1, ['L3', 'L3']])
  })

  it('refuses a folder that holds another version, or another package, than is asked for', async () => {
    await mkdir(join(folder, 'dev/dist'), { recursive: true })
    for (const [name, body] of pluginFiles())
      await writeFile(join(folder, 'dev', (typeof name === 'string' ? name : name.name).replace('package/', '')), body ?? '')
    const other = await look({ plugins: { acme: entry({ folder: 'dev' }, { version: '^2.0.0' }) } })
    expect(other.texts).toEqual([
      expect.stringMatching(
        /plugins\.json:5:\d+ other-version: the source holds version 1\.2\.3, not \^2\.0\.0 \| run: muster plugins add --folder \S+\/dev --as acme; or use another source/,
      ),
    ])
    const named = await look({ plugins: { acme: entry({ folder: 'dev' }, { package: '@acme/other' }) } })
    expect(named.texts).toEqual([
      expect.stringMatching(/plugins\.json:4:\d+ other-package: the source holds '@acme\/plugin', not '@acme\/other'/),
    ])
  })

  it('takes a manifest that is just as long as it may be', async () => {
    await mkdir(join(folder, 'dev/dist'), { recursive: true })
    for (const [name, body = ''] of pluginFiles()) {
      const path = (typeof name === 'string' ? name : name.name).replace('package/', '')
      await writeFile(join(folder, 'dev', path), path === 'muster-plugin.json' ? body.padEnd(2 ** 20) : body)
    }
    expect((await look({ plugins: { acme: entry({ folder: 'dev' }) } })).texts).toEqual([])
  })

  it('opens a folder where it is', async () => {
    await mkdir(join(folder, 'dev/dist'), { recursive: true })
    for (const [name, body] of pluginFiles())
      await writeFile(join(folder, 'dev', (typeof name === 'string' ? name : name.name).replace('package/', '')), body ?? '')
    const found = await look({ plugins: { acme: entry({ folder: 'dev' }) } })
    expect(found.texts).toEqual([])
    expect(found.plugins[0]?.root).toBe(join(folder, 'dev'))
    // Only what would be packed counts of it.
    await writeFile(join(folder, 'dev/tool.node'), '')
    expect((await look({ plugins: { acme: entry({ folder: 'dev' }) } })).texts).toEqual([])
    await rm(join(folder, 'dev/package.json'))
    expect((await look({ plugins: { acme: entry({ folder: 'dev' }) } })).texts).toEqual([
      `/dev/package.json:1:1 bad-package: the file is missing or cannot be read | run: npx -p @muster/plugin-kit muster-plugin lint --folder ${join(folder, 'dev')}, as its author; pack the plugin with this file in it`,
    ])
    // Its level depends on nothing that starting processes would find out.
    expect([asked, found.plugins[0]?.isolation.level]).toEqual([0, 'L2'])
  })

  it.each<[string, Packed, RegExp]>([
    [
      'a runtime dependency',
      { pkg: { dependencies: { left: '1.0.0' } } },
      /package\.json:5:\d+ dependencies: a plugin has no runtime dependencies, and this one has left \| run: npx tsup/,
    ],
    [
      'a dependency that may be missing',
      { pkg: { optionalDependencies: { left: '1.0.0', right: '1.0.0' } } },
      /package\.json:5:\d+ dependencies: a plugin has no runtime dependencies, and this one has left, right/,
    ],
    [
      'such a one, beside no others',
      { pkg: { dependencies: {}, optionalDependencies: { left: '1.0.0' } } },
      /package\.json:6:\d+ dependencies: a plugin has no runtime dependencies, and this one has left/,
    ],
    ['a native addon', { pkg: { gypfile: true } }, /native: a plugin has no native addons, and this one has a gypfile/],
    ['a built addon', { more: [['package/build/x.node', '']] }, /and this one has build\/x\.node/],
    ['one that would be built', { more: [['package/binding.gyp', '']] }, /and this one has binding\.gyp/],
    ['the folder itself as its manifest', { pkg: { muster: '.' } }, /'\.' is outside the package/],
    ['the folder above as its entry', { manifest: { entry: '..' } }, /'\.\.' is outside the package/],
    [
      'an entry that only begins like the folder above',
      { manifest: { entry: '..x.js' } },
      /the entry '\.\.x\.js' does not exist/,
    ],
    [
      'another version in the manifest',
      { manifest: { version: '9.9.9' } },
      /muster-plugin\.json:4:\d+ other-manifest: the manifest says version 9\.9\.9, package\.json says 1\.2\.3 \| run: npm pkg set version=9\.9\.9, as its author; or write 1\.2\.3/,
    ],
    [
      'a manifest that is not there',
      { pkg: { muster: 'none.json' } },
      /@acme\/plugin@1\.2\.3\/none\.json:1:1 no-manifest: the file is missing/,
    ],
    [
      'a manifest that could never be told over the wire',
      { manifest: { config: { description: 'x'.repeat(2 ** 20) } } },
      /muster-plugin\.json:1:1 bad-manifest: the file has more than 1048576 bytes \| run: npx -p @muster\/plugin-kit muster-plugin lint, as its author; make it smaller/,
    ],
    [
      'no manifest',
      { pkg: { muster: undefined } },
      /no-manifest: the package names no plugin manifest \| run: npm pkg set muster=muster-plugin\.json/,
    ],
    ['a manifest outside', { pkg: { muster: '../../etc/passwd' } }, /package\.json:4:\d+ outside: '\S+' is outside the package/],
    [
      'a contract out of range',
      { manifest: { contract: ['2.0'] } },
      /muster-plugin\.json:6:\d+ other-contract: it speaks contract 2\.0, this host 1\.0/,
    ],
    ['another name in the manifest', { manifest: { name: '@acme/other' } }, /the manifest says name @acme\/other/],
    ['an entry that is not there', { manifest: { entry: 'dist/none.js' } }, /no-entry: the entry 'dist\/none.js' does not exist/],
    ['an entry outside', { manifest: { entry: '../x.js' } }, /outside: '\.\.\/x\.js' is outside the package/],
    ['an unknown manifest key', { manifest: { capabilites: {} } }, /unknown key 'capabilites'/],
    ['a missing manifest key', { manifest: { secrets: undefined } }, /'secrets' is missing/],
    [
      'another version',
      { version: '9.9.9' },
      /plugins\.json:3:\d+ no-version: no version of @acme\/plugin is in 1\.2\.3; there are: 9\.9\.9 \| run: muster plugins add --tarball \S+\/a\.tgz --as acme/,
    ],
    ['another package', { name: 'x' }, /the tarball '.*a\.tgz' holds x, not @acme\/plugin/],
  ])('refuses %s', async (_name, over, wanted) => {
    const found = await look({ plugins: { acme: entry(await put('a.tgz', over)) } })
    expect(found.plugins).toEqual([])
    expect(found.texts.join('\n')).toMatch(wanted)
  })

  it.each<[string, unknown, RegExp]>([
    ['an unknown key', { plugins: {}, pugins: {} }, /unknown key 'pugins'/],
    [
      'what is no range',
      { plugins: { a: entry({ folder: '.' }, { version: 'newest' }) } },
      /'newest' is no version and no range/,
    ],
    ['no source', { plugins: { a: entry({}) } }, /exactly one of folder, tarball, mirror, registry/],
    ['a tarball that is not there', { plugins: { a: entry({ tarball: 'a.tgz' }) } }, /the tarball '.*a\.tgz' does not exist/],
    ['an unknown registry', { plugins: { a: entry({ registry: 'x' }) } }, /no registry is named 'x' \| add it to registries/],
    [
      'a token for no address',
      { registries: { default: { token: { env: 'X' } } }, plugins: {} },
      /a token needs the url that it is for/,
    ],
    ['a folder that is not there', { plugins: { a: entry({ folder: 'nowhere' }) } }, /the folder '.*nowhere' does not exist/],
    ['one alias twice', '{"plugins": {"a": {}, "a": {}}}', /Map keys must be unique/],
    ['a wrong alias', { plugins: { A_B: entry({ folder: '.' }) } }, /Invalid key|alias/],
  ])('refuses a registry manifest with %s', async (_name, registry, wanted) => {
    expect((await look(registry)).texts.join('\n')).toMatch(wanted)
  })

  it('refuses a plugin with less isolation than is demanded, and takes one that has it', async () => {
    const { permissions } = plainManifest('x')
    const free = await put('a.tgz', { manifest: { permissions: { ...permissions, fsWrite: ['/'], childProcess: true } } })
    const refused = await look({ plugins: { acme: entry(free, { isolation: 'L2' }) } })
    expect(refused.plugins).toEqual([])
    expect(refused.texts.join('\n')).toMatch(
      /plugins\.json:3:\d+ below-level: 'acme' must have isolation L2, and has L1 here: .* \| run: muster plugins show acme, .*write "isolation": "L1"/,
    )
    expect((await look({ plugins: { acme: entry(free, { isolation: 'L1' }) } })).texts).toEqual([])
    expect((await look({ plugins: { acme: entry(await put('b.tgz'), { isolation: 'L2' }) } })).texts).toEqual([])
  })

  it('refuses a plugin that asks for a larger heap than is given', async () => {
    const now = await put('a.tgz')
    await look({ plugins: { acme: entry(now) } })
    const opened = async (maxHeapMb: number): Promise<string> =>
      (await discover(join(folder, 'plugins.json'), { stores: [store], shown: 'plugins.json', maxHeapMb })).problems
        .map(text)
        .join()
    expect(await opened(64)).toBe('')
    expect(await opened(63)).toMatch(
      /^plugins\.json:3:\d+ over-limit: 'acme' asks for a heap of 64 MiB, and the configuration gives at most 63 \| run: /,
    )
  })

  it('refuses a lock that accepts other permissions than the plugin asks for: nobody has seen those', async () => {
    const { permissions } = plainManifest('x')
    const asks = await put('a.tgz', {
      manifest: { permissions: { ...permissions, net: ['api.acme.test:443'], childProcess: true } },
    })
    expect((await look({ plugins: { acme: entry(asks) } })).texts).toEqual([])
    const lock = join(folder, 'plugins.lock.json')
    await writeFile(lock, (await readFile(lock, 'utf8')).replace('"childProcess": true', '"childProcess": false'))
    const found = await discover(join(folder, 'plugins.json'), { stores: [store], shown: 'plugins.json', ground })
    expect(found.plugins).toEqual([])
    expect(found.problems.map(text)).toEqual([
      expect.stringMatching(
        /^plugins\.json:3:\d+ other-permissions: the lock of 'acme' accepts other permissions than @acme\/plugin@1\.2\.3 asks for \(childProcess\) \| /,
      ),
    ])
  })

  it('refuses two aliases with other bytes for the same version, and takes two versions', async () => {
    const one = await put('a.tgz')
    const two = await put('b.tgz', { more: [['package/extra', 'x']] })
    expect((await look({ plugins: { a: entry(one), b: entry(two) } })).texts.join()).toMatch(
      /plugins\.json:10:\d+ clash: the aliases 'a' and 'b' clash: both are @acme\/plugin@1\.2\.3/,
    )
    const folders = await Promise.all(
      ['x', 'y'].map(async (name) => {
        await mkdir(join(folder, name, 'dist'), { recursive: true })
        for (const [path, body] of pluginFiles())
          await writeFile(join(folder, name, (typeof path === 'string' ? path : path.name).replace('package/', '')), body ?? '')
        return entry({ folder: name })
      }),
    )
    // The same now; either may be changed.
    expect((await look({ plugins: { a: folders[0], b: folders[1] } })).texts.join()).toMatch(
      / clash: the aliases 'a' and 'b' clash: /,
    )
    const other = await put('c.tgz', { version: '2.0.0' })
    expect((await look({ plugins: { a: entry(one), b: entry(other, { version: '2.0.0' }), c: entry(one) } })).texts).toEqual([])
  })

  it('names a missing registry manifest and how to make one', async () => {
    const found = await discover(join(folder, 'none.json'), { stores: [store], shown: 'none.json' })
    expect(found.problems[0]).toMatchObject({ file: 'none.json', fix: expect.stringMatching(/create it/) })
  })
})

describe('a start is frozen: it', () => {
  const file = (): string => join(folder, 'plugins.json')
  const write = (plugins: object): Promise<void> => writeFile(file(), JSON.stringify({ plugins }, null, 2))
  const start = async (stores: [string, ...string[]] = [store]): Promise<string> =>
    (await discover(file(), { stores, shown: 'plugins.json' })).problems.map(text).join('\n')

  it('refuses what the lock does not have', async () => {
    await write({ acme: entry(await put('a.tgz')) })
    expect(await start()).toMatch(/plugins\.json:3:\d+ not-locked: the lock has no plugin 'acme' \| run: muster plugins lock/)
  })

  it.each<[string, (now: { tarball: string }) => object, RegExp]>([
    ['range', (now) => entry(now, { version: '^2.0.0' }), /lock-stale: .* is for version 1\.2\.3, which is not in \^2\.0\.0/],
    ['package', (now) => entry(now, { package: '@acme/other' }), /is for the package @acme\/plugin, not @acme\/other/],
    ['source', () => entry({ tarball: 'other.tgz' }), /is for tarball a\.tgz, not tarball other\.tgz/],
  ])('refuses a lock that was made for another %s', async (_name, changed, wanted) => {
    const now = await put('a.tgz')
    await write({ acme: entry(now) })
    await lockHere(file())
    await write({ acme: changed(now) })
    expect(await start()).toMatch(wanted)
  })

  it('refuses bytes that are not the locked ones, and unpacks none of them', async () => {
    await write({ acme: entry(await put('a.tgz')) })
    await lockHere(file(), { stores: [join(folder, 'elsewhere')] })
    await put('a.tgz', { more: [['package/extra', 'x']] })
    expect(await start()).toMatch(
      /other-bytes: the tarball of @acme\/plugin@1\.2\.3 is not the locked one: its hash is sha512-.*, the lock has sha512-/,
    )
    await expect(readdir(store)).rejects.toThrow(/ENOENT/)
  })

  it.each<[string, (root: string) => Promise<unknown>]>([
    ['changed', (root) => rm(join(root, 'dist/plugin.js')).then(() => writeFile(join(root, 'dist/plugin.js'), 'evil()'))],
    ['removed', (root) => rm(join(root, 'dist/plugin.js'))],
    ['added', (root) => writeFile(join(root, 'dist/more.js'), '')],
    [
      'moved',
      async (root) => {
        await writeFile(join(root, 'plugin.js'), await readFile(join(root, 'dist/plugin.js')))
        await rm(join(root, 'dist/plugin.js'))
      },
    ],
  ])('refuses unpacked files of which one was %s', async (_name, spoil) => {
    await write({ acme: entry(await put('a.tgz')) })
    await lockHere(file())
    expect(await start()).toBe('')
    const name = (await readdir(store)).find((one) => one !== '.packed') ?? ''
    await spoil(join(store, name))
    expect(await start()).toMatch(/other-files: the unpacked files in .* are not those of the lock.*\| run: rm -r \S+, and/)
    await rm(join(store, name), { recursive: true })
    // Its bytes are here: no source is asked.
    await rm(join(folder, 'a.tgz'))
    expect(await start()).toBe('')
  })

  it('names what gets out of it: the version before that the lock has, else what looks for another', async () => {
    const mirror = (version: string): object => ({ ...entry({ mirror: 'm' }), version })
    const tarball = await packPlugin({ version: '1.0.0' })
    const next = await packPlugin({ version: '1.1.0' })
    await writeMirror(join(folder, 'm'), [
      { package: '@acme/plugin', version: '1.0.0', tarball, published: '2026-01-01T00:00:00.000Z' },
      { package: '@acme/plugin', version: '1.1.0', tarball: next, published: '2026-01-01T00:00:00.000Z' },
    ])
    const swap = async (version: string): Promise<string> => {
      await rm(store, { recursive: true })
      await writeMirror(join(folder, 'm'), [
        { package: '@acme/plugin', version, tarball: await packPlugin({ version, more: [['package/x', '']] }) },
      ])
      return start()
    }
    await write({ acme: mirror('1.0.0') })
    await lockHere(file())
    expect(await swap('1.0.0')).toMatch(
      /other-bytes: .* \| run: muster plugins update acme, which looks for a version that would do; or /,
    )
    await writeMirror(join(folder, 'm'), [{ package: '@acme/plugin', version: '1.0.0', tarball }])
    await write({ acme: mirror('1.1.0') })
    await lockHere(file())
    expect(await swap('1.1.0')).toMatch(/other-bytes: .* \| run: muster plugins rollback acme, back to 1\.0\.0; or /)
    // Beside what runs there is nothing to go back to.
    const { problems } = await discover(file(), { stores: [store], shown: 'plugins.json', beside: true })
    expect(problems).toMatchObject([{ code: 'other-bytes', fix: expect.not.stringContaining('rollback') as string }])
  })

  it('of tarballs, the version before that lies in another file; one that was overwritten is nowhere', async () => {
    const lockedIn = async (name: string, version: string): Promise<void> => {
      await writeFile(join(folder, name), await packPlugin({ version }))
      await write({ acme: { ...entry({ tarball: name }), version } })
      await lockHere(file())
    }
    const spoiled = async (name: string): Promise<string> => {
      await rm(store, { recursive: true })
      await writeFile(join(folder, name), await packPlugin({ version: '1.1.0', more: [['package/x', '']] }))
      return start()
    }
    await lockedIn('a.tgz', '1.0.0')
    await lockedIn('b.tgz', '1.1.0')
    expect(await spoiled('b.tgz')).toMatch(/other-bytes: .* \| run: muster plugins rollback acme, back to 1\.0\.0; or /)
    await rm(join(folder, 'plugins.lock.json'))
    await lockedIn('a.tgz', '1.0.0')
    await lockedIn('a.tgz', '1.1.0')
    expect(await spoiled('a.tgz')).toMatch(/other-bytes: .* \| run: muster plugins lock, /)
  })

  it('tells what is wrong with the lock itself, once', async () => {
    const now = await put('a.tgz')
    await write({ a: entry(now), b: entry(now) })
    await lockHere(file())
    const lock = join(folder, 'plugins.lock.json')
    await writeFile(lock, (await readFile(lock, 'utf8')).replaceAll('"size"', '"sise"'))
    const told = await start()
    expect(told).toMatch(
      /plugins\.lock\.json:\d+:\d+ bad-lock: unknown key 'sise'.* \| run: mv plugins\.lock\.json plugins\.lock\.json\.old && muster plugins lock, which/,
    )
    expect(told).not.toContain('plugins.json:')
  })
})
