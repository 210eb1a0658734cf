/** Another version of a plugin: whether it accounts for the workers of the one that runs, and the moment in which it takes over. */
import { type Handle, ProviderError } from '@muster/core'
import type { GuardedProvider } from '../plugins/api.ts'
import { EngineError } from './api.ts'
import { type Context, mutate } from './context.ts'
import type { LiveWorker } from './model.ts'
import { walkPages } from './pages.ts'
import type { Passes } from './passes.ts'
import { journal, writing } from './records.ts'
import { noteSwitch, wentBack, type WentBack } from './versions.ts'
import { brief, targetOf } from './words.ts'

export interface Upgrades {
  /**
   * Asks a process that has not taken over for every live worker of its provider. One that neither it nor the process that runs knows is
   * gone, and nobody's to account for. Errors: ProviderError.
   */
  account(provider: string, candidate: Accountable): Promise<Account>
  /** Durable first; then `commit` in the same turn. Errors: StoreError and EngineError, and nothing has changed. */
  switch(how: Switch): Promise<void>
  /** At a start, with the versions of plugins by provider: those that went back from what they had switched to. Errors: StoreError. */
  wentBack(started: ReadonlyMap<string, string>): Promise<WentBack[]>
  /** Notes that it was tried. Errors: StoreError. */
  refuse(how: Refused): Promise<void>
}

export interface Accountable {
  ask: Pick<GuardedProvider, 'list' | 'inspect'>
  /** Versions of handles that it reads. */
  handles: readonly number[]
}

export interface Account {
  /** Live workers that it accounts for. */
  known: number
  lost: { worker: string; why: string }[]
}

interface Versions {
  principal: string
  alias: string
  before: string
  after: string
  /** Names of the providers that use the alias. */
  providers: readonly string[]
}

export interface Switch extends Versions {
  /** Workers that were accounted for, by provider. */
  known: Readonly<Record<string, number>>
  /** Lets the processes take over. */
  commit(): void
}

export interface Refused extends Versions {
  reason: string
  /** Ids of workers. */
  lost: readonly string[]
}

/** The contract's largest page, and the most that one inspect takes. */
const PAGE = 500
const BATCH = 100
/** What is launched while it is asked is asked for in another round; in a busy pool there is always some. */
const ROUNDS = 3

export function upgradesOf(context: Context, parts: { passes: Passes; observe(): void }): Upgrades {
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
    let known = 0
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
      const gone = await goneOf(provider, missing)
      const left = missing.filter(({ id }) => !gone.has(id) && state.workers.has(id))
      lost.push(...left.map(({ id }) => ({ worker: id, why: 'it neither lists it nor knows it by name' })))
      known += readable.length - missing.length
    }
    return { known, lost }
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

  return {
    account,
    switch: async ({ principal, alias, before, after: to, providers, known, commit }) => {
      await mutate(context, async (tx, after) => {
        if (context.stopping.aborted) throw new EngineError('stopping', 'the daemon is stopping')
        for (const provider of providers)
          await journal(writing(context, tx, after), {
            rule: 'plugin-upgraded',
            decision: `version ${to} of its plugin takes over from ${before}`,
            provider,
            inputs: { principal, alias, before, after: to, workers: known[provider] ?? 0 },
            change: `The version before is kept: muster plugins rollback ${alias}.`,
          })
        for (const provider of providers) await noteSwitch(tx, provider, { before, after: to })
        after(() => {
          context.killpoint('upgrade-stored')
          commit()
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

function unreadHandle({ id, handle }: LiveWorker, handles: readonly number[]): Account['lost'] {
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
