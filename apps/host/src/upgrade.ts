/** Another version of one plugin while the daemon runs: verified, started beside, asked for every live worker, and only then in its place. */
import { isDeepStrictEqual } from 'node:util'
import { basename } from 'node:path'
import { isProviderError } from '@muster/core'
import { crossCheck } from './config/check.ts'
import { loadConfig } from './config/load.ts'
import { type Deployment, withDev } from './dev-parts.ts'
import { EngineError, type Engine } from './engine/api.ts'
import type { ProviderEntry } from './engine/entries.ts'
import type { PassKillPoint } from './engine/killpoint.ts'
import type { PluginVersion, StartedVersion } from './engine/upgrade-api.ts'
import { discoveredBeside } from './examine.ts'
import type { Discovery } from './plugins/discover.ts'
import type { DiscoveredPlugin } from './plugins/package.ts'
import { candidateFileOf, holdsPrevious, lockedDigests, lockedVersion } from './plugins/lock.ts'
import type { Candidate, Staged, StartedRoom } from './plugins/room.ts'
import type { RunningState } from './running.ts'
import { type LostWorker, report, type Upgraded, type UpgradeReport } from './upgrade-report.ts'

export interface UpgradeHow {
  principal: string
  /** All but the switch. */
  rehearse: boolean
  /** By the registry manifest of this name and its lock, beside those that are, as `muster plugins upgrade` writes them first. */
  candidate?: string
  /** The version before stays for workers that the other does not account for. */
  keepOld: boolean
}

/** Errors: EngineError `not-found` and `conflict`, StoreError; then nothing has changed. */
export type Upgrade = (alias: string, how: UpgradeHow) => Promise<Upgraded>

export interface UpgradeDeps {
  running: RunningState
  /** Where tarballs are unpacked. */
  store: string
  engine: Pick<Engine, 'upgrades'>
  plugins: Pick<StartedRoom, 'stage' | 'list'>
  killpoint: PassKillPoint
  /** How the providers of these files are configured, to be noted. */
  entries(found: Deployment): ProviderEntry[]
  /** Told when another version has taken over. */
  switched(): void
}

export function upgradeOf({ running, store, engine, plugins, killpoint, entries, switched }: UpgradeDeps): Upgrade {
  async function upgrade(alias: string, how: UpgradeHow): Promise<Upgraded> {
    const { config, discovery } = running.now
    const old = discovery.plugins.find((one) => one.alias === alias)
    if (old === undefined) throw notFound(alias, discovery)
    const loaded = await loadConfig(config.file)
    if (!isDeepStrictEqual(loaded.written, running.now.written))
      throw new EngineError('conflict', 'the configuration has changes that are not in force', {
        hint: 'Apply them first: muster apply. An upgrade changes one plugin and nothing else.',
      })
    const { candidate } = how
    const file = candidate === undefined ? config.pluginsFile : candidateFileOf(config.pluginsFile, candidate)
    const found = await discoveredBeside(file, config, [store])
    const next = found.plugins.find((one) => one.alias === alias)
    const told = report(alias, old)
    const locked = await lockedVersion(file, alias)
    if (locked !== undefined) told.after(locked)
    if (next === undefined) return told.stopped('verify', 'it cannot be loaded', { problems: found.problems })
    told.after(next.manifest.version)
    if (isDeepStrictEqual(next, old))
      return told.same(
        plugins.list().map((one) => one.status()),
        config.pluginsFile,
      )
    const replaced = { ...discovery, plugins: discovery.plugins.map((one) => (one === old ? next : one)) }
    const manifests = new Map(replaced.plugins.map((one) => [one.alias, one.manifest]))
    const problems = crossCheck(loaded, manifests, { strictly: true })
    if (problems.length > 0) return told.stopped('verify', 'the configuration does not fit it', { problems })
    told.step('verify', next.tree === undefined ? 'a folder: nobody checks its files' : 'its files are those of the lock')
    killpoint('upgrade-verified')
    const staged = await plugins.stage({ ...withDev({ config, discovery: replaced }, running.dev), only: alias }, loaded.problem)
    if ('problems' in staged) return told.stopped('start', 'it cannot be started', { problems: staged.problems })
    try {
      return await taken({ staged, told, how, alias, versions: [old, next], replaced, file })
    } catch (error) {
      await staged.discard()
      throw error
    }
  }

  async function taken(given: {
    staged: Staged
    told: UpgradeReport
    how: UpgradeHow
    alias: string
    versions: readonly [DiscoveredPlugin, DiscoveredPlugin]
    replaced: Discovery
    file: string
  }): Promise<Upgraded> {
    const { staged, told, how, alias, replaced } = given
    const [before, after] = given.versions.map((one) => one.manifest.version) as [string, string]
    const { candidates } = staged
    told.step('start', startFact(candidates))
    killpoint('upgrade-started')
    const { known, lost: missing, failed } = await accountAll(candidates, engine)
    const providers = candidates.map((one) => one.provider)
    const accounted = Object.values(known).reduce((sum, ids) => sum + ids.length, 0)
    const { lost, kept } = await staying(missing, { ...given, failed })
    const others = kept.length === 0 ? '' : `; ${before} stays for ${namesOf(kept)}`
    if (lost.length > 0 || failed !== undefined) {
      const fact = failed ?? `it accounts for ${accounted} live workers, and not for ${namesOf(lost)}`
      await staged.discard()
      if (!how.rehearse) {
        const ids = lost.map((one) => one.worker)
        await engine.upgrades.refuse({ ...how, alias, before, after, providers, reason: fact, lost: ids })
      }
      return told.stopped('account', fact, { lost })
    }
    const all = kept.length === 0 ? 'all ' : ''
    told.step('account', `it accounts for ${all}${accounted} live workers${others}`)
    killpoint('upgrade-accounted')
    if (how.rehearse) {
      await staged.discard()
      return told.rehearsed(kept)
    }
    const names = [...new Set(kept.map((one) => one.provider))]
    const { tree = '', root } = given.versions[0]
    const keep = names.length === 0 ? {} : { keep: { providers: names, tree, content: basename(root) } }
    const commit = (): void => staged.commit(new Set(names))
    const locked = (await lockedDigests(running.now.config.pluginsFile)).get(alias)
    const noted = locked === undefined ? {} : { locked }
    const { name } = given.versions[1].manifest
    const next = { ...running.now, discovery: replaced }
    const also = { ...keep, ...noted, entries: entries(next) }
    await engine.upgrades.switch({ ...how, alias, before, after, package: name, providers, known, ...also, commit })
    running.now = next
    switched()
    return told.switched(kept)
  }

  /** Those that stand in the way, and those that do not since the version before may stay for them. */
  async function staying(
    missing: readonly LostWorker[],
    given: Parameters<typeof taken>[0] & { failed: string | undefined },
  ): Promise<Pick<Upgraded, 'lost' | 'kept'>> {
    const { how, versions, alias, file, failed } = given
    if (missing.length === 0 || failed !== undefined || !how.keepOld) return { lost: [...missing], kept: [] }
    const [old, next] = versions
    const hindrance = (await keepHindrance(old, { next, file, alias })) ?? undefined
    const why = (one: LostWorker): string | undefined =>
      hindrance ?? (one.kept === undefined ? undefined : `${one.kept} is kept for it, and there is no room for a third version`)
    const lost = missing.flatMap((one) => (why(one) === undefined ? [] : [{ ...one, why: `${one.why}; ${why(one)}` }]))
    return lost.length === 0 ? { lost, kept: [...missing] } : { lost, kept: [] }
  }

  return (alias, how) => running.inTurn(() => upgrade(alias, how))
}

function notFound(alias: string, { plugins }: Discovery): EngineError {
  return new EngineError('not-found', `no plugin that runs has the alias '${alias}'`, {
    hint: `There are: ${plugins.map((one) => one.alias).join(', ')}. A new one is taken over with: muster apply.`,
  })
}

/** Why a version cannot stay beside the next one: after a restart it would not be there. */
async function keepHindrance(
  old: DiscoveredPlugin,
  { next, file, alias }: { next: DiscoveredPlugin; file: string; alias: string },
): Promise<string | undefined> {
  if (old.tree === undefined) return 'a folder cannot be kept, since no lock holds it'
  if (old.manifest.version === next.manifest.version) return 'nobody could tell two plugins of one version apart'
  if (await holdsPrevious(file, { alias, version: old.manifest.version, tree: old.tree })) return undefined
  return `${old.manifest.version} cannot be kept, since the lock does not hold it as the one before`
}

function namesOf(workers: readonly LostWorker[]): string {
  return workers.map((one) => one.worker).join(', ')
}

/** What its workers are told by. */
export function versionOf({ manifest: { name, version } }: DiscoveredPlugin): PluginVersion {
  return { version, package: name }
}

/** The workers that candidates do not account for, of all their providers. */
export async function accountAll(
  candidates: readonly Candidate[],
  { upgrades }: Pick<Engine, 'upgrades'>,
): Promise<{ known: Record<string, string[]>; lost: LostWorker[]; failed?: string }> {
  const known: Record<string, string[]> = {}
  const lost: LostWorker[] = []
  for (const { provider, plugin, ask } of candidates) {
    const handles = 'handles' in plugin.manifest.capabilities ? plugin.manifest.capabilities.handles : []
    try {
      const account = await upgrades.account(provider, { ask, handles })
      known[provider] = account.known
      lost.push(...account.lost.map((one) => ({ provider, ...one })))
    } catch (error) {
      if (!isProviderError(error)) throw error
      return { known, lost, failed: `it cannot be asked for the workers of '${provider}': ${error.code}: ${error.message}` }
    }
  }
  return { known, lost }
}

/** What runs at a start, by provider, and what the lock has of it. */
export async function startedVersions(
  plugins: Pick<StartedRoom, 'list'>,
  registryFile: string,
): Promise<Map<string, StartedVersion>> {
  const all = await lockedDigests(registryFile)
  return new Map(
    plugins.list().map((one) => {
      const locked = all.get(one.status().alias)
      return [one.name, { version: one.manifest.version, ...(locked === undefined ? {} : { locked }) }]
    }),
  )
}

function startFact(candidates: readonly Candidate[]): string {
  if (candidates.length === 0) return 'no provider runs it'
  const notes = candidates.flatMap((one) => one.notes)
  const names = candidates.map((one) => one.provider).join(', ')
  return `described, configured and probed for ${names}${notes.length === 0 ? '' : ` (${[...new Set(notes)].join('; ')})`}`
}
