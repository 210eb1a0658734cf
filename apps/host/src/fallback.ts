/** Back to the version before in the lock, where the one that it holds cannot start by its own fault and its entry wants that. */
import { basename } from 'node:path'
import { crossCheck } from './config/check.ts'
import { loadConfig, type MusterConfig } from './config/load.ts'
import { type Deployment, withDev } from './dev-parts.ts'
import type { Engine } from './engine/api.ts'
import type { ProviderEntry } from './engine/entries.ts'
import type { FallbackRecord } from './engine/fallback.ts'
import { previousOf } from './examine.ts'
import type { ProviderStatus } from './plugins/api.ts'
import type { Discovery, Stores } from './plugins/discover.ts'
import type { DiscoveredPlugin } from './plugins/package.ts'
import type { StartedRoom } from './plugins/room.ts'
import type { RoomLog } from './plugins/supervise.ts'
import type { RunningState } from './running.ts'
import { accountAll } from './upgrade.ts'

export interface FallBackDeps {
  running: RunningState
  /** Where tarballs are unpacked. */
  store: string
  engine: Pick<Engine, 'upgrades'>
  plugins: Pick<StartedRoom, 'stage' | 'onUnfit' | 'find'>
  /** How the providers of these files are configured, to be noted. */
  entries(found: Deployment): ProviderEntry[]
  log: Pick<RoomLog, 'warn' | 'error'>
}

/** Watches for versions that cannot start. Returns what ends that. */
export function startFallBack({ running, store, engine, plugins, entries, log }: FallBackDeps): () => Promise<void> {
  let work: Promise<unknown> = Promise.resolve()
  let stopped = false

  /** Why the version before does not take over; undefined: it has, or nobody wants it. */
  async function fallBack(name: string, reason: string): Promise<string | undefined> {
    const { config, discovery } = running.now
    const alias = config.providers.find((one) => one.name === name)?.alias
    const old = discovery.plugins.find((one) => one.alias === alias)
    // It was swapped meanwhile, or is well again.
    const now = plugins.find(name)?.status()
    if (stopped || old?.entry.fallBack !== true || now?.plugin.version !== old.manifest.version || now.breaker !== 'open')
      return undefined
    const well = config.providers.find((one) => one.alias === alias && isWell(plugins.find(one.name)?.status(), old))
    if (well !== undefined) return `${old.manifest.version} runs for ${well.name}, whose plugin is the same`
    const found = await previousOf(old.alias, { config, stores: [store] })
    if ('refused' in found) return found.refused.reason
    const next = found.plugin
    if (old.tree === undefined || found.currentTree !== old.tree || next.tree === undefined)
      return 'the lock holds another version than the one that cannot start'
    const loaded = await loadConfig(config.file)
    const replaced = replacedIn(discovery, next)
    const manifests = new Map(replaced.plugins.map((one) => [one.alias, one.manifest]))
    const problem = crossCheck(loaded, manifests, { strictly: true })[0]
    if (problem !== undefined) return `the configuration does not fit ${next.manifest.version}: ${problem.reason}`
    const staged = await plugins.stage(
      { ...withDev({ config, discovery: replaced }, running.dev), only: old.alias },
      loaded.problem,
    )
    if ('problems' in staged) return staged.problems[0]?.reason
    try {
      const { known, lost, failed } = await accountAll(staged.candidates, engine)
      if (failed === undefined && !lost.some((one) => one.kept !== undefined)) {
        const keep = [...new Set(lost.map((one) => one.provider))]
        await engine.upgrades.switch({
          ...{ principal: 'the daemon', alias: old.alias, before: old.manifest.version, after: next.manifest.version, known },
          providers: staged.candidates.map((one) => one.provider),
          // What it does not know stays with the version that cannot start: nobody takes it for gone.
          ...(keep.length === 0 ? {} : { keep: { providers: keep, tree: old.tree, content: basename(old.root) } }),
          fallBack: { provider: name, tree: old.tree, beforeTree: next.tree, reason },
          entries: entries({ config, discovery: replaced }),
          commit: () => staged.commit(new Set(keep)),
        })
        running.now = { ...running.now, discovery: replaced }
        return undefined
      }
      await staged.discard()
      return failed ?? 'an older version is kept for workers that it does not account for'
    } catch (error) {
      await staged.discard()
      throw error
    }
  }

  const forget = plugins.onUnfit((name, reason) => {
    work = running
      .inTurn(() => fallBack(name, reason))
      .then((why) => {
        if (why !== undefined)
          log.warn(
            { provider: name, reason: why },
            'the version before does not take over; it is tried again with the next start',
          )
      })
      .catch((error: unknown) => log.error({ provider: name, error: String(error) }, 'the version before could not take over'))
  })
  return async () => {
    stopped = true
    forget()
    await work
  }
}

/** It has a process of this version that is not found unfit: what ails another provider of it is not the version's. */
function isWell(now: ProviderStatus | undefined, { manifest }: DiscoveredPlugin): boolean {
  if (now?.pid === undefined || now.plugin.version !== manifest.version) return false
  return now.state === 'ready' || now.breaker !== 'open'
}

/** What runs by these records: the version before, where the lock holds both just so and its entry still wants it. */
export async function fallenBack(
  discovery: Discovery,
  records: readonly FallbackRecord[],
  by: { config: MusterConfig; stores: Stores },
): Promise<Discovery> {
  let now = discovery
  for (const { alias, tree, before_tree: beforeTree } of records) {
    const held = discovery.plugins.find((one) => one.alias === alias)
    if (held?.tree !== tree || held.entry.fallBack !== true) continue
    const found = await previousOf(alias, by)
    if ('plugin' in found && found.plugin.tree === beforeTree) now = replacedIn(now, found.plugin)
  }
  return now
}

function replacedIn(discovery: Discovery, next: DiscoveredPlugin): Discovery {
  return { ...discovery, plugins: discovery.plugins.map((one) => (one.alias === next.alias ? next : one)) }
}
