/** Each refusal, provoked: what it says and what it tells to do is a page of the reference. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { tempFolder } from '@muster/test/systems/temp'
import { expect, test } from 'vitest'
import { addPlugin } from '../cli/plugins/add.ts'
import { demandKept } from '../cli/plugins/kept.ts'
import { openSite as openDeployment } from '../cli/plugins/site.ts'
import { sha512Of } from '@muster/packed/digest'
import { checkReport, demandHeap } from './accepted.ts'
import { alone } from './alone.ts'
import { addContent, treeOfFolder, verifyTree } from './content.ts'
import { checkBytes } from './fetch.ts'
import { openGround } from './ground.ts'
import { demandLevel, isolationOf } from './isolation.ts'
import { type Lock, loadLock, lockedFor, type LockedPlugin, replaceFile } from './lock.ts'
import { npmOrigin } from './npm.ts'
import { openOrigin } from './origins.ts'
import { expectSigner, readTrustedRoot, verifyProvenance } from './provenance.ts'
import { type PluginRefusal, type RefusalCode, refusals } from './refusal.ts'
import type { Problem } from '../config/problem.ts'
import { openSqliteStore } from '../store/open.ts'
import { openPackage } from './package.ts'
import { chooseVersion } from './resolve.ts'
import { startTestRegistry } from './testing/npm-registry.ts'
import { plainManifest } from './testing/manifest.ts'
import { packPlugin, type Packed } from './testing/pack.ts'
import { type About, rightSigner, startTestSigstore } from './testing/sigstore.ts'
import { trustOf } from './trust.ts'

const committed = join(import.meta.dirname, '../../../../docs/reference/refusals.md')
const name = '@acme/plugin'
const wanted = { alias: 'cloud', package: name, range: '^2.0.0' }
const policy = { minReleaseAgeMs: 86_400_000, exempt: [] }
const now = Date.parse('2026-01-10T00:00:00Z')
const rule = { policy, now, aged: true }
const published = '2026-01-09T23:00:00.000Z'

test('every refusal says what is, and what to do (write it anew: `pnpm vitest run apps/host/src/plugins/refusals.test.ts -u`)', async () => {
  await using temp = await tempFolder('refusals')
  await using registry = await startTestRegistry()
  const sigstore = await startTestSigstore()
  const tarball = await packPlugin({ version: '2.0.0' })
  registry.publish(name, '2.0.0', { tarball, published })
  const at = (path: string): string => join(temp.path, path)
  const attested = { package: name, version: '2.0.0', sha512: sha512Of(tarball) }
  const locked: LockedPlugin = {
    ...{ package: name, version: '2.0.0', source: { registry: 'default' }, sha512: attested.sha512, size: tarball.length },
    tree: '',
    waiver: { by: 'ann', at: published, reason: 'read it' },
    permissions: { net: [], unix: [], fsRead: [], fsWrite: [], env: [], childProcess: false },
  }
  const entry = { alias: 'cloud', package: name, version: '^2.0.0', source: locked.source }
  const ground = await openGround({ data: temp.path, users: { from: 60_578, to: 60_599 }, root: false })
  const none: Lock = { plugins: {} }
  const from = { registry: { base: temp.path, registries: { default: { url: registry.url } } } }
  const npm = (): ReturnType<typeof npmOrigin> => npmOrigin({ url: registry.url }, undefined)
  const forged = async (about: Partial<About>): Promise<void> => {
    const attestations = await sigstore.attest({ ...attested, tarball, ...about })
    const found = verifyProvenance(attested, { attestations, root: readTrustedRoot(sigstore.root) })
    expectSigner(`${name}@2.0.0`, { found, wanted: rightSigner })
  }
  const bundle = (
    bend: (entry: Record<string, { hashes?: string[] }>, all: { tlogEntries: unknown[] }) => unknown,
  ): Partial<About> => ({
    forged: {
      bundle: (one) => {
        const all = one.verificationMaterial as unknown as { tlogEntries: Record<string, { hashes?: string[] }>[] }
        bend(all.tlogEntries[0] ?? {}, all)
        return one
      },
    },
  })
  /** What is wrong with a package that holds this. */
  const problemsOf =
    (packed: Packed, over: object = {}) =>
    async (): Promise<Problem[]> => {
      const root = await addContent(await packPlugin({ version: '2.0.0', ...packed }), at('packages'))
      const asked = { ...entry, ...over }
      const problem = (_path: unknown, text: { reason: string; fix: string }): Problem => ({
        file: 'plugins.json',
        line: 1,
        column: 1,
        ...text,
      })
      const opened = await openPackage(asked, { root, registry: { problem }, locked: { version: '2.0.0', tree: '' } })
      return opened.problems
    }
  const faults = {
    'bad-package': problemsOf({ pkg: { name: 1 } }),
    'no-manifest': problemsOf({ pkg: { muster: undefined } }),
    'bad-manifest': problemsOf({ manifest: { secrets: undefined } }),
    'other-manifest': problemsOf({ manifest: { version: '1.0.0' } }),
    'other-contract': problemsOf({ manifest: { contract: ['2.0'] } }),
    'no-entry': problemsOf({ manifest: { entry: 'dist/none.js' } }),
    outside: problemsOf({ manifest: { entry: '../x.js' } }),
    dependencies: problemsOf({ pkg: { dependencies: { left: '1.0.0' } } }),
    native: problemsOf({ more: [['package/build/x.node', '']] }),
    'other-package': problemsOf({ name: '@acme/other' }),
    'other-version': problemsOf({ version: '2.0.1' }),
  }
  const provoke: Record<RefusalCode, () => unknown> = {
    'no-package': async () => (await npm()).versions('@acme/none'),
    'no-version': () => chooseVersion({ ...wanted, range: '^3.0.0' }, [{ version: '2.0.0' }, { version: '4.1.0' }], rule),
    'too-new': () => chooseVersion(wanted, [{ version: '2.0.0', published }], rule),
    'no-release-time': () => chooseVersion(wanted, [{ version: '2.0.0' }], rule),
    unreachable: async () => {
      registry.fail(400)
      return (await npm()).versions(name)
    },
    unauthorized: async () => {
      registry.fail(401)
      return (await npm()).versions(name)
    },
    'no-source': async () => (await openOrigin({ tarball: 'none.tgz' }, from)).versions(name),
    'not-locked': () => lockedFor(entry, none),
    'lock-stale': () => lockedFor({ ...entry, version: '^3.0.0' }, { plugins: { cloud: locked } }),
    'bad-lock': async () => {
      await writeFile(at('bad.lock.json'), '{ "schema": 2, "plugins": {} }')
      return (await loadLock(at('bad.lock.json'), 'plugins.lock.json')).problems
    },
    ...faults,
    'other-bytes': () => checkBytes(locked, Buffer.from('other')),
    'other-files': async () => {
      const root = await addContent(tarball, at('store'))
      const tree = await treeOfFolder(root)
      await writeFile(join(root, 'more.js'), '')
      await verifyTree(root, tree)
    },
    'other-permissions': async () => {
      const root = await addContent(tarball, at('other'))
      const accepted = { ...locked, permissions: { ...locked.permissions, childProcess: true } }
      const problem = (): never => {
        throw new Error('nothing is wrong with it')
      }
      await openPackage(entry, { root, registry: { problem }, locked: accepted })
    },
    'other-report': () =>
      checkReport(entry, { ...locked, conformance: { result: 'unfit', reason: 'it is of other files than these' } }, new Map()),
    'bad-archive': async () =>
      addContent(await packPlugin({ more: [[{ name: 'package/l', type: 'symlink', linkname: '/x' }]] }), at('bad')),
    'no-trust': () => trustOf({ ...attested, attestations: () => Promise.resolve(undefined) }, { rules: [] }),
    'no-attestation': () => verifyProvenance(attested, { attestations: undefined, root: readTrustedRoot(sigstore.root) }),
    'bad-bundle': () => forged({ forged: { bundle: () => ({}) } }),
    'other-subject': () => forged({ version: '1.0.0' }),
    'other-digest': () => forged({ tarball: Buffer.from('other') }),
    'untrusted-certificate': () => forged({ forged: { authority: 'other' } }),
    'expired-certificate': () => forged({ forged: { authority: 'expired' } }),
    'unlogged-certificate': () => forged({ forged: { authority: 'unlogged' } }),
    'no-log-entry': () => forged(bundle((_, all) => (all.tlogEntries = []))),
    'bad-log-promise': () => forged({ forged: { log: 'other' } }),
    'bad-log-proof': () => forged(bundle((one) => one['inclusionProof']?.hashes?.push('AAAA'))),
    'other-log-entry': () =>
      forged({
        forged: {
          bundle: (one) => Object.assign(one, { dsseEnvelope: { ...one.dsseEnvelope, payload: 'e30=' } }),
        },
      }),
    'bad-timestamp': () => forged(bundle((one) => delete one['inclusionPromise'])),
    'bad-signature': () => forged({ forged: { key: 'other' } }),
    'other-issuer': () => forged({ signer: { issuer: 'https://token.other.example' } }),
    'other-repository': () => forged({ signer: { repository: 'https://git.example/mallory/plugin' } }),
    'other-workflow': () => forged({ signer: { workflow: '.github/workflows/test.yml' } }),
    'other-signer': () =>
      trustOf(
        {
          ...attested,
          before: { version: '1.0.0', signer: rightSigner, alias: 'cloud' },
          attestations: () => Promise.resolve(undefined),
        },
        { rules: [] },
      ),
    clash: async () => {
      await writeFile(at('plugins.json'), JSON.stringify({ plugins: { cloud: { package: '@acme/other', version: '1.0.0' } } }))
      await using site = await openDeployment({ manifest: at('plugins.json') })
      return await addPlugin(site, `${name}@1.0.0`, { as: 'cloud' })
    },
    'still-needed': async () => {
      const store = await openSqliteStore(at('data'))
      const row = { provider: 'aws', version: '2.0.0', tree: '', content: 'x', since: 1 }
      await store.write((tx) => tx.insertInto('kept_plugins').values(row).execute())
      await store.close()
      await using site = await openDeployment({ manifest: at('plugins.json'), data: at('data') })
      const lock = { ...site.lock, lock: { plugins: { cloud: locked } } }
      demandKept({ ...site, lock }, none)
    },
    'below-level': () => demandLevel({ ...entry, isolation: 'L3' }, isolationOf(locked.permissions, { entry, ground })),
    'over-limit': () => demandHeap(entry, plainManifest(name), 32),
    conflict: async () => {
      await using _held = await alone(at('plugins.json'))
      return await alone(at('plugins.json'))
    },
    'changed-meanwhile': () => replaceFile(at('plugins.json'), { before: 'as it was', after: 'as it shall be' }),
  }
  const rows: string[] = []
  for (const [code, meaning] of Object.entries(refusals)) {
    const { found, says, fix } = await refusalOf(provoke[code as RefusalCode], code)
    expect([code, found]).toEqual([code, code])
    // One command, as it would be typed, and only then what else there is.
    expect([code, fix]).toEqual([code, expect.stringMatching(/^run: (?:muster|npm|npx|curl|rm|mv|ps|\$\{EDITOR:-vi\}) \S/)])
    const said = [says, fix].map((text) => masked(text, { folder: temp.path, url: registry.url }))
    rows.push(`| \`${code}\` | ${meaning} | ${said[0]} | ${said[1]} |`)
  }
  const text = [
    '# Why a plugin is refused',
    '',
    'Every code with an example of what is said, and what is to be done: one command, and what else there is. Written from the refusals themselves.',
    '',
    'Where another version of the plugin is the way out, `muster plugins add`, `update` and `lock` try the nearest three as a whole, and the',
    'command that is said first names the one that works. A daemon resolves nothing: it names the version that its lock holds as the one before.',
    '',
    '| code | meaning | says | fix |',
    '| --- | --- | --- | --- |',
    ...rows,
    '',
  ]
  await expect(text.join('\n')).toMatchFileSnapshot(committed)
})

interface Refused {
  found: string
  says: string
  fix: string
}

/** Thrown, or a problem of this code. */
async function refusalOf(work: () => unknown, wanted: string): Promise<Refused> {
  try {
    const problem = ((await work()) as Problem[]).find(({ code }) => code === wanted)
    if (problem?.code !== undefined) return { found: problem.code, says: problem.reason, fix: problem.fix }
  } catch (error) {
    const { code, message, fix } = error as PluginRefusal
    return { found: code, says: message, fix }
  }
  throw new Error('nothing was refused')
}

/** What differs from run to run. */
function masked(text: string, { folder, url }: { folder: string; url: string }): string {
  return text
    .replaceAll(folder, '/etc/muster')
    .replaceAll(url, 'https://registry.example/')
    .replaceAll(/sha512-[A-Za-z0-9+/]{86}==/g, 'sha512-…')
    .replaceAll(/[0-9a-f]{128}/g, '…')
    .replaceAll(/\(\d+ bytes\)/g, '(… bytes)')
    .replaceAll(/(process|-fp) \d+/g, '$1 4711')
    .replaceAll(/4711 on \S+, since [^)]+/g, '4711 on build-1, since 2026-01-01T00:00:00.000Z')
    .replaceAll('|', '\\|')
}
