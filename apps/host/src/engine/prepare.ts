/**
 * Pool-wide things at a provider (a network, a task definition): made once before the first launch of a pool there, and removed when the
 * pool needs them no longer and its last worker there is gone. What was made is noted in the store, so that a restart forgets none of it.
 */
import { type Handle, ProviderError, reactions, toProviderError } from '@muster/core'
import type { GuardedProvider } from '../plugins/api.ts'
import { ceiling, providerBackoff } from './backoff.ts'
import { background, type Context, persist } from './context.ts'
import { journal, writing } from './records.ts'
import { brief } from './words.ts'

export interface Preparation {
  /** Resolves when the pool may launch there; at once where nothing needs preparing. Errors: ProviderError with effect `none`. */
  ready(provider: GuardedProvider, pool: string): Promise<void>
  /** The provider was started anew: it is asked again, which is idempotent. */
  forget(provider: string): void
  /** What these pools need may have changed. */
  reconfigured(pools: ReadonlySet<string>): void
  /** Removes what is needed no longer, where nothing stands in the way. */
  tidy(provider: string): void
  /** Is there something at this provider that is still to be removed? */
  holds(provider: string): boolean
  /** Told when the last of it was removed from a provider. */
  onEmpty(listener: (provider: string) => void): void
}

/** What was made, as the store has it. */
interface Made {
  key: string
  provider: string
  pool: string
  handle: Handle
  at: number
}

const PREFIX = 'prepared/'

export async function openPreparation(context: Context): Promise<Preparation> {
  const { store, state, plugins, clock } = context
  const done = new Map<string, Promise<void>>()
  const made = new Map<string, Made>()
  /** Removals under way, by provider. */
  const tidying = new Map<string, Promise<void>>()
  const failures = new Map<string, number>()
  const timers = new Map<string, () => void>()
  const listeners: ((provider: string) => void)[] = []
  context.stopping.addEventListener('abort', () => {
    for (const cancel of timers.values()) cancel()
  })
  for (const { key, value } of await store.read.selectFrom('meta').selectAll().where('key', 'like', `${PREFIX}%`).execute())
    made.set(key, JSON.parse(value) as Made)
  state.onWorker((now) => {
    if (now.ended_at !== null) tidy(now.provider)
  })

  async function prepare(provider: GuardedProvider, pool: string): Promise<void> {
    const { image, settings } = context.state.pool(pool).config.worker
    const request = { pool, ...(image === undefined ? {} : { image }), ...(settings === undefined ? {} : { settings }) }
    // What it once made may be what is being removed.
    await tidying.get(provider.name)
    let found: { handle: Handle; digest: string }
    try {
      found = await provider.preparePool(request, { idempotencyKey: `${pool}:prepare` })
    } catch (thrown) {
      const { code, message, hint, retryAfterMs, path } = toProviderError(thrown)
      throw new ProviderError(code, `the pool could not be prepared: ${message}`, {
        // Of the worker itself nothing can exist yet.
        effect: 'none',
        cause: thrown,
        ...(hint === undefined ? {} : { hint }),
        ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
        ...(path === undefined ? {} : { path }),
      })
    }
    const key = `${PREFIX}${provider.name}/${pool}/${found.digest}`
    await note({ key, provider: provider.name, pool, handle: found.handle, at: clock.now() })
    tidy(provider.name)
  }

  async function note(one: Made): Promise<void> {
    const value = JSON.stringify(one)
    await persist(context, async (tx, after) => {
      await tx
        .insertInto('meta')
        .values({ key: one.key, value })
        .onConflict((conflict) => conflict.column('key').doUpdateSet({ value }))
        .execute()
      after(() => made.set(one.key, one))
    })
  }

  const at = (provider: string): Made[] => [...made.values()].filter((one) => one.provider === provider)

  /** Its pool is not there any more, or was prepared otherwise since. */
  function isNeeded({ key, provider, pool, at: since }: Made): boolean {
    const placed = state.pools.get(pool)?.config.placement.includes(provider) === true
    return placed && !at(provider).some((other) => other.pool === pool && other.key !== key && other.at > since)
  }

  /** By the contract nothing is removed under a worker of the pool that lives. */
  function isFree({ provider, pool }: Made): boolean {
    return ![...state.ofProvider(provider)].some((id) => state.workers.get(id)?.pool === pool)
  }

  function tidy(name: string): void {
    const provider = plugins.find(name)
    const status = provider?.status().state
    if (provider === undefined || (status !== 'ready' && status !== 'degraded') || context.stopping.aborted) return
    if (tidying.has(name) || timers.has(name) || !at(name).some((one) => !isNeeded(one) && isFree(one))) return
    const work = removeAll(provider).finally(() => tidying.delete(name))
    tidying.set(
      name,
      work.catch(() => undefined),
    )
    background(context, 'what was prepared for a pool could not be removed', () => work)
  }

  async function removeAll(provider: GuardedProvider): Promise<void> {
    const { name } = provider
    for (const one of at(name)) {
      // Looked at again each time: a pool may be back, or have launched.
      if (isNeeded(one) || !isFree(one)) continue
      try {
        await provider.unpreparePool({ pool: { pool: one.pool }, handle: one.handle }, { idempotencyKey: `${one.key}:remove` })
        await forgetMade(one, 'what was prepared for it is removed')
      } catch (thrown) {
        if (context.stopping.aborted) return
        const error = toProviderError(thrown)
        if (!reactions[error.code].retrySame && error.code !== 'cancelled' && error.code !== 'auth') {
          await forgetMade(one, `what was prepared for it stays: ${error.code}: ${brief(error.message)}`)
          continue
        }
        const times = (failures.get(name) ?? 0) + 1
        failures.set(name, times)
        again(name, ceiling(providerBackoff, times))
        return
      }
    }
    failures.delete(name)
    if (!holds(name)) for (const listener of listeners) listener(name)
  }

  function again(name: string, ms: number): void {
    const cancel = clock.after(ms, () => {
      timers.delete(name)
      tidy(name)
    })
    timers.set(name, cancel)
  }

  async function forgetMade({ key, provider, pool }: Made, decision: string): Promise<void> {
    await persist(context, async (tx, after) => {
      await tx.deleteFrom('meta').where('key', '=', key).execute()
      const rule = 'pool-unprepared'
      await journal(writing(context, tx, after), { rule, decision, pool, provider, inputs: {} })
      after(() => made.delete(key))
    })
  }

  const holds = (name: string): boolean => at(name).some((one) => !isNeeded(one))

  return {
    ready: (provider, pool) => {
      if (!provider.capabilities.preparePool) return Promise.resolve()
      const key = `${provider.name}/${pool}`
      const known = done.get(key)
      if (known !== undefined) return known
      const ready = prepare(provider, pool)
      done.set(key, ready)
      ready.catch(() => done.delete(key))
      return ready
    },
    forget: (provider) => {
      for (const key of done.keys()) if (key.startsWith(`${provider}/`)) done.delete(key)
    },
    reconfigured: (pools) => {
      for (const key of done.keys()) if (pools.has(key.slice(key.indexOf('/') + 1))) done.delete(key)
      for (const { name } of plugins.list()) tidy(name)
    },
    tidy,
    holds,
    onEmpty: (listener) => void listeners.push(listener),
  }
}
