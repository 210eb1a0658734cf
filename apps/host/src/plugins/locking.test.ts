import { chmod, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { treeOf } from '@muster/packed/digest'
import { describe, expect, it } from 'vitest'
import { filesOf } from './archive.ts'
import { findContent, treeOfFolder } from './content.ts'
import { lockedFolders } from './lock.ts'
import { type LockingSite, old, openSite } from './testing/locking-site.ts'
import { plainManifest } from './testing/manifest.ts'
import { packPlugin } from './testing/pack.ts'

const acme = { package: '@acme/plugin', version: '^1.0.0' }

describe('a lock', () => {
  it('has the exact version, its bytes and what was accepted; a start needs no registry then', async () => {
    await using site = await openSite()
    await site.publish('1.0.0')
    const tarball = await site.publish('1.1.0', { manifest: { permissions: permissions({ net: ['api.acme.test:443'] }) } })
    const { lock, changes } = await site.lock({ acme })
    expect(lock.plugins['acme']).toMatchObject({
      package: '@acme/plugin',
      version: '1.1.0',
      source: { registry: 'default' },
      size: tarball.length,
      sha512: expect.stringMatching(/^sha512-/),
      tree: expect.stringMatching(/^sha512-/),
      published: old,
      waiver: { by: 'tester', reason: 'a test' },
      permissions: { net: ['api.acme.test:443'] },
    })
    expect(changes).toMatchObject([{ alias: 'acme', kind: 'added', after: { version: '1.1.0' } }])
    expect(changes[0]?.differences).toContainEqual({ path: 'permissions.net', kind: 'added', after: 'api.acme.test:443' })
    site.registry.unpublish('@acme/plugin')
    const before = site.registry.asked.length
    expect(await site.start()).toBe('')
    expect(site.registry.asked.length).toBe(before)
  })

  it('stays as it is while it fits, also when there is something newer; update takes that, and keeps the one before', async () => {
    await using site = await openSite()
    await site.publish('1.0.0')
    const first = await site.lock({ acme })
    await site.publish('1.1.0')
    const same = await site.lock({ acme })
    expect([same.lock, same.changes]).toEqual([first.lock, []])
    const updated = await site.lock({ acme }, { update: ['acme'] })
    expect(updated.lock.plugins['acme']).toMatchObject({ version: '1.1.0', previous: { version: '1.0.0' } })
    expect(updated.changes).toMatchObject([{ kind: 'changed', before: { version: '1.0.0' }, after: { version: '1.1.0' } }])
    expect((await lockedFolders(join(site.path, 'plugins.json'))).sort()).toEqual(
      (await readdir(join(site.path, 'store'))).filter((name) => name !== '.packed').sort(),
    )
    site.registry.unpublish('@acme/plugin')
    const back = await site.lock({ acme: { ...acme, version: '1.0.0' } }, { reason: null })
    expect([back.told, back.lock.plugins['acme']?.sha512]).toEqual(['', first.lock.plugins['acme']?.sha512])
    expect(back.lock.plugins['acme']).toMatchObject({ version: '1.0.0', previous: { version: '1.1.0' } })
  })

  it.each<[string, { report?: object }, object]>([
    [
      'of all tests',
      {},
      {
        result: 'pass',
        passed: 2,
        failed: 0,
        notDeclared: 1,
        suite: '@muster/core@0.1.0',
        contract: '1.0',
        report: expect.stringMatching(/^sha512-/),
      },
    ],
    ['of other files', { report: { artifact: { package: '@acme/plugin', version: '1.0.0', tree: 'x' } } }, { result: 'unfit' }],
  ])('has what a report %s says that is packed with it', async (_name, { report = {} }, wanted) => {
    await using site = await openSite()
    const files = await filesOf(await packPlugin({ version: '1.0.0' }))
    const text = JSON.stringify({
      schema: 1,
      result: 'pass',
      artifact: { package: '@acme/plugin', version: '1.0.0', tree: treeOf(files) },
      suite: { package: '@muster/core', version: '0.1.0', contract: '1.0', tests: 3 },
      startedAt: old,
      tests: ['pass', 'pass', 'not declared'].map((outcome, index) => ({ name: `test ${index}`, outcome })),
      ...report,
    })
    await site.publish('1.0.0', { more: [['package/conformance-report.json', text]] })
    const { lock, changes } = await site.lock({ acme })
    expect(lock.plugins['acme']?.conformance).toMatchObject(wanted)
    expect(changes[0]?.after?.conformance).toEqual(lock.plugins['acme']?.conformance)
    // A lock that holds it is one that a start reads.
    expect(await site.start()).toBe('')
  })

  it('loses what the registry manifest does not name any more', async () => {
    await using site = await openSite()
    await site.publish('1.0.0')
    await site.lock({ acme, other: acme })
    const { lock, changes } = await site.lock({ other: acme })
    expect(Object.keys(lock.plugins)).toEqual(['other'])
    expect(changes).toMatchObject([{ alias: 'acme', kind: 'removed', before: { version: '1.0.0' }, compared: true }])
  })

  it('never has a plugin in a folder', async () => {
    await using site = await openSite()
    const { lock, problems } = await site.lock({ dev: { package: 'x', version: '1.0.0', source: { folder: '.' } } })
    expect([lock, problems]).toEqual([{ plugins: {} }, []])
  })

  it('two aliases may be two versions of one package', async () => {
    await using site = await openSite()
    await site.publish('1.0.0')
    await site.publish('2.0.0')
    const { lock } = await site.lock({ one: acme, two: { ...acme, version: '^2.0.0' } })
    expect(Object.values(lock.plugins).map((one) => one.version)).toEqual(['1.0.0', '2.0.0'])
    expect(await site.start()).toBe('')
  })

  it('says why nobody should use a version any more, where there is no other', async () => {
    await using site = await openSite()
    const tarball = await packPlugin({ version: '1.0.0' })
    site.registry.publish('@acme/plugin', '1.0.0', { tarball, published: old, deprecated: 'use another' })
    expect((await site.lock({ acme })).changes).toMatchObject([{ kind: 'added', deprecated: 'use another', compared: true }])
    await site.publish('1.1.0')
    const { changes } = await site.lock({ acme }, { update: ['acme'] })
    expect(changes).toMatchObject([{ kind: 'changed', after: { version: '1.1.0' }, differences: [], compared: true }])
    expect(changes[0]).not.toHaveProperty('deprecated')
    // The same bytes are no change, whoever asks.
    expect((await site.lock({ acme }, { update: ['acme'] })).changes).toEqual([])
  })

  it('of a tarball at hand follows its bytes, whoever asks or not', async () => {
    await using site = await openSite()
    const own = { ...acme, source: { tarball: 'a.tgz' } }
    await writeFile(join(site.path, 'a.tgz'), await packPlugin({ version: '1.0.0' }))
    const first = await site.lock({ own })
    expect((await site.lock({ own })).changes).toEqual([])
    await writeFile(join(site.path, 'a.tgz'), await packPlugin({ version: '1.0.0', more: [['package/x', '']] }))
    const second = await site.lock({ own })
    expect([second.told, second.changes.map(({ kind }) => kind)]).toEqual(['', ['changed']])
    expect(second.lock.plugins['own']?.previous?.sha512).toBe(first.lock.plugins['own']?.sha512)
  })

  it('of another package under the same name begins anew: nothing of the one before is one to go back to', async () => {
    await using site = await openSite()
    await site.publish('1.0.0')
    await site.publish('1.0.0', { name: '@acme/other' })
    await site.lock({ acme })
    const { lock, changes } = await site.lock({ acme: { ...acme, package: '@acme/other' } })
    expect(lock.plugins['acme']).not.toHaveProperty('previous')
    expect(changes).toMatchObject([{ kind: 'changed', package: '@acme/other', before: { version: '1.0.0' }, compared: true }])
    // As of one that is new, all that it asks for is told.
    expect(changes[0]?.differences.length).toBeGreaterThan(0)
  })

  it('tells where nothing could be compared: the bytes before are nowhere any more', async () => {
    await using site = await openSite()
    await site.publish('1.0.0')
    await site.lock({ acme })
    site.registry.unpublish('@acme/plugin')
    await site.publish('1.1.0')
    const { changes } = await site.lock({ acme }, { update: ['acme'], stores: [join(site.path, 'elsewhere')] })
    expect(changes).toMatchObject([{ kind: 'changed', compared: false }])
    expect(changes[0]?.differences.length).toBeGreaterThan(0)
  })

  it('goes back only to the very version that is asked for, from where it came, as far as it is trusted', async () => {
    await using site = await openSite()
    await site.publish('1.0.0')
    await site.lock({ acme })
    await site.publish('1.1.0')
    await site.lock({ acme }, { update: ['acme'] })
    // A range is no version: the newest of it is asked for, and is what is locked.
    expect((await site.lock({ acme: { ...acme, version: '~1.1.0' } })).changes).toEqual([])
    site.registry.unpublish('@acme/plugin')
    expect((await site.lock({ acme: { ...acme, version: '~1.0.0' } })).told).toMatch(/no-package/)
    const mirror = { ...acme, version: '1.0.0', source: { mirror: 'none' } }
    expect((await site.lock({ acme: mirror })).told).toMatch(/no-source/)
    const rule = { packages: ['@acme/*'], issuer: 'https://i.example', repository: 'https://r.example/a', workflow: 'w.yml' }
    const back = { acme: { ...acme, version: '1.0.0' } }
    expect((await site.lock(back, { file: { trust: { rules: [rule] } } })).told).toMatch(
      /lock-stale: a rule of trust asks.* \| run: \S+ plugins\.json, and take that rule out of trust/,
    )
    const { told, changes } = await site.lock(back)
    expect([told, changes.map(({ kind, compared }) => [kind, compared])]).toEqual(['', [['changed', true]]])
  })

  it('does not go back to what this host cannot run, though its bytes are here', async () => {
    await using site = await openSite()
    await site.publish('1.0.0')
    await site.lock({ acme })
    await site.publish('1.1.0')
    await site.lock({ acme }, { update: ['acme'] })
    // As if it had been locked by another host.
    const file = join(site.path, 'plugins.lock.json')
    const lock = JSON.parse(await readFile(file, 'utf8')) as { plugins: { acme: { previous: { sha512: string; tree: string } } } }
    const { previous } = lock.plugins.acme
    const root = (await findContent(previous.sha512, [join(site.path, 'store')])) ?? ''
    const manifest = join(root, 'muster-plugin.json')
    const text = (await readFile(manifest, 'utf8')).replace('"1.0"', '"2.0"')
    await chmod(manifest, 0o600)
    await writeFile(manifest, text)
    previous.tree = await treeOfFolder(root)
    await writeFile(file, JSON.stringify(lock))
    const { told, changes } = await site.lock({ acme: { ...acme, version: '1.0.0' } })
    expect([told, changes]).toEqual([expect.stringMatching(/it speaks contract 2\.0, this host 1\.0/), []])
  })

  it('shows what a new version asks for and offers that the one before did not', async () => {
    await using site = await openSite()
    await site.publish('1.0.0', { manifest: { config: { type: 'object', properties: { url: { type: 'string' }, old: {} } } } })
    await site.lock({ acme })
    await site.publish('1.1.0', {
      manifest: {
        interpreter: 'python3',
        permissions: permissions({ unix: ['/run/x.sock'], childProcess: true }),
        secrets: ['token'],
        config: { type: 'object', properties: { url: { type: 'string', maxLength: 9 }, tls: {} } },
      },
    })
    const [change] = (await site.lock({ acme }, { update: ['acme'] })).changes
    expect(change?.differences.map(({ path, kind }) => `${kind} ${path}`)).toEqual([
      'added interpreter',
      'added permissions.unix',
      'changed permissions.childProcess',
      'added secrets',
      'changed config.url',
      'removed config.old',
      'added config.tls',
    ])
  })
})

describe('a lock is refused', () => {
  it('of what nobody vouches for', async () => {
    await using site = await openSite()
    await site.publish('1.0.0')
    expect((await site.lock({ acme }, { reason: null })).told).toMatch(
      /no-trust: nobody vouches for @acme\/plugin@1\.0\.0 \| .*--waive/,
    )
  })

  it('when a published version has other bytes than it had', async () => {
    await using site = await openSite()
    await site.publish('1.0.0')
    await site.lock({ acme })
    site.registry.tamper('@acme/plugin', '1.0.0', await packPlugin({ version: '1.0.0', more: [['package/evil', 'x']] }))
    expect((await site.lock({ acme }, { update: ['acme'] })).told).toMatch(
      /other-bytes: @acme\/plugin@1\.0\.0 has other bytes now: .*\| run: muster plugins remove acme, .*ask its publisher/,
    )
  })

  it('when the version before has other bytes now, and those that it had are not here any more', async () => {
    await using site = await openSite()
    await site.publish('1.0.0')
    await site.lock({ acme })
    site.registry.tamper('@acme/plugin', '1.0.0', await packPlugin({ version: '1.0.0', more: [['package/evil', 'x']] }))
    await site.publish('1.1.0')
    await site.lock({ acme }, { update: ['acme'] })
    const elsewhere = join(site.path, 'elsewhere')
    expect((await site.lock({ acme: { ...acme, version: '1.0.0' } }, { stores: [elsewhere] })).told).toMatch(/other-bytes/)
  })

  it('when what the registry serves is not the package that was asked for', async () => {
    await using site = await openSite()
    site.registry.publish('@acme/plugin', '1.0.0', {
      tarball: await packPlugin({ name: '@evil/plugin', version: '1.0.0' }),
      published: old,
    })
    expect((await site.lock({ acme })).told).toMatch(/the source holds '@evil\/plugin', not '@acme\/plugin'/)
  })

  it('while a version is too new, and says from when on it counts', async () => {
    await using site = await openSite()
    await site.publish('1.0.0', {}, '2026-01-09T23:00:00.000Z')
    expect((await site.lock({ acme })).told).toMatch(/too-new: .* counts from 2026-01-10T23:00:00.000Z on/)
    expect((await site.lock({ acme }, { file: { policy: { minReleaseAge: '30m' } } })).told).toBe('')
  })

  it('where it accepts other permissions than its bytes ask for; update shows what differs, and writes it anew', async () => {
    await using site = await openSite()
    await site.publish('1.0.0')
    await site.lock({ acme })
    await site.publish('1.1.0', { manifest: { permissions: permissions({ net: ['api.acme.test:443'] }) } })
    const { lock } = await site.lock({ acme }, { update: ['acme'] })
    const file = join(site.path, 'plugins.lock.json')
    await writeFile(file, (await readFile(file, 'utf8')).replace('"api.acme.test:443"', ''))
    expect(await site.start()).toMatch(/^\d+ other-permissions: .* \| run: muster plugins update acme, /)
    const again = await site.lock({ acme }, { update: ['acme'], reason: null })
    expect(again.changes[0]?.differences).toEqual([{ path: 'permissions.net', kind: 'added', after: 'api.acme.test:443' }])
    expect([again.lock, again.told, await site.start()]).toEqual([lock, '', ''])
  })

  it('for a version that is no good, with the nearest that works: each is tried as a whole', async () => {
    await using site = await openSite()
    await site.publish('1.0.0')
    await site.publish('1.1.0', { manifest: { entry: 'dist/none.js' } })
    await site.publish('1.2.0', { more: [['package/x.node', '']] })
    const { told } = await site.lock({ acme })
    expect(told).toMatch(/^\d+ native: .* \| run: muster plugins add @acme\/plugin@1\.0\.0 --as acme; or /)
    expect((await site.lock({ acme: { ...acme, version: '1.0.0' } })).told).toBe('')
  })

  it('for a version that is no good, with those that would be no better', async () => {
    await using site = await openSite()
    for (const version of ['1.0.0', '1.1.0']) await site.publish(version, { pkg: { gypfile: true } })
    expect((await site.lock({ acme })).told).toMatch(/^\d+ native: .* \| run: npx tsup .*; 1\.0\.0 would not do either$/)
  })

  it.each<[string, (site: LockingSite) => void, RegExp]>([
    ['has no such package', ({ registry }) => registry.unpublish('@acme/plugin'), /no-package: .* has no package @acme\/plugin/],
    [
      'wants a token',
      ({ registry }) => registry.demand('good'),
      /unauthorized: .*401 \| run: curl --head http:\S+\/@acme%2Fplugin, .*see token in registries/,
    ],
    ['is ill', ({ registry }) => registry.fail(400), /unreachable: .*400/],
  ])('when the registry %s', async (_name, spoil, wanted) => {
    await using site = await openSite()
    await site.publish('1.0.0')
    spoil(site)
    expect((await site.lock({ acme })).told).toMatch(wanted)
  })

  it('for one that asks for a larger heap than its host gives, with the version that does not, and for what is locked so', async () => {
    await using site = await openSite()
    const { limits } = plainManifest('x')
    await site.publish('1.0.0')
    await site.publish('1.1.0', { manifest: { limits: { ...limits, heapMb: 65 } } })
    const refused = /^\d+ over-limit: 'acme' asks for a heap of 65 MiB, and the configuration gives at most 64 \| /
    const [gives, other] = [{ maxHeapMb: 64 }, { package: '@acme/plugin', version: '1.0.0' }]
    expect((await site.lock({ acme }, gives)).told).toMatch(
      new RegExp(`${refused.source}run: muster plugins add @acme/plugin@1\\.0\\.0 --as acme; or .*host\\.isolation\\.maxHeapMb`),
    )
    expect((await site.lock({ acme: other }, gives)).told).toBe('')
    expect((await site.lock({ acme }, { maxHeapMb: 65, update: ['acme'] })).told).toBe('')
    // Nothing is asked of it: its host has become smaller, or another one.
    expect((await site.lock({ acme }, gives)).told).toMatch(refused)
    expect((await site.lock({ acme })).told).toBe('')
    // Nor may it be gone back to.
    expect((await site.lock({ acme: other }, gives)).told).toBe('')
    expect((await site.lock({ acme: { ...acme, version: '1.1.0' } }, gives)).told).toMatch(refused)
  })

  it('for one that asks for more time or calls than any host gives, as at a start', async () => {
    await using site = await openSite()
    const { limits } = plainManifest('x')
    await site.publish('1.0.0', { manifest: { limits: { ...limits, startMs: 600_001, inFlight: 4097 } } })
    const { told } = await site.lock({ acme })
    expect(told.split('\n').filter((line) => !line.includes("'limits."))).toEqual([])
    expect(told).toMatch(/ bad-manifest: .*'limits\.startMs': Too big: expected number to be <=600000 \| run: /)
    expect(told).toMatch(/ bad-manifest: .*'limits\.inFlight': Too big: expected number to be <=4096 \| run: /)
  })

  it('for each plugin by itself: the others are looked at too', async () => {
    await using site = await openSite()
    await site.publish('1.0.0')
    const { told } = await site.lock({ acme: { ...acme, version: '^9.0.0' }, none: { package: 'none', version: '*' } })
    expect(told).toMatch(/no-version[^]*no-package/)
  })
})

function permissions(over: object): object {
  return { net: [], unix: [], fsRead: [], fsWrite: [], env: [], childProcess: false, ...over }
}
