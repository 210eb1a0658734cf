/** The versions of plugins that are kept beside those that run: which workers are theirs, and the end of each with the last of them. */
import type { Store } from '../store/store.ts'
import { background, type Context, persist } from './context.ts'
import type { Deadlines } from './deadlines.ts'
import { isElsewhere } from './elsewhere.ts'
import { entriesOf } from './entries.ts'
import { helpless } from './forget.ts'
import type { LiveWorker } from './model.ts'
import type { Owned } from './owners.ts'
import { changeWorker, journal, type WorkerChange, writing, type Writing } from './records.ts'
import type { KeptPlugin, PluginVersion } from './upgrade-api.ts'
import { brief } from './words.ts'

export interface KeptVersions {
  /** In a write that makes it the one that runs: all live workers of the provider are its own. */
  takeAll(w: Writing, provider: string, by: PluginVersion): Promise<void>
  /** The same for these workers; all others stay with the version before, which is kept. */
  takeSome(w: Writing, kept: KeptPlugin, how: { by: PluginVersion; mine(worker: LiveWorker): boolean }): Promise<void>
  /** What operators see of it, as it is now. */
  show(provider: string): void
}

/** Of each provider at the most one. */
export async function keptPlugins(store: Store): Promise<Map<string, KeptPlugin>> {
  return new Map((await store.read.selectFrom('kept_plugins').selectAll().execute()).map((row) => [row.provider, row]))
}

/** Folders of the content store that are needed, whatever the lock says: of kept versions, and of how providers were configured last. */
export async function heldContents(store: Store): Promise<string[]> {
  const noted = (await entriesOf(store)).map(({ value }) => JSON.parse(value) as { content?: string })
  return [...(await keptPlugins(store)).values(), ...noted].flatMap(({ content }) => content ?? [])
}

/** Workers of one provider that are asked for together: those of the version that runs, or of the kept one. */
export function laneOf(context: Context, { provider, plugin_version: owner }: LiveWorker): string {
  return context.kept.get(provider)?.version === owner ? `${provider}@${owner}` : provider
}

/**
 * The version of its plugin that a worker belongs to, where it is neither the one that runs nor a kept one: a start with another lock has
 * it so, and one with another configuration. What the one that runs does not show of these proves nothing; what it shows is its own.
 * `package`: it is of another one.
 */
export function strandedBy(context: Asked, worker: Owned & { id?: string }): Stranded | undefined {
  const { plugins, kept } = context
  const { provider, plugin_version: owner, plugin_package: ownerPackage, launched_at: launchedAt } = worker
  const running = plugins.find(provider)?.manifest
  if (isElsewhere(context, worker)) return { version: owner ?? running?.version ?? '', elsewhere: true }
  if (owner === null || launchedAt === null || running === undefined) return undefined
  // Of a kept version too: that is an older one of the package that runs.
  if (ownerPackage !== null && ownerPackage !== running.name) return { version: owner, package: ownerPackage }
  if (owner === kept.get(provider)?.version) return undefined
  return owner === running.version ? undefined : { version: owner }
}

type Asked = Pick<Context, 'plugins' | 'kept' | 'settings' | 'doubtful'>

interface Stranded {
  version: string
  package?: string
  /** By what the configuration of its provider was; the version is none of the reasons. */
  elsewhere?: true
}

/** Ids by shape, without stranded ones: whether they are there at all, and fit for work, nobody who runs can say. */
export function knownOf(context: Context, idle: ReadonlyMap<string, readonly string[]>): ReadonlyMap<string, readonly string[]> {
  // With ten thousand idle workers each pass would look at all of them.
  if (context.state.owners().every((owned) => strandedBy(context, owned) === undefined)) return idle
  const known = (id: string): boolean => {
    const worker = context.state.workers.get(id)
    return worker !== undefined && strandedBy(context, worker) === undefined
  }
  return new Map(
    [...idle].map(([shape, ids]): [string, string[]] => [shape, ids.filter(known)]).filter(([, ids]) => ids.length > 0),
  )
}

/** What the version that runs makes of a worker which it knows. */
export function takenOver(context: Asked, worker: LiveWorker): Pick<WorkerChange, 'plugin_version' | 'plugin_package'> {
  const running = context.plugins.find(worker.provider)?.manifest
  if (running === undefined || strandedBy(context, worker) === undefined) return {}
  const taken = { plugin_version: running.version, plugin_package: running.name }
  return isOf(worker, taken) ? {} : taken
}

export interface KeptParts {
  orphans: { count(provider: string): number }
  deadlines: Deadlines
  observer(name: string): { sawAllAt(): number } | undefined
  /** Lists its workers soon. */
  relist(name: string): void
  /** Told of a provider when all that a list of it has shown is applied. */
  listed: Set<(name: string) => void>
}

export function keptVersions(context: Context, parts: KeptParts): KeptVersions {
  const { state, plugins, kept, conditions } = context
  /** Ids of live workers of each kept version, by provider. */
  const left = new Map<string, Set<string>>()
  /** When the last of them ended. */
  const emptySince = new Map<string, number>()

  function count(provider: string): void {
    const version = kept.get(provider)?.version
    if (version === undefined) left.delete(provider)
    else left.set(provider, new Set([...state.ofProvider(provider)].filter((id) => ownerOf(id) === version)))
  }

  const ownerOf = (id: string): string | null | undefined => state.workers.get(id)?.plugin_version
  plugins.ownedBy(ownerOf)

  state.onWorker(({ id, provider, plugin_version: owner, ended_at: endedAt }) => {
    const mine = left.get(provider)
    if (mine === undefined) return
    if (endedAt === null && owner === kept.get(provider)?.version) mine.add(id)
    else if (mine.delete(id) && mine.size === 0) ended(provider)
  })
  parts.listed.add(letGoEmpty)

  /** What has no record is seen by lists alone, and one that began before is of before. */
  function ended(provider: string): void {
    emptySince.set(provider, context.clock.now())
    const listAt = context.clock.now() + goneMs(provider) + 1
    parts.deadlines.set(`kept:${provider}`, listAt, () => parts.relist(provider))
    letGoEmpty(provider)
  }

  const goneMs = (provider: string): number => plugins.find(provider)?.capabilities.visibility.goneMs ?? 0

  /** Nothing is left there that only this version shows, or nobody can ever ask it; or it is what runs. */
  function isEmpty({ provider, version, since }: KeptPlugin): boolean {
    if (plugins.find(provider)?.manifest.version === version) return true
    if ((left.get(provider)?.size ?? 0) > 0) return false
    const state = plugins.find(provider)?.status().kept?.state
    if (state === undefined || helpless.includes(state)) return true
    if (parts.orphans.count(provider) > 0) return false
    const from = Math.max(since, context.startedAt, emptySince.get(provider) ?? 0)
    return (parts.observer(provider)?.sawAllAt() ?? 0) > from + goneMs(provider)
  }

  function letGoEmpty(provider: string): void {
    const row = kept.get(provider)
    if (row === undefined || !isEmpty(row)) return
    background(context, 'a kept version of a plugin could not be let go', () => letGo(row, 'its last worker is gone'))
  }

  async function letGo(row: KeptPlugin, why: string): Promise<void> {
    const { provider, version } = row
    await persist(context, async (tx, after) => {
      if (kept.get(provider) !== row || !isEmpty(row)) return
      await tx.deleteFrom('kept_plugins').where('provider', '=', provider).where('version', '=', version).execute()
      await journal(writing(context, tx, after), {
        rule: 'plugin-let-go',
        decision: `version ${version} of its plugin ends: ${why}`,
        provider,
        inputs: { version, since: row.since },
      })
      after(() => {
        if (kept.get(provider) !== row) return
        forget(provider)
        plugins.letGo(provider)
      })
    })
  }

  function forget(provider: string): void {
    kept.delete(provider)
    left.delete(provider)
    emptySince.delete(provider)
    conditions.clear({ scope: 'provider', name: provider, type: 'kept' })
  }

  function show(provider: string): void {
    const row = kept.get(provider)
    const now = plugins.find(provider)?.status()
    letGoEmpty(provider)
    if (row === undefined || now?.kept === undefined) return
    const { version, state: how, reason, hint } = now.kept
    const ill = how === 'ready' || how === 'starting' ? '' : `, and is ${how}: ${brief(reason ?? 'no reason given')}`
    conditions.raise({
      scope: 'provider',
      name: provider,
      type: 'kept',
      message: `version ${version} of its plugin goes on for workers that ${now.plugin.version} does not account for${ill}`,
      hint: ill !== '' && hint !== undefined ? hint : `It ends with the last of them: muster workers --provider ${provider}`,
    })
  }

  // Its row went with the daemon that had raised it.
  for (const { name, type } of conditions.list())
    if (type === 'kept' && !kept.has(name)) conditions.clear({ scope: 'provider', name, type })
  // Of a daemon that died between the end of the last worker and that of its version; or this very version runs again.
  for (const row of kept.values()) {
    // Undefined: the configuration names its provider no longer.
    const running = plugins.find(row.provider)?.manifest.version
    if (running !== row.version) count(row.provider)
    if (running === row.version) background(context, 'a kept version could not be let go', () => letGo(row, 'it runs again'))
    else letGoEmpty(row.provider)
    show(row.provider)
  }

  return {
    show,
    async takeAll({ tx, after }, provider, by) {
      const owned = { plugin_version: by.version, plugin_package: by.package }
      await tx.updateTable('workers').set(owned).where('provider', '=', provider).where('ended_at', 'is', null).execute()
      await tx.deleteFrom('kept_plugins').where('provider', '=', provider).execute()
      after(() => {
        forget(provider)
        for (const id of state.ofProvider(provider)) {
          const worker = state.workers.get(id)
          if (worker !== undefined && !isOf(worker, owned)) state.setWorker({ ...worker, ...owned })
        }
        plugins.letGo(provider)
      })
    },
    async takeSome(w, row, { by, mine }) {
      const { provider } = row
      for (const id of state.ofProvider(provider)) {
        const worker = state.workers.get(id)
        if (worker === undefined) continue
        // Neither of the two has it.
        if (!mine(worker) && strandedBy(context, worker) !== undefined) continue
        const owned = mine(worker)
          ? { plugin_version: by.version, plugin_package: by.package }
          : { plugin_version: row.version, plugin_package: worker.plugin_package }
        if (!isOf(worker, owned)) await changeWorker(w, worker, owned)
      }
      const { provider: _key, ...columns } = row
      await w.tx
        .insertInto('kept_plugins')
        .values(row)
        .onConflict((conflict) => conflict.column('provider').doUpdateSet(columns))
        .execute()
      w.after(() => {
        kept.set(provider, row)
        count(provider)
        letGoEmpty(provider)
        show(provider)
      })
    },
  }
}

type Version = Pick<LiveWorker, 'plugin_version' | 'plugin_package'>

function isOf(worker: Version, owned: Version): boolean {
  return worker.plugin_version === owned.plugin_version && worker.plugin_package === owned.plugin_package
}
