/** What a rollback writes where no daemon runs: files that a deployment can begin with anywhere. */
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { MusterError } from '@muster/client'
import { tempFolder } from '@muster/test/systems/temp'
import { expect, test } from 'vitest'
import type { LockedPlugin } from '../../plugins/lock.ts'
import { discover } from '../../plugins/discover.ts'
import { packPlugin } from '../../plugins/testing/pack.ts'
import { addPlugin, removePlugin } from './add.ts'
import { mirrorPlugins, verifyPlugins } from './mirror.ts'
import { openSite, type Site } from './site.ts'
import { rollBackPlugin } from './upgrade.ts'

const agreed = { yes: true, json: true } as const
const client = (): Promise<never> => Promise.reject(new MusterError('no-daemon', 'none runs'))

test('the version before comes from where it came from, in both files and on a machine that has none of its bytes', async () => {
  const temp = await tempFolder('rollback')
  const at = (path: string): string => join(temp.path, path)
  const open = (): Promise<Site> => openSite({ manifest: at('plugins.json'), data: at('data') })
  const entry = async (file: string): Promise<LockedPlugin> => {
    const text = await readFile(at(file), 'utf8')
    return (JSON.parse(text) as { plugins: { cloud: LockedPlugin } }).plugins.cloud
  }
  const isThere = async (version: string): Promise<void> => {
    const wanted = { version, source: { tarball: `cloud-${version}.tgz` } }
    expect(await entry('plugins.json')).toMatchObject(wanted)
    expect(await entry('plugins.lock.json')).toMatchObject(wanted)
    const { plugins, problems } = await discover(at('plugins.json'), { stores: [at(`fresh-${version}`)], shown: 'plugins.json' })
    expect([problems, plugins.length]).toEqual([[], 1])
  }
  const rolledBack = async (): Promise<number> => {
    await using site = await open()
    return await rollBackPlugin(site, 'cloud', { ...agreed, client })
  }
  try {
    for (const version of ['1.0.0', '1.1.0']) {
      await writeFile(at(`cloud-${version}.tgz`), await packPlugin({ version }))
      await using site = await open()
      const added = { ...agreed, as: 'cloud', tarball: at(`cloud-${version}.tgz`), waive: 'a test' }
      expect(await addPlugin(site, undefined, added)).toBe(0)
    }
    expect(await rolledBack()).toBe(0)
    await isThere('1.0.0')
    expect(await rolledBack()).toBe(0)
    await isThere('1.1.0')
    expect((await entry('plugins.lock.json')).previous).toMatchObject({ source: { tarball: 'cloud-1.0.0.tgz' } })
  } finally {
    await temp.remove()
  }
})

test('of two files with one number the one before comes back, and a mirror holds both', async () => {
  const temp = await tempFolder('rollback one number')
  const at = (path: string): string => join(temp.path, path)
  const withSite = async <T>(work: (site: Site) => Promise<T>): Promise<T> => {
    await using site = await openSite({ manifest: at('plugins.json'), data: at('data') })
    return await work(site)
  }
  const reason = async (): Promise<string | undefined> =>
    (JSON.parse(await readFile(at('plugins.lock.json'), 'utf8')) as { plugins: { cloud: LockedPlugin } }).plugins.cloud.waiver
      ?.reason
  try {
    await mkdir(at('data'))
    for (const waive of ['first', 'second']) {
      await writeFile(at('p.tgz'), await packPlugin({ more: [['package/x', waive]] }))
      expect(await withSite((site) => addPlugin(site, undefined, { ...agreed, as: 'cloud', tarball: at('p.tgz'), waive }))).toBe(
        0,
      )
    }
    expect(await withSite((site) => mirrorPlugins(site, { out: at('mirror') }))).toBe(0)
    expect(await withSite((site) => verifyPlugins(site, { mirror: at('mirror'), frozen: true, json: true }))).toBe(0)
    expect(await withSite((site) => rollBackPlugin(site, 'cloud', { ...agreed, client }))).toBe(0)
    expect(await reason()).toBe('first')
    expect(await withSite((site) => verifyPlugins(site, { mirror: at('mirror'), frozen: true, json: true }))).toBe(0)
  } finally {
    await temp.remove()
  }
})

test('one that fits no more hinders nobody who takes another out', async () => {
  const temp = await tempFolder('remove')
  const at = (path: string): string => join(temp.path, path)
  const withSite = async <T>(work: (site: Site) => Promise<T>): Promise<T> => {
    await using site = await openSite({ manifest: at('plugins.json'), data: at('data') })
    return await work(site)
  }
  const aliases = async (file: string): Promise<string[]> =>
    Object.keys((JSON.parse(await readFile(at(file), 'utf8')) as { plugins: object }).plugins)
  try {
    for (const as of ['one', 'other', 'third']) {
      await writeFile(at('p.tgz'), await packPlugin())
      expect(await withSite((site) => addPlugin(site, undefined, { ...agreed, as, tarball: at('p.tgz'), waive: 'a test' }))).toBe(
        0,
      )
    }
    const text = await readFile(at('plugins.json'), 'utf8')
    await writeFile(at('plugins.json'), text.replaceAll('p.tgz', 'gone.tgz'))
    for (const left of [['other', 'third'], ['third'], []]) {
      const [alias = ''] = (await aliases('plugins.json')).filter((one) => !left.includes(one))
      expect(await withSite((site) => removePlugin(site, alias, agreed))).toBe(0)
      expect([await aliases('plugins.json'), await aliases('plugins.lock.json')]).toEqual([left, left])
    }
  } finally {
    await temp.remove()
  }
})
