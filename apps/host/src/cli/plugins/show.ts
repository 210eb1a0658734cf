/** `muster plugins` and `muster plugins show`: what is locked, where it comes from, who vouches for it, and what it may do. */
import type { Provider } from '@muster/client'
import { formatProblem } from '../../config/problem.ts'
import { checkReport } from '../../plugins/accepted.ts'
import { filesOfFolder, findContent } from '../../plugins/content.ts'
import { type DiscoveredPlugin, openPackage } from '../../plugins/package.ts'
import { levelName, reasonOf } from '../../plugins/isolation.ts'
import { type LockedPlugin, lockedFor } from '../../plugins/lock.ts'
import { PluginRefusal } from '../../plugins/refusal.ts'
import { pathOf, type PluginEntry, sourceName } from '../../plugins/registry.ts'
import { inert } from '../../observe/inert.ts'
import { bold, exits, print, printJson, printTable, say } from '../io.ts'
import { keptText } from '../kept-text.ts'
import { conforming, vouching } from './change.ts'
import { entryOf, type Site } from './site.ts'
import { type Asking, runningClient } from './upgrade.ts'

interface Row {
  alias: string
  package: string
  /** Exact where it is locked, else the range. */
  version: string
  source: PluginEntry['source']
  state: 'locked' | 'not-locked' | 'stale' | 'development'
  reason?: string
  locked?: LockedPlugin
  providers: string[]
}

function rowOf(entry: PluginEntry, { lock, providers }: Site): Row {
  const { alias, package: name, version, source } = entry
  const row = { alias, package: name, version, source, providers: providers[alias] ?? [] }
  if ('folder' in source) return { ...row, state: 'development' }
  try {
    const locked = lockedFor(entry, lock.lock)
    return { ...row, version: locked.version, state: 'locked', locked }
  } catch (error) {
    const { code, message } = error as PluginRefusal
    return { ...row, state: code === 'not-locked' ? 'not-locked' : 'stale', reason: message }
  }
}

export async function listPlugins(site: Site, { json }: { json?: true }): Promise<number> {
  for (const problem of site.problems) say(formatProblem(problem))
  const rows = site.registry.entries.map((entry) => rowOf(entry, site))
  if (json === true) printJson({ plugins: rows })
  else {
    await printTable(
      rows,
      [
        { title: 'ALIAS', styled: true, of: (one) => bold(one.alias) },
        { title: 'PACKAGE', of: (one) => one.package },
        { title: 'VERSION', of: (one) => one.version },
        { title: 'SOURCE', of: (one) => sourceName(one.source) },
        { title: 'STATE', of: (one) => one.state },
        { title: 'VOUCHED FOR BY', of: ({ locked }) => locked?.signer?.repository ?? locked?.waiver?.by },
        { title: 'PROVIDERS', of: (one) => one.providers.join(', ') || undefined },
      ],
      `${site.shown} names no plugin`,
    )
    for (const { alias, reason } of rows) if (reason !== undefined) say(`${alias}: ${reason}; run: muster plugins lock`)
    if (rows.some((one) => one.state === 'development')) say('a plugin in a folder is for development: nobody checks its files')
  }
  return site.problems.length === 0 ? exits.ok : exits.failed
}

export async function showPlugin(site: Site, alias: string, options: Pick<Asking, 'json' | 'client'>): Promise<number> {
  const { json } = options
  const entry = entryOf(site, alias)
  const row = rowOf(entry, site)
  const { locked } = row
  const plugin = await pluginOf(row, entry, site)
  const kept = await keptOf(alias, options)
  if (json === true) {
    printJson({ ...row, kept, ...(plugin === undefined ? {} : { isolation: plugin.isolation, manifest: plugin.manifest }) })
    return exits.ok
  }
  const facts: [string, string | undefined][] = [
    ['package', `${row.package}@${row.version}`],
    ['source', sourceName(row.source)],
    ['demanded', entry.isolation],
    ['state', row.reason === undefined ? row.state : `${row.state}: ${row.reason}`],
    ['sha512', locked?.sha512],
    ['files', locked?.tree],
    ['published', locked?.published],
    ['trust', locked && vouching(locked)],
    ['conformance', locked && conforming(locked)],
    ['report', locked && (await reportOf(alias, locked, site))],
    ['commit', locked?.signer?.commit],
    ['before', locked?.previous?.version],
    ['providers', row.providers.join(', ')],
    ...kept.map(({ provider, ...one }): [string, string] => ['kept', `${keptText(one)} (${provider})`]),
    ...(plugin === undefined ? [] : factsOf(plugin)),
  ]
  const wide = Math.max(...facts.map(([name]) => name.length))
  for (const [name, value] of facts) if (value !== undefined && value !== '') print(`${name.padEnd(wide)}  ${inert(value)}`)
  if (plugin === undefined) say('its files are not here: see what it may do after muster plugins verify')
  return exits.ok
}

type KeptShown = NonNullable<Provider['kept']> & { provider: string }

/** What a daemon that runs keeps of this alias; nothing, where none does. */
async function keptOf(alias: string, options: Pick<Asking, 'client'>): Promise<KeptShown[]> {
  const providers = (await (await runningClient(options))?.providers.list()) ?? []
  return providers.flatMap(({ name, alias: used, kept }) =>
    used !== alias || kept === undefined ? [] : [{ provider: name, ...kept }],
  )
}

async function pluginOf(
  { locked }: Row,
  entry: PluginEntry,
  { registry, stores, ground }: Site,
): Promise<DiscoveredPlugin | undefined> {
  const root = locked === undefined ? pathOf(entry.source, registry.base) : await findContent(locked.sha512, stores)
  if (root === undefined || (locked === undefined && !('folder' in entry.source))) return undefined
  const from = { root, registry, ground, ...(locked === undefined ? {} : { locked }) }
  return (await openPackage(entry, from)).plugin
}

/** Its digest, compared with what is here of the plugin; an error where somebody has changed what the lock says of it. */
async function reportOf(alias: string, locked: LockedPlugin, { stores }: Site): Promise<string | undefined> {
  const { conformance } = locked
  const root = await findContent(locked.sha512, stores)
  const digest = conformance !== undefined && 'report' in conformance ? conformance.report : undefined
  if (root === undefined) return digest
  try {
    checkReport({ alias }, locked, await filesOfFolder(root))
    return digest === undefined ? undefined : `${digest}, as packed`
  } catch (error) {
    if (!(error instanceof PluginRefusal)) throw error
    return `${error.code}: ${error.message}; ${error.fix}`
  }
}

function factsOf({ manifest, isolation }: DiscoveredPlugin): [string, string][] {
  const { kind, contract, interpreter, permissions, secrets, limits, capabilities } = manifest
  const { childProcess, ...lists } = permissions
  const { enforced, advisory } = isolation
  return [
    ['isolation', `${isolation.level}: ${levelName(isolation, interpreter)}`],
    ['no more since', reasonOf(isolation) ?? ''],
    ['enforced', enforced.join(', ')],
    ['advisory', advisory.join(', ')],
    ['kind', kind],
    ['contract', contract.join(', ')],
    ['runs by', interpreter ?? ''],
    ...Object.entries(lists).map(([name, list]): [string, string] => [`may: ${name}`, list.join(', ')]),
    ['may: childProcess', childProcess ? 'yes' : ''],
    ['secrets', secrets.join(', ')],
    [
      'limits',
      Object.entries(limits)
        .map(([name, value]) => `${name} ${value}`)
        .join(', '),
    ],
    [
      'capabilities',
      Object.entries(capabilities)
        .filter(([, value]) => value !== false)
        .map(([name]) => name)
        .join(', '),
    ],
  ]
}
