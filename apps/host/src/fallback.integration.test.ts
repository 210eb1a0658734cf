/** A version that cannot start, on a real daemon: the one before in the lock takes over, over a kill too, and is told of until somebody has seen it. */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { tempFolder } from '@muster/test/systems/temp'
import { waitFor } from '@muster/test/systems/wait'
import { afterEach, expect, test } from 'vitest'
import { muster } from './cli/muster.test.helper.ts'
import { makeSite, patienceMs, type Site } from './faults/daemon.test.helper.ts'
import { fakeVendor } from './faults/vendors.test.helper.ts'
import { lockVersion, mirrorBuilt } from './plugins/testing/versions.ts'

const disposals: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const dispose of disposals.splice(0).reverse()) await dispose()
})

async function openSite(): Promise<Site> {
  const shared = await tempFolder('fall-back')
  disposals.push(() => shared.remove())
  const mirror = join(shared.path, 'mirror')
  await mirrorBuilt(mirror, 'plugin-fake', [{ version: '1.0.0' }, { version: '2.0.0', prologue: 'process.exit(3)' }])
  const site = await makeSite((await fakeVendor()).files())
  disposals.push(() => site.dispose())
  const [file, store] = [join(site.dir, 'plugins.json'), join(site.data, 'plugins')]
  const plugin = { file, alias: 'fake', package: '@muster/plugin-fake', mirror, store, more: { fallBack: true } }
  for (const version of ['1.0.0', '2.0.0']) await lockVersion({ ...plugin, version })
  return site
}

const locked = (site: Site): Promise<string> => readFile(join(site.dir, 'plugins.lock.json'), 'utf8')
const shown = async (site: Site): Promise<string[]> =>
  (await site.client.conditions()).flatMap(({ type, scope }) => (type === 'fell-back:fake' ? [scope] : []))
const works = async (site: Site): Promise<unknown> => {
  const { id } = await site.client.runs.create({ pool: 'cold', command: ['true'] })
  return (await site.client.runs.wait(id)).outcome
}
/** The version that is well, as soon as one is. */
async function wellAt(site: Site): Promise<string> {
  const one = await waitFor('it to be well', () => site.client.providers.get('p'), {
    until: ({ state }) => state === 'ready',
    timeoutMs: patienceMs,
  })
  return one.plugin.version
}

test('the version before takes over, works, and is there again after a kill; the lock stays, and its pools tell of it until it was seen', async () => {
  const site = await openSite()
  const lock = await locked(site)
  expect(JSON.parse(lock)).toMatchObject({ plugins: { fake: { version: '2.0.0', previous: { version: '1.0.0' } } } })
  await site.start()
  expect(await wellAt(site)).toBe('1.0.0')
  expect([await works(site), await locked(site)]).toEqual(['passed', lock])
  const told = (await site.client.why('provider', 'p')).filter(({ rule }) => rule === 'plugin-fell-back')
  expect(told).toMatchObject([{ decision: expect.stringMatching(/1\.0\.0/) as string }])
  const pools = await shown(site)
  expect(pools.length).toBeGreaterThan(0)
  expect(new Set(pools)).toEqual(new Set(['pool']))

  await site.kill()
  await site.start()
  expect([await wellAt(site), await shown(site)]).toEqual(['1.0.0', pools])
  // At once: the other one was not tried again.
  expect((await site.client.providers.get('p')).restarts).toBe(0)
  const seen = await muster(['plugins', 'acknowledge', 'fake', '-c', site.config], { cwd: site.dir })
  expect(seen.code).toBe(0)
  expect([await shown(site), await wellAt(site), await works(site), await locked(site)]).toEqual([[], '1.0.0', 'passed', lock])
  expect((await site.client.why('provider', 'p')).filter(({ rule }) => rule === 'plugin-fell-back')).toHaveLength(1)
}, 300_000)
