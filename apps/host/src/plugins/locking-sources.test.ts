/** Where the bytes of locked plugins come from: registries with their tokens, and mirrors. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { startProxy } from '@muster/test/systems/proxy'
import { describe, expect, it } from 'vitest'
import { planRemoval } from './locking.ts'
import { mirrored, writeMirror } from './mirror.ts'
import type { LoadedRegistry } from './registry.ts'
import { old, openSite } from './testing/locking-site.ts'
import { startTestRegistry } from './testing/npm-registry.ts'
import { packPlugin } from './testing/pack.ts'

const acme = { package: '@acme/plugin', version: '^1.0.0' }

describe('a registry', () => {
  it('gets the token of its own address, and no other', async () => {
    await using site = await openSite()
    await using other = await startTestRegistry()
    await site.publish('1.0.0')
    site.registry.demand('good')
    const tarball = await packPlugin({ name: '@corp/plugin', version: '1.0.0' })
    other.publish('@corp/plugin', '1.0.0', { tarball, published: old })
    other.demand('of the other')
    await writeFile(join(site.path, 'token'), 'good\n')
    await writeFile(join(site.path, 'other-token'), 'of the other')
    const registries = {
      default: { url: site.registry.url, token: { file: 'token' } },
      '@corp': { url: other.url, token: { file: 'other-token' } },
    }
    const { lock, told } = await site.lock(
      { acme, corp: { package: '@corp/plugin', version: '1.0.0' } },
      { file: { registries } },
    )
    expect(told).toBe('')
    expect(lock.plugins['corp']?.source).toEqual({ registry: '@corp' })
    const lockText = await readFile(join(site.path, 'plugins.lock.json'), 'utf8')
    expect(lockText).not.toMatch(/good|of the other|127\.0\.0\.1/)
  })

  it('is asked by the network of the host at a start too', async () => {
    await using site = await openSite()
    await using proxy = await startProxy()
    await site.publish('1.0.0')
    await site.lock({ acme }, { stores: [join(site.path, 'elsewhere')] })
    // This one makes tunnels alone.
    expect(await site.start({ proxy: proxy.url })).toMatch(/unreachable: .*405/)
    expect(await site.start({ proxy: proxy.url, noProxy: ['127.0.0.1'] })).toBe('')
  })

  it('is not asked by a network that cannot be read: what is wrong with that is told, and where', async () => {
    await using site = await openSite()
    await site.publish('1.0.0')
    await site.lock({ acme }, { stores: [join(site.path, 'elsewhere')] })
    const ca = join(site.path, 'none.pem')
    expect(await site.start({ ca })).toMatch(
      /unreachable: host\.network\.ca: .*none\.pem does not exist \| run: \S+ muster\.yaml, and under host\.network\.ca name a file that exists$/,
    )
    const proxy = join(site.path, 'proxy')
    await writeFile(proxy, 'no address')
    expect(await site.start({ proxy: { file: proxy } })).toMatch(
      /unreachable: host\.network\.proxy: .* \| run: .*under host\.network\.proxy write it as http:/,
    )
  })
})

describe('a mirror', () => {
  it('has the locked bytes for a start without a registry, before the source is asked', async () => {
    await using site = await openSite()
    const tarball = await site.publish('1.0.0')
    await site.lock({ acme }, { stores: [join(site.path, 'elsewhere')], file: { mirror: 'mirror' } })
    await writeMirror(join(site.path, 'mirror'), [{ package: '@acme/plugin', version: '1.0.0', published: old, tarball }])
    expect(await mirrored(join(site.path, 'mirror'), { name: '@acme/plugin', version: '1.0.0' })).toEqual(tarball)
    site.registry.unpublish('@acme/plugin')
    expect(await site.start()).toBe('')
  })

  it('has the version before, too: the way back asks no registry, on a machine that never ran it', async () => {
    await using site = await openSite()
    const tarball = await site.publish('1.0.0')
    await site.lock({ acme })
    await site.publish('1.1.0')
    await site.lock({ acme }, { update: ['acme'] })
    await writeMirror(join(site.path, 'mirror'), [{ package: '@acme/plugin', version: '1.0.0', tarball }])
    await site.registry[Symbol.asyncDispose]()
    const fresh = { stores: [join(site.path, 'fresh')] as [string] }
    const back = { acme: { ...acme, version: '1.0.0' } }
    const none = await site.lock(back, { ...fresh, reason: null })
    expect(none.told).toMatch(/ unreachable: /)
    const { told, lock } = await site.lock(back, { ...fresh, reason: null, file: { mirror: 'mirror' } })
    expect([told, lock.plugins['acme']]).toMatchObject(['', { version: '1.0.0', previous: { version: '1.1.0' } }])
  })

  it('may be where plugins come from, by version, with its own age', async () => {
    await using site = await openSite()
    const all = await Promise.all(
      ['1.0.0', '1.1.0'].map(async (version) => ({
        package: '@acme/plugin',
        version,
        published: version === '1.0.0' ? old : '2026-01-09T23:00:00.000Z',
        tarball: await packPlugin({ version }),
      })),
    )
    await writeMirror(join(site.path, 'mirror'), all.slice(0, 1))
    await writeMirror(join(site.path, 'mirror'), all.slice(1))
    const { lock, told } = await site.lock({ acme: { ...acme, source: { mirror: 'mirror' } } })
    expect(told).toBe('')
    expect(lock.plugins['acme']?.version).toBe('1.0.0')
    expect((await site.lock({ acme: { ...acme, source: { mirror: 'none' } } })).told).toMatch(
      /no-source: the mirror '.*none' cannot be read/,
    )
  })

  it('of other bytes is not taken for the locked ones', async () => {
    await using site = await openSite()
    await site.publish('1.0.0')
    await site.lock({ acme }, { stores: [join(site.path, 'elsewhere')], file: { mirror: 'mirror' } })
    const tarball = await packPlugin({ version: '1.0.0', more: [['package/evil', 'x']] })
    await writeMirror(join(site.path, 'mirror'), [{ package: '@acme/plugin', version: '1.0.0', tarball }])
    expect(await site.start()).toMatch(/is not the locked one/)
  })
})

it('a lock without one of its plugins keeps all others as they are, whatever ails them', async () => {
  await using site = await openSite()
  await site.publish('1.0.0')
  const { lock } = await site.lock({ acme, other: acme })
  const left = planRemoval({ registry: { entries: [{ alias: 'other' }] } as unknown as LoadedRegistry, lock })
  expect(left.lock.plugins).toEqual({ other: lock.plugins['other'] })
  expect(left.changes).toMatchObject([{ alias: 'acme', kind: 'removed', before: { version: '1.0.0' } }])
})
