/** Whether what takes over from a provider is asked for its workers first: also where another of the plugins that run does. */
import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { tempFolder } from '@muster/test/systems/temp'
import { expect, test } from 'vitest'
import { type Applied, applyOf, engineConfig } from './apply.ts'
import { parseConfig } from './config/load.ts'
import type { Account, Upgrades } from './engine/upgrade-api.ts'
import { examine } from './examine.ts'
import { pluginFiles } from './plugins/testing/pack.ts'
import type { Candidate, Wanted } from './plugins/room.ts'
import { openRunning } from './running.ts'

interface Site extends AsyncDisposable {
  /** Writes the configuration with this plugin for the provider, configured so, and applies it. */
  apply(alias: string, config?: object): Promise<Applied>
  /** The provider has workers. */
  live: boolean
  /** What the next process says of the workers. */
  lost: Account['lost']
  /** Versions that took over, and from which all workers are theirs. */
  readonly taken: unknown[]
  /** Workers of which it was said that what takes over knows them. */
  readonly told: unknown[]
}

/** Two versions side by side, and a provider that uses one of them. */
async function openSite(aliases: Record<string, string>): Promise<Site> {
  const temp = await tempFolder('apply')
  const at = (name: string): string => join(temp.path, name)
  const plugins: Record<string, object> = {}
  for (const [alias, version] of Object.entries(aliases)) {
    for (const [name, body = ''] of pluginFiles({ version })) {
      const file = at(join(alias, name as string))
      await mkdir(dirname(file), { recursive: true })
      await writeFile(file, body)
    }
    plugins[alias] = { package: '@acme/plugin', version, source: { folder: `${alias}/package` } }
  }
  await writeFile(at('plugins.json'), JSON.stringify({ plugins }))
  const write = (alias: string, config = {}): Promise<void> =>
    writeFile(
      at('muster.yaml'),
      JSON.stringify({ host: { data: at('data') }, providers: { p: { plugin: alias, config } }, pools: {} }),
    )
  const [first = ''] = Object.keys(aliases)
  await write(first)
  const { found, problems } = await examine(at('muster.yaml'), () => [at('store')])
  if (found === undefined) throw new Error(JSON.stringify(problems))
  const site: Pick<Site, 'lost' | 'taken' | 'told' | 'live'> = { lost: [], taken: [], told: [], live: true }
  const upgrades: Pick<Upgrades, 'account' | 'hasLive'> = {
    hasLive: () => site.live,
    account: async () => ({ known: ['w0'], lost: site.lost }),
  }
  const candidates = ({ config, discovery }: Wanted): Candidate[] =>
    config.providers.flatMap(({ name, alias }) => {
      const plugin = discovery.plugins.find((one) => one.alias === alias)
      const ask = { list: async () => ({ workers: [], asOf: '' }), inspect: async () => [] }
      return plugin === undefined ? [] : [{ provider: name, plugin, notes: [], ask }]
    })
  const apply = applyOf({
    running: openRunning(found),
    store: at('store'),
    engine: {
      upgrades: upgrades as Upgrades,
      configure: async (_next, { versions, known, commit }) => {
        site.taken.push(versions)
        site.told.push(known)
        commit()
      },
    },
    plugins: {
      list: () => [],
      stage: async (next) => ({
        candidates: candidates(next),
        revived: [],
        commit: () => undefined,
        discard: async () => undefined,
      }),
    },
    fallen: async (one) => one.discovery,
    entries: () => [],
    applied: () => undefined,
  })
  return Object.assign(site, {
    apply: async (alias: string, config?: object) => {
      await write(alias, config)
      return apply({ principal: 'ann', dryRun: false })
    },
    [Symbol.asyncDispose]: temp.remove,
  })
}

test('a provider that uses another of the plugins from now on is accounted for as with another version', async () => {
  await using site = await openSite({ cloud1: '1.0.0', cloud2: '2.0.0' })
  site.lost = [{ worker: 'w1', why: 'it does not know it' }]
  const refused = await site.apply('cloud2')
  expect([refused.applied, refused.problems.map((one) => one.reason), site.taken]).toEqual([
    false,
    ['the other version of its plugin does not account for w1: it does not know it'],
    [],
  ])
  site.lost = []
  expect(await site.apply('cloud2')).toMatchObject({ applied: true, problems: [] })
  expect(site.taken).toMatchObject([{ p: { version: '2.0.0' } }])
  expect(site.told).toEqual([{ p: ['w0'] }])
  // The way back is no other way.
  site.lost = [{ worker: 'w2', why: 'it does not know it' }]
  expect(await site.apply('cloud1')).toMatchObject({
    applied: false,
    problems: [{ reason: expect.stringContaining('w2') as string }],
  })
})

test('another configuration may be another place: it accounts for the workers, or nothing changes', async () => {
  await using site = await openSite({ cloud: '1.0.0' })
  site.lost = [{ worker: 'w1', why: 'it does not know it' }]
  const refused = await site.apply('cloud', { region: 'other' })
  expect([refused.applied, refused.problems.map(({ reason, fix }) => `${reason} | ${fix}`)]).toEqual([
    false,
    [
      'with its other configuration it does not account for w1: it does not know it | give the other place a provider of its own and take this one out, which leaves with its last worker; or end these workers first',
    ],
  ])
  site.lost = []
  expect(await site.apply('cloud', { region: 'other' })).toMatchObject({ applied: true, problems: [] })
  // Of the same version all are its own already.
  expect(site.taken).toEqual([{}])
  // Nobody is asked where there is nothing to lose.
  site.lost = [{ worker: 'w1', why: 'it does not know it' }]
  site.live = false
  expect(await site.apply('cloud', { region: 'third' })).toMatchObject({ applied: true })
})

test('how often the use of its workers is looked at is what the file says of each provider', () => {
  const file = (stats: string): string =>
    `{ providers: { a: { plugin: p, stats: ${stats} }, b: { plugin: p } }, pools: { ci: { placement: [a] } } }`
  const read = (stats: string): unknown => {
    const { config, problems } = parseConfig('/muster.yaml', file(stats))
    return config === undefined ? problems.map(({ line }) => line) : engineConfig(config).stats
  }
  expect(['off', '30s', '1s'].map(read)).toEqual([{ a: 'off' }, { a: 30_000 }, { a: 1000 }])
  // `false` is no word of the file, and less than an engine samples only burns the machine.
  expect(['false', '999ms', '30'].map(read)).toEqual([[1], [1], [1]])
})
