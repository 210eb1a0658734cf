/** What others may have put where a lock is made from: the store of the host, a registry, a mirror. */
import { chmod, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { sha512Of, treeOf } from '@muster/packed/digest'
import { expect, it } from 'vitest'
import { filesOf } from './archive.ts'
import { addContent } from './content.ts'
import { openSite } from './testing/locking-site.ts'
import { packPlugin } from './testing/pack.ts'

const acme = { package: '@acme/plugin', version: '^1.0.0' }

it('has the files of the bytes that are locked, whatever lies in the store under their hash before', async () => {
  await using site = await openSite()
  const tarball = await site.publish('1.0.0')
  const store = join(site.path, 'store')
  const planted = join(await addContent(tarball, store), 'dist/plugin.js')
  await chmod(planted, 0o644)
  await writeFile(planted, 'import("node:fs")')
  const refused = await site.lock({ acme })
  expect(refused.told).toMatch(/^\d+ other-files: .* \| run: rm -r \S+,/)
  expect(refused.lock.plugins).toEqual({})
  await writeFile(planted, 'export {}')
  const { lock, told } = await site.lock({ acme })
  expect([told, lock.plugins['acme']?.tree]).toEqual(['', treeOf(await filesOf(tarball))])
})

it('a heap above the bound of the configuration is refused as by a start, also of what is locked, and another version is named', async () => {
  await using site = await openSite()
  await site.publish('1.0.0')
  await site.publish('1.1.0', { manifest: { limits: { startMs: 5000, retireMs: 2000, heapMb: 4096, inFlight: 8 } } })
  const refused = await site.lock({ acme }, { maxHeapMb: 1024 })
  expect(refused.told).toMatch(/over-limit: .*4096.*1024 \| run: muster plugins add @acme\/plugin@1\.0\.0 --as acme; or \$/)
  const { told, lock } = await site.lock({ acme })
  expect([told, lock.plugins['acme']?.version]).toEqual(['', '1.1.0'])
  expect((await site.lock({ acme }, { maxHeapMb: 1024, update: ['acme'] })).told).toMatch(/ over-limit: .*plugin@1\.0\.0/)
  await site.lock({ acme: { ...acme, version: '1.0.0' } })
  expect((await site.lock({ acme: { ...acme, version: '1.1.0' } }, { maxHeapMb: 1024 })).told).toMatch(/ over-limit: /)
})

it('the version that is named is one that would do, also where what is in the range is too new, or nothing is', async () => {
  await using site = await openSite()
  await site.publish('1.0.0')
  await site.publish('1.1.0', { pkg: { dependencies: { left: '1.0.0' } } })
  await site.publish('2.0.0', {}, '2026-01-09T23:00:00.000Z')
  expect((await site.lock({ acme: { ...acme, version: '^2.0.0' } })).told).toMatch(
    / too-new: .* \| run: muster plugins add @acme\/plugin@1\.0\.0 --as acme; or muster plugins add @acme\/plugin@2\.0\.0 --as acme, once that is; or /,
  )
  expect((await site.lock({ acme: { ...acme, version: '^1.5.0' } })).told).toMatch(
    / no-version: .* \| run: muster plugins add @acme\/plugin@1\.0\.0 --as acme$/,
  )
  await site.publish('1.2.0', {}, '')
  expect((await site.lock({ acme: { ...acme, version: '~1.2.0' } })).told).toMatch(
    / no-release-time: .* \| run: muster plugins add @acme\/plugin@1\.0\.0 --as acme; or /,
  )
})

it.each(['+012026-01-01T00:00:00.000Z', '-000001-01-01T00:00:00.000Z'])(
  'a time that no lock can have (%s) is none, and no lock is written that cannot be read',
  async (published) => {
    await using site = await openSite()
    site.registry.publish('@acme/plugin', '1.0.0', { tarball: await packPlugin({ version: '1.0.0' }), published })
    expect((await site.lock({ acme })).told).toMatch(/^\d+ no-release-time: /)
    const { told, lock } = await site.lock({ acme }, { file: { policy: { exempt: ['@acme/plugin'] } } })
    expect([told, lock.plugins['acme']?.published]).toEqual(['', undefined])
    expect(await site.start()).toBe('')
  },
)

it('a file whose bytes are others under the same number is locked as it is now; back is only who goes back', async () => {
  await using site = await openSite()
  const file = join(site.path, 'p.tgz')
  const plugins = { acme: { package: '@acme/plugin', version: '1.0.0', source: { tarball: 'p.tgz' } } }
  const packed = await Promise.all(['a', 'b', 'c'].map((text) => packPlugin({ version: '1.0.0', more: [['package/x', text]] })))
  for (const [index, tarball] of packed.entries()) {
    await writeFile(file, tarball)
    const { told, lock } = await site.lock(plugins, { reason: `read ${index}` })
    expect([told, lock.plugins['acme']]).toMatchObject(['', { sha512: sha512Of(tarball), waiver: { reason: `read ${index}` } }])
  }
  const { lock } = await site.lock(plugins, { back: 'acme' })
  const [now, before] = [lock.plugins['acme'], lock.plugins['acme']?.previous]
  expect([now?.waiver?.reason, before?.waiver?.reason]).toEqual(['read 1', 'read 2'])
})

it('two aliases with one version and different bytes are refused as by a start', async () => {
  await using site = await openSite()
  for (const text of ['a', 'b'])
    await writeFile(join(site.path, text), await packPlugin({ version: '1.0.0', more: [['package/x', text]] }))
  const of = (tarball: string): object => ({ package: '@acme/plugin', version: '1.0.0', source: { tarball } })
  expect((await site.lock({ acme: of('a') })).told).toBe('')
  expect((await site.lock({ acme: of('a'), next: of('b') })).told).toMatch(
    /^\d+ clash: the aliases 'acme' and 'next' clash: both are @acme\/plugin@1\.0\.0, with different files \| /,
  )
  expect((await site.lock({ acme: of('a'), next: of('a') })).told).toBe('')
})
