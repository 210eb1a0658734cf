/** Four kinds of registry, and what becomes of a plugin that was signed once. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { tempFolder } from '@muster/test/systems/temp'
import { beforeAll, describe, expect, it } from 'vitest'
import { lockedAttestations, lockedBytes, provenAttestations } from './fetch.ts'
import { keepAttestations } from './kept-tarballs.ts'
import type { LockedPlugin } from './lock.ts'
import { reasonOf } from '../config/problem.ts'
import { discover } from './discover.ts'
import type { Signer } from './signer.ts'
import { lockHere } from './testing/lock.ts'
import { startTestRegistry, type TestRegistry } from './testing/npm-registry.ts'
import { packPlugin } from './testing/pack.ts'
import { rightSigner, startTestSigstore, type TestSigstore } from './testing/sigstore.ts'
import { writeMirror } from './mirror.ts'
import type { OriginDeps } from './origins.ts'
import type { PluginRefusal } from './refusal.ts'
import { keepsTrust, staysSigned, trustOf } from './trust.ts'

const published = '2026-01-01T00:00:00.000Z'
const rule = { packages: ['@acme/*'], ...rightSigner }

let sigstore: TestSigstore
beforeAll(async () => {
  sigstore = await startTestSigstore()
})

interface Site extends AsyncDisposable {
  registry: TestRegistry
  publish(version: string, by?: Partial<Signer> | null): Promise<void>
  /** What locking says, with and without somebody's word. */
  lock(
    rules: object[],
    more?: { range?: string; reason?: string | null; update?: string[]; more?: object },
  ): Promise<{ told: string; locked: unknown }>
  start(): Promise<string>
  store: string
  /** Where it takes from. */
  policy: OriginDeps['registry']
  /** Of the plugin that is found at a start. */
  signer(): Promise<Signer | undefined>
}

async function openSite(): Promise<Site> {
  const temp = await tempFolder('trust')
  const registry = await startTestRegistry()
  const file = join(temp.path, 'plugins.json')
  await writeFile(join(temp.path, 'root.json'), JSON.stringify(sigstore.root))
  const told = (problems: { reason: string; fix: string }[]): string =>
    problems.map((one) => `${reasonOf(one)} | ${one.fix}`).join('\n')
  const found = (): ReturnType<typeof discover> => discover(file, { stores: [join(temp.path, 'store')], shown: 'plugins.json' })
  return {
    registry,
    store: join(temp.path, 'store'),
    policy: { base: temp.path, registries: { default: { url: registry.url } } },
    async publish(version, by = {}) {
      const tarball = await packPlugin({ version })
      const about = { package: '@acme/plugin', version, tarball }
      const attestations = by === null ? undefined : await sigstore.attest({ ...about, signer: by })
      registry.publish('@acme/plugin', version, { tarball, published, attestations })
    },
    async lock(rules, { range = '^1.0.0', reason = null, update = [], more = {} } = {}) {
      const plugins = { acme: { package: '@acme/plugin', version: range }, ...more }
      const all = { registries: { default: { url: registry.url } }, trust: { root: 'root.json', rules }, plugins }
      await writeFile(file, JSON.stringify(all))
      const { problems, lock } = await lockHere(file, { reason, update })
      return { told: told(problems), locked: lock.plugins['acme'] }
    },
    start: async () => told((await found()).problems),
    signer: async () => (await found()).plugins[0]?.signer,
    async [Symbol.asyncDispose]() {
      await registry[Symbol.asyncDispose]()
      await temp[Symbol.asyncDispose]()
    },
  }
}

describe('a registry', () => {
  it('that is intact: the signer is locked, and nobody else has to vouch', async () => {
    await using site = await openSite()
    await site.publish('1.0.0')
    const { told, locked } = await site.lock([rule])
    expect(told).toBe('')
    expect(locked).toMatchObject({ version: '1.0.0', signer: { ...rightSigner, ref: 'refs/tags/v1.0.0' } })
    expect(locked).not.toHaveProperty('waiver')
    expect([await site.start(), await site.signer()]).toMatchObject(['', rightSigner])
    // What it was locked by is here, for a mirror that is made where no registry is.
    const { registries } = { registries: { default: { url: 'http://127.0.0.1:1/' } } }
    const asked = { registry: { base: '/', registries }, stores: [site.store] }
    expect(await lockedAttestations(locked as LockedPlugin, asked)).toMatchObject({ attestations: [expect.any(Object)] })
  })

  it('that strips the attestation is refused, whoever vouches', async () => {
    await using site = await openSite()
    await site.publish('1.0.0', null)
    expect((await site.lock([rule])).told).toMatch(/^no-attestation: a rule of trust says who signs @acme\/plugin@1\.0\.0/)
    expect((await site.lock([rule], { reason: 'I do' })).told).toMatch(/^no-attestation: /)
  })

  it('that signs again as somebody else is refused, whoever vouches', async () => {
    await using site = await openSite()
    await site.publish('1.0.0', { repository: 'https://git.example/mallory/plugin' })
    expect((await site.lock([rule], { reason: 'I do' })).told).toMatch(
      /^other-repository: .* is signed, but by the repository .*mallory.* \| /,
    )
  })

  it('that swaps the tarball is refused', async () => {
    await using site = await openSite()
    await site.publish('1.0.0')
    site.registry.tamper('@acme/plugin', '1.0.0', await packPlugin({ version: '1.0.0', more: [['package/evil', 'x']] }))
    expect((await site.lock([rule])).told).toMatch(/^other-digest: /)
  })
})

describe('a plugin that was signed once', () => {
  const other = { ...rightSigner, repository: 'https://git.example/acme/moved' }

  async function signedOnce(): Promise<Site> {
    const site = await openSite()
    await site.publish('1.0.0')
    expect((await site.lock([rule])).told).toBe('')
    return site
  }

  it('is not taken from another signer, though a rule allows it', async () => {
    await using site = await signedOnce()
    await site.publish('1.1.0', other)
    const both = [rule, { packages: ['@acme/plugin'], ...other }]
    expect((await site.lock(both, { update: ['acme'] })).told).toMatch(
      /^other-signer: @acme\/plugin@1\.0\.0 was signed by https:\/\/git\.example\/acme\/plugin \(.*\), and this one by .*moved.* \| .*muster plugins remove/,
    )
  })

  it('is not taken without a signature, though no rule asks for one any more', async () => {
    await using site = await signedOnce()
    await site.publish('1.1.0', null)
    expect((await site.lock([], { update: ['acme'], reason: 'I do' })).told).toMatch(
      /^other-signer: .* no rule says who signs it now/,
    )
  })

  it('is not taken from another under another name', async () => {
    await using site = await signedOnce()
    await site.publish('2.0.0', other)
    const both = [rule, { packages: ['@acme/plugin'], ...other }]
    const next = { next: { package: '@acme/plugin', version: '^2.0.0' } }
    expect((await site.lock(both, { more: next })).told).toMatch(/^other-signer: .*\| run: .* or muster plugins remove acme, /)
    await site.publish('2.0.0', null)
    expect((await site.lock([], { more: next, reason: 'I do' })).told).toMatch(/^other-signer: /)
    await site.publish('2.0.0')
    expect((await site.lock(both, { more: next })).told).toBe('')
  })

  it('is not started when a rule asks for another signer now', async () => {
    await using site = await signedOnce()
    await site.lock([{ ...rule, ...other }])
    expect(await site.start()).toMatch(
      /a rule of trust asks for another signer of @acme\/plugin@1\.0\.0: it is signed by .*acme\/plugin/,
    )
  })

  it('stays its signer’s where no rule says any more who that is: its lock does', async () => {
    await using site = await signedOnce()
    const locked = (await site.lock([rule])).locked as LockedPlugin & { signer: Signer }
    const stays = (rules: object[], signer?: Partial<Signer>): Promise<void> =>
      staysSigned(
        {
          ...{ ...locked, before: { ...locked, alias: 'acme' } },
          attestations: async () => {
            const tarball = await lockedBytes(locked, { registry: site.policy, stores: [site.store] })
            return sigstore.attest({ package: locked.package, version: locked.version, tarball, ...(signer && { signer }) })
          },
        },
        { root: join(site.store, '../root.json'), rules: rules as (typeof rule)[] },
      )
    for (const rules of [[], [{ ...rule, packages: ['@other/*'] }]]) {
      await stays(rules)
      await expect(stays(rules, other)).rejects.toMatchObject({ code: 'other-repository' })
    }
    // A rule comes before it.
    await expect(stays([{ ...rule, ...other }])).rejects.toMatchObject({ code: 'other-repository' })
  })

  it('is signed still when other things that are written of the same bytes are written anew', async () => {
    await using site = await signedOnce()
    const file = join(site.store, '../plugins.lock.json')
    const before = await readFile(file, 'utf8')
    const lock = JSON.parse(before) as { plugins: { acme: LockedPlugin } }
    lock.plugins.acme.permissions.net = ['api.acme.test:443']
    await writeFile(file, JSON.stringify(lock))
    expect((await site.lock([rule], { update: ['acme'] })).told).toBe('')
    expect(await readFile(file, 'utf8')).toBe(before)
  })

  it('goes on with the next version of the same signer', async () => {
    await using site = await signedOnce()
    await site.publish('1.1.0')
    const { told, locked } = await site.lock([rule], { update: ['acme'] })
    expect([told, locked]).toEqual([
      '',
      expect.objectContaining({ version: '1.1.0', previous: expect.objectContaining({ version: '1.0.0' }) }),
    ])
  })
})

it('of what is attested in a store only what proves the signer is taken along; else its source is asked', async () => {
  await using site = await openSite()
  await site.publish('1.0.0')
  const locked = (await site.lock([rule])).locked as LockedPlugin
  site.registry.asked.length = 0
  const deps = { registry: site.policy, stores: [site.store], trust: { root: join(site.store, '../root.json'), rules: [] } }
  const right = await provenAttestations(locked, deps)
  expect([right, site.registry.asked]).toEqual([{ attestations: [expect.any(Object)] }, []])
  await keepAttestations(locked.sha512, { store: site.store, attestations: { attestations: [] } })
  expect(await provenAttestations(locked, deps)).toEqual(right)
  expect(site.registry.asked).toEqual(['-/npm/v1/attestations/@acme/plugin@1.0.0'])
  await site.publish('1.0.0', null)
  expect(await provenAttestations(locked, deps)).toBeUndefined()
})

describe('a mirror in which locked bytes are looked for first', () => {
  const name = '@acme/plugin'
  /** What is attested of the locked version, by a registry and by a mirror that has its bytes; what it says of it, and who was asked. */
  async function mirrored(attested: (tarball: Buffer) => Promise<unknown>): Promise<{ told: string; asked: string[] }> {
    await using site = await openSite()
    await site.publish('1.0.0')
    const locked = { ...((await site.lock([rule])).locked as LockedPlugin), alias: 'acme' }
    const tarball = await lockedBytes(locked, { registry: site.policy, stores: [site.store] })
    const dir = join(site.store, '../mirror')
    await writeMirror(dir, [{ package: name, version: '1.0.0', tarball, attestations: await attested(tarball) }])
    site.registry.asked.length = 0
    const deps = { registry: { ...site.policy, mirror: dir } }
    const policy = { root: join(site.store, '../root.json'), rules: [rule] }
    const told = await trustOf({ ...locked, before: locked, attestations: () => lockedAttestations(locked, deps) }, policy).then(
      (trust) => JSON.stringify(trust),
      (error: PluginRefusal) => `${error.code}: ${error.message}`,
    )
    return { told, asked: site.registry.asked }
  }
  const ofRegistry = ['-/npm/v1/attestations/@acme/plugin@1.0.0']
  const right = expect.stringContaining(rightSigner.repository) as string

  it('that has what is attested of them is believed once that is verified: no registry is asked', async () => {
    const found = await mirrored((tarball) => sigstore.attest({ package: name, version: '1.0.0', tarball }))
    expect(found).toEqual({ told: right, asked: [] })
  })

  it('that has the bytes alone leaves it to their registry', async () => {
    expect(await mirrored(() => Promise.resolve(undefined))).toEqual({ told: right, asked: ofRegistry })
  })

  it.each<[string, (tarball: Buffer) => Promise<unknown>, RegExp]>([
    ['another version', (tarball) => sigstore.attest({ package: name, version: '1.0.1', tarball }), /^other-subject: /],
    ['other bytes', () => sigstore.attest({ package: name, version: '1.0.0', tarball: Buffer.from('x') }), /^other-digest: /],
    [
      'another signer',
      (tarball) => sigstore.attest({ package: name, version: '1.0.0', tarball, signer: { workflow: '.github/workflows/x.yml' } }),
      /^other-workflow: /,
    ],
    ['nothing', () => Promise.resolve({ attestations: [] }), /^no-attestation: /],
  ])('that has what is attested of %s is refused, whatever the registry has', async (_, attested, wanted) => {
    expect(await mirrored(attested)).toEqual({ told: expect.stringMatching(wanted) as string, asked: [] })
  })
})

it('what somebody vouched for is signed from then on, once a rule says by whom', async () => {
  await using site = await openSite()
  await site.publish('1.0.0')
  expect((await site.lock([], { reason: 'I do' })).locked).toMatchObject({ waiver: { reason: 'I do' } })
  const { told, locked } = await site.lock([rule])
  expect([told, locked]).toEqual(['', expect.objectContaining({ signer: expect.objectContaining(rightSigner) })])
})

it('a rule for a scope is for no other that begins alike', async () => {
  await using site = await openSite()
  await site.publish('1.0.0', null)
  expect(
    (await site.lock([{ ...rule, packages: ['@acm/*', '@acme', '@acme/plug', '@acme/plugin/*'] }], { reason: 'I do' })).told,
  ).toBe('')
})

it.each(['issuer', 'repository', 'workflow'] as const)('a lock whose %s no rule names any more is stale', (key) => {
  const plugin = { package: '@acme/plugin', version: '1.0.0', signer: rightSigner }
  keepsTrust(plugin, { rules: [rule] })
  const other = { ...plugin, signer: { ...rightSigner, [key]: `${rightSigner[key]}x` } }
  expect(() => keepsTrust(other, { rules: [rule] })).toThrow(expect.objectContaining({ code: 'lock-stale' }))
})
