/** What others may have put where a lock is made from: the store of the host, a registry, a mirror. */
import { chmod, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { treeOf } from '@muster/packed/digest'
import { expect, it } from 'vitest'
import { filesOf } from './archive.ts'
import { addContent } from './content.ts'
import { old, openSite } from './testing/locking-site.ts'
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
