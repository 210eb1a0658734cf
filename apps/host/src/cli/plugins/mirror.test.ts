/** What `muster plugins verify` finds by a mirror alone, before anything of it is rolled out. */
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { tempFolder, type TempFolder } from '@muster/test/systems/temp'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { sha512Of, treeOf } from '@muster/packed/digest'
import { filesOf } from '../../plugins/archive.ts'
import { startTestRegistry, type TestRegistry } from '../../plugins/testing/npm-registry.ts'
import { packPlugin } from '../../plugins/testing/pack.ts'
import { rightSigner, startTestSigstore } from '../../plugins/testing/sigstore.ts'
import { updatePlugins } from './add.ts'
import { mirrorPlugins, verifyPlugins } from './mirror.ts'
import { showPlugin } from './show.ts'
import { openSite, type Site } from './site.ts'

let folder: TempFolder
let registry: TestRegistry
let told: string
beforeEach(async () => {
  folder = await tempFolder('verify')
  registry = await startTestRegistry()
  told = ''
  // That of a daemon, which keeps what was unpacked.
  await mkdir(at('data'))
  for (const stream of [process.stdout, process.stderr])
    vi.spyOn(stream, 'write').mockImplementation((text) => {
      told += String(text)
      return true
    })
  for (const version of ['1.0.0', '1.1.0']) {
    registry.publish('@acme/plugin', version, { tarball: await packPlugin({ version }), published: '2026-01-01T00:00:00.000Z' })
    const plugins = { cloud: { package: '@acme/plugin', version: '^1.0.0' } }
    await writeFile(at('plugins.json'), JSON.stringify({ registries: { default: { url: registry.url } }, plugins }))
    await withSite((site) => updatePlugins(site, [], { yes: true, waive: 'a test' }))
  }
  await withSite((site) => mirrorPlugins(site, { out: at('mirror') }))
})
afterEach(async () => {
  vi.restoreAllMocks()
  await registry[Symbol.asyncDispose]()
  await folder.remove()
})

const at = (path: string): string => join(folder.path, path)

async function withSite<T>(work: (site: Site) => Promise<T>): Promise<T> {
  await using site = await openSite({ manifest: at('plugins.json'), data: at('data') })
  return await work(site)
}

test('a manifest that is not there, and one of which nothing is locked, are not taken for right', async () => {
  const verified = async (manifest: string, how: { frozen?: true } = {}): Promise<number> => {
    await using site = await openSite({ manifest, data: at('data') })
    return await verifyPlugins(site, how)
  }
  for (const how of [{}, { frozen: true } as const])
    await expect(verified(at('slip.json'), how)).rejects.toMatchObject({ message: `there is no ${at('slip.json')}` })
  await using slip = await openSite({ manifest: at('slip.json'), data: at('data') })
  await expect(mirrorPlugins(slip, { out: at('other') })).rejects.toMatchObject({ hint: expect.stringContaining('--manifest') })
  await rm(at('plugins.lock.json'))
  await expect(verified(at('plugins.json'))).rejects.toMatchObject({
    message: `nothing of ${at('plugins.json')} is locked`,
    hint: 'Run: muster plugins lock',
  })
  await writeFile(at('plugins.json'), '{ "plugins": {} }')
  expect(await verified(at('plugins.json'))).toBe(0)
})

async function verified(): Promise<string> {
  told = ''
  const code = await withSite((site) => verifyPlugins(site, { mirror: at('mirror'), frozen: true }))
  return `${code} ${told}`
}

async function editLock(change: (cloud: { tree: string; permissions: { childProcess: boolean } }) => void): Promise<void> {
  const lock = JSON.parse(await readFile(at('plugins.lock.json'), 'utf8')) as { plugins: { cloud: Parameters<typeof change>[0] } }
  change(lock.plugins.cloud)
  await writeFile(at('plugins.lock.json'), JSON.stringify(lock))
}

test('all that the lock holds is looked at, the version before too', async () => {
  expect(await verified()).toMatch(/^0 cloud: @acme\/plugin@1\.1\.0: as locked\ncloud: @acme\/plugin@1\.0\.0: as locked\n/)
  await rm(at('mirror/@acme/plugin/1.0.0.tgz'))
  expect(await verified()).toMatch(
    /^1 .*1\.1\.0: as locked\n.*1\.0\.0: no-package: the mirror '.*' has no @acme\/plugin@1\.0\.0\n/,
  )
})

test('what the lock says of the conformance report is compared with the report itself', async () => {
  const claim = {
    result: 'pass',
    contract: '1.0',
    suite: '@muster/core@0.1.0',
    at: '2026-01-01T00:00:00.000Z',
    passed: 41,
    failed: 0,
    notDeclared: 0,
  }
  await editLock((cloud) => Object.assign(cloud, { conformance: claim }))
  expect(await verified()).toMatch(
    /^1 .*1\.1\.0: other-report: .* than that says: there is none\n  fix: run: muster plugins update cloud, /,
  )
  told = ''
  await withSite((site) =>
    showPlugin(site, 'cloud', { client: () => Promise.reject(Object.assign(new Error('none runs'), { code: 'no-daemon' })) }),
  )
  expect(told).toMatch(/report +other-report: /)
  await withSite((site) => updatePlugins(site, ['cloud'], { yes: true }))
  expect(await verified()).toMatch(/^0 /)
})

test('with its digest, where there is one', async () => {
  const files = await filesOf(await packPlugin({ version: '1.2.0' }))
  const report = JSON.stringify({
    ...{ schema: 1, result: 'pass', startedAt: '2026-01-01T00:00:00.000Z' },
    artifact: { package: '@acme/plugin', version: '1.2.0', tree: treeOf(files) },
    suite: { package: '@muster/core', version: '0.1.0', contract: '1.0' },
    tests: [{ name: 'one', outcome: 'pass' }],
  })
  const tarball = await packPlugin({ version: '1.2.0', more: [['package/conformance-report.json', report]] })
  registry.publish('@acme/plugin', '1.2.0', { tarball, published: '2026-01-01T00:00:00.000Z' })
  await withSite((site) => updatePlugins(site, [], { yes: true, waive: 'a test' }))
  const show = async (): Promise<string> => {
    told = ''
    await withSite((site) =>
      showPlugin(site, 'cloud', { client: () => Promise.reject(Object.assign(new Error('none runs'), { code: 'no-daemon' })) }),
    )
    return told
  }
  expect(await show()).toContain(`${sha512Of(Buffer.from(report))}, as packed`)
  await editLock((cloud) =>
    Object.assign((cloud as unknown as { conformance: object }).conformance, { report: `sha512-${'A'.repeat(86)}==` }),
  )
  expect(await show()).toMatch(/report +other-report: /)
  await withSite((site) => mirrorPlugins(site, { out: at('mirror') }))
  expect(await verified()).toMatch(/^1 .*1\.2\.0: other-report: /)
  // One that was locked before the digest was kept.
  await editLock((cloud) => delete (cloud as unknown as { conformance: { report?: string } }).conformance.report)
  expect(await verified()).toMatch(/^0 /)
})

test('a lock that would be refused by a start is refused here: its permissions, and the digest of its files', async () => {
  await editLock(({ permissions }) => {
    permissions.childProcess = true
  })
  expect(await verified()).toMatch(/^1 .*1\.1\.0: other-permissions: the lock of 'cloud' accepts other permissions/)
  // Where nothing is unpacked that would be compared first.
  await rm(at('data/plugins'), { recursive: true })
  await editLock((cloud) => {
    cloud.tree = `sha512-${'A'.repeat(86)}==`
  })
  expect(await verified()).toMatch(/^1 .*1\.1\.0: other-files: the files in the locked bytes/)
})

test('what is locked is signed by who signed it then, also where no rule says so any more; a rule for what nobody signed is missed', async () => {
  const [tarball, sigstore] = [await packPlugin({ version: '1.2.0' }), await startTestSigstore()]
  const attestations = await sigstore.attest({ package: '@acme/plugin', version: '1.2.0', tarball })
  registry.publish('@acme/plugin', '1.2.0', { tarball, published: '2026-01-01T00:00:00.000Z', attestations })
  await writeFile(at('root.json'), JSON.stringify(sigstore.root))
  const plugins = { cloud: { package: '@acme/plugin', version: '^1.0.0' } }
  const ruled = (rules: object[]): Promise<void> =>
    writeFile(
      at('plugins.json'),
      JSON.stringify({ registries: { default: { url: registry.url } }, trust: { root: 'root.json', rules }, plugins }),
    )
  const rule = { packages: ['@acme/*'], ...rightSigner }
  await ruled([rule])
  expect(await verified()).toMatch(/cloud: @acme\/plugin@\^1\.0\.0: lock-stale: a rule of trust asks for another signer/)
  await withSite((site) => updatePlugins(site, [], { yes: true }))
  await withSite((site) => mirrorPlugins(site, { out: at('mirror') }))
  expect(await verified()).toMatch(/^0 /)
  await ruled([])
  expect(await verified()).toMatch(/^0 /)
  await writeFile(at('mirror/@acme/plugin/1.2.0.tgz.attestations.json'), JSON.stringify({ attestations: [] }))
  expect(await verified()).toMatch(/^1 cloud: @acme\/plugin@1\.2\.0: no-attestation: /)
  await editLock((cloud) =>
    Object.assign((cloud as unknown as { signer: object }).signer, { repository: 'https://git.example/mallory' }),
  )
  await withSite((site) => mirrorPlugins(site, { out: at('mirror') }))
  expect(await verified()).toMatch(/^1 cloud: @acme\/plugin@1\.2\.0: other-repository: /)
})

test('a lock that no start would take is none that fits: of another version than its bytes, or of two that clash', async () => {
  await editLock((cloud) => Object.assign(cloud, { package: '@acme/plugin', version: '1.2.0' }))
  const file = at('mirror/@acme/plugin/1.2.0.tgz')
  await writeFile(file, await readFile(at('mirror/@acme/plugin/1.1.0.tgz')))
  expect(await verified()).toMatch(
    /^1 cloud: @acme\/plugin@1\.2\.0: other-version: the locked bytes of .* hold @acme\/plugin@1\.1\.0\n/,
  )
  await editLock((cloud) => Object.assign(cloud, { version: '1.1.0' }))
  const files = [at('plugins.json'), at('plugins.lock.json')]
  for (const path of files) {
    const all = JSON.parse(await readFile(path, 'utf8')) as { plugins: { cloud: { previous?: object } } }
    const { cloud } = all.plugins
    // As a merge of two locks has it.
    const next = { ...cloud, ...cloud.previous, ...('previous' in cloud ? { version: '1.1.0' } : {}), previous: undefined }
    await writeFile(path, JSON.stringify({ ...all, plugins: { cloud, next } }))
  }
  expect(await verified()).toMatch(/next: @acme\/plugin@1\.1\.0: clash: the aliases 'cloud' and 'next' clash/)
})
