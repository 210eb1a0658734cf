/** What others may have put where a lock is made from: the store of the host, a registry, a mirror. */
import { chmod, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { treeOf } from '@muster/packed/digest'
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
