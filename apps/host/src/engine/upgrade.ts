/** Another version of a plugin: whether it accounts for the workers of the one that runs, and the moment in which it takes over. */
import { type Handle, ProviderError } from '@muster/core'
import type { GuardedProvider } from '../plugins/api.ts'
import { EngineError } from './api.ts'
import { type Context, mutate } from './context.ts'
import type { LiveWorker } from './model.ts'
import type { CallQueues } from './calls.ts'
import { noteEntries } from './entries.ts'
import { acknowledge, fellBack, noteFallBack } from './fallback.ts'
import { type KeptVersions, strandedBy } from './kept.ts'
import { walkPages } from './pages.ts'
import type { Passes } from './passes.ts'
import { journal, writing, type Writing } from './records.ts'
import type { Accountable, Account, LostWorker, PluginVersion, Upgrades } from './upgrade-api.ts'
import { forgetSwitch, noteSwitch, wentBack } from './versions.ts'
import { brief, targetOf } from './words.ts'

/** The contract's largest page, and the most that one inspect takes. */
const PAGE = 500
const BATCH = 100
/** What is launched while it is asked is asked for in another round; in a busy pool there is always some. */
const ROUNDS = 3

interface UpgradeParts {
  passes: Passes
  calls: CallQueues
  kept: KeptVersions
  observe(): void
}

export function upgradesOf(context: Context, parts: UpgradeParts): Upgrades {
  const { state, plugins } = context

  /** The vendor has them, as far as anybody knows. */
  function liveOf(provider: string): LiveWorker[] {
    return [...state.ofProvider(provider)].flatMap((id) => {
      const worker = state.workers.get(id)
      return worker === undefined || worker.launched_at === null ? [] : [worker]
    })
  }

  async function account(provider: string, { ask, handles }: Accountable): Promise<Account> {
    const checked = new Set<string>()
    const lost: Account['lost'] = []
    const known: string[] = []
    for (let round = 0; round < ROUNDS; round++) {
      const fresh = liveOf(provider).filter(({ id }) => !checked.has(id))
      if (fresh.length === 0 && round > 0) break
      for (const { id } of fresh) checked.add(id)
      const listed = await listAll(ask)
      const unread = fresh.flatMap((worker) => unreadHandle(worker, handles))
      lost.push(...unread)
      const readable = fresh.filter(({ id }) => !unread.some(({ worker }) => worker === id))
      const unlisted = readable.filter(({ id }) => !listed.has(id))
      // A list may lag behind; what is asked for by name is told for sure.
      const shown = await inspectAll(ask, unlisted)
      const missing = unlisted.filter(({ id }) => !shown.has(id))
      const gone = await goneOf(
        provider,
        missing.filter((worker) => strandedBy(context, worker) === undefined),
      )
      const left = missing.filter(({ id }) => !gone.has(id) && state.workers.has(id))
      lost.push(...left.map(({ id }) => ({ worker: id, why: 'it neither lists it nor knows it by name' })))
      known.push(...readable.filter((worker) => !missing.includes(worker)).map(({ id }) => id))
    }
    return { known, lost: lost.map(withVersion) }
  }

  function withVersion(one: LostWorker): LostWorker {
    const worker = state.workers.get(one.worker)
    const version = worker === undefined ? undefined : context.kept.get(worker.provider)?.version
    return version !== undefined && worker?.plugin_version === version ? { ...one, kept: version } : one
  }

  /** Those that the process which runs does not know either. Nobody is gone because nobody answers. */
  async function goneOf(provider: string, workers: readonly LiveWorker[]): Promise<Set<string>> {
    const running = plugins.find(provider)
    if (workers.length === 0 || running === undefined) return new Set()
    try {
      const shown = await inspectAll(running, workers)
      return new Set(workers.map(({ id }) => id).filter((id) => !shown.has(id)))
    } catch {
      return new Set()
    }
  }

  async function keepBefore(w: Writing, provider: string, how: KeepBefore): Promise<void> {
    const { before, by, known, keep } = how
    const { tree, content } = keep
    // A launch that was sent, or may have been, ends where it began.
    const unsent = ({ id, phase }: LiveWorker): boolean =>
      phase === 'launching' && !parts.calls.inDoubt(id) && !parts.calls.isOpen(id)
    const mine = (worker: LiveWorker): boolean => known.has(worker.id) || unsent(worker)
    await journal(w, {
      rule: 'plugin-kept',
      decision: `version ${before} of its plugin goes on beside`,
      provider,
      inputs: { before, after: by.version, workers: [...state.ofProvider(provider)].filter((id) => !known.has(id)) },
      change: 'The last of these workers is gone.',
    })
    await parts.kept.takeSome(w, { provider, version: before, tree, content, since: w.now }, { by, mine })
  }

  return {
    account,
    hasLive: (provider) => liveOf(provider).length > 0,
    acknowledge: (alias, how) => acknowledge(context, alias, how),
    switch: async (given) => {
      const { principal, alias, before, after: to, providers, known, keep, fallBack, locked, commit } = given
      await mutate(context, async (tx, after) => {
        if (context.stopping.aborted) throw new EngineError('stopping', 'the daemon is stopping')
        const w = writing(context, tx, after)
        const by = (provider: string): PluginVersion => ({
          version: to,
          package: given.package ?? plugins.provider(provider).manifest.name,
        })
        const upgraded = {
          rule: 'plugin-upgraded' as const,
          change: `The version before is kept: muster plugins rollback ${alias}.`,
        }
        for (const provider of providers)
          await journal(w, {
            ...(fallBack === undefined ? upgraded : fellBack(fallBack.reason)),
            decision: `version ${to} of its plugin takes over from ${before}`,
            provider,
            inputs: { principal, alias, before, after: to, workers: known[provider]?.length ?? 0, reason: fallBack?.reason },
          })
        for (const provider of providers)
          // A lock is not written after a fall back, which is kept apart from it.
          await (fallBack === undefined
            ? noteSwitch(tx, provider, { before, after: to, ...(locked === undefined ? {} : { locked }) })
            : forgetSwitch(tx, provider))
        await noteFallBack(w, given)
        await noteEntries(tx, given.entries ?? [])
        after(() => {
          context.killpoint('upgrade-stored')
          commit()
        })
        for (const provider of providers) {
          if (keep?.providers.includes(provider) !== true) await parts.kept.takeAll(w, provider, by(provider))
          else await keepBefore(w, provider, { before, by: by(provider), known: new Set(known[provider]), keep })
        }
        after(() => {
          parts.observe()
          parts.passes.poke()
          context.killpoint('upgrade-switched')
        })
      })
    },
    wentBack: (started) => wentBack(context, started),
    refuse: async ({ principal, alias, before, after: to, providers, reason, lost }) => {
      await mutate(context, async (tx, after) => {
        for (const provider of providers)
          await journal(writing(context, tx, after), {
            rule: 'plugin-refused',
            decision: `version ${before} of its plugin goes on: ${brief(reason)}`,
            provider,
            inputs: { principal, alias, before, after: to, lost },
            change: 'The version accounts for all live workers, or these are gone.',
          })
      })
    },
  }
}

interface KeepBefore {
  before: string
  by: PluginVersion
  known: ReadonlySet<string>
  keep: { tree: string; content: string }
}

function unreadHandle({ id, handle }: LiveWorker, handles: readonly number[]): LostWorker[] {
  if (handle === null) return []
  const { v } = JSON.parse(handle) as Handle
  return handles.includes(v) ? [] : [{ worker: id, why: `it cannot read its handle, which is of version ${v}` }]
}

async function listAll(ask: Accountable['ask']): Promise<Set<string>> {
  const ids = new Set<string>()
  const complete = await walkPages(
    (at) => ask.list({ limit: PAGE, ...at }),
    (page) => {
      for (const { id } of page.workers) ids.add(id)
    },
  )
  if (!complete) throw new ProviderError('internal', 'its list never ends', { effect: 'none' })
  return ids
}

async function inspectAll(ask: Pick<GuardedProvider, 'inspect'>, workers: readonly LiveWorker[]): Promise<Set<string>> {
  const ids = new Set<string>()
  for (let from = 0; from < workers.length; from += BATCH) {
    for (const { id } of await ask.inspect(workers.slice(from, from + BATCH).map(targetOf))) ids.add(id)
  }
  return ids
}
