/**
 * Pool-wide things at a provider (a network, a task definition): made once before the first launch of a pool there, and removed when the
 * pool needs them no longer and its last worker there is gone. What was made is noted in the store, so that a restart forgets none of it.
 */
import { type Handle, type PoolRequest, ProviderError, reactions, toProviderError } from '@muster/core'
import type { GuardedProvider } from '../plugins/api.ts'
import type { AfterCommit, Store, Tx } from '../store/store.ts'
import { ceiling, providerBackoff } from './backoff.ts'
import { background, type Context, persist } from './context.ts'
import type { LiveWorker, WorkerTemplate } from './model.ts'
import { journal, writing } from './records.ts'
import { brief } from './words.ts'

export interface Preparation {
  /** Resolves when the pool may launch there; at once where nothing needs preparing. Errors: ProviderError with effect `none`. */
  ready(provider: GuardedProvider, pool: string): Promise<void>
  /**
   * A launch of this worker did not find something at its provider: what was prepared may have been taken away since. True: the next launch
   * there prepares again. Once for a worker, and only where something had been prepared.
   */
  renew(worker: Pick<LiveWorker, 'id' | 'provider' | 'pool'>): boolean
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
  /** Knows of nothing at a provider any more; the pools for which there was something. */
  giveUp(tx: Tx, after: AfterCommit, provider: string): Promise<string[]>
}

/** What was made, as the store has it. */
interface Made {
  key: string
  provider: string
  pool: string
  handle: Handle
  at: number
}

/** What a provider may have to bring or make for workers of this template. */
function requestOf({ image, services = [], network, settings }: WorkerTemplate): Omit<PoolRequest, 'pool' | 'tags'> {
  const serviceImages = [...new Set(services.map((service) => service.image))]
  return {
    ...(image === undefined ? {} : { image }),
    ...(serviceImages.length === 0 ? {} : { serviceImages }),
    ...(network?.egress === undefined ? {} : { egress: network.egress }),
    ...(settings === undefined ? {} : { settings }),
  }
}

/** What cannot be removed, so far. */
interface Failing {
  provider: string
  pool: string
  times: number
  reason: string
}

const PREFIX = 'prepared/'
/** A removal that fails this often in a row is an operator's matter. */
const CONDITION_AT = 3
/** Of the calls that a provider takes at once, so much may be removals: those that hang must not hold up launches. */
const SHARE = 1 / 4
const failing = 'unprepare-failing'

const placeOf = ({ provider, pool }: Pick<Made, 'provider' | 'pool'>): string => `${provider}/${pool}`

/** Names of the providers that have something of any pool, by the store alone. Errors: StoreError. */
export async function preparedAt({ read }: Pick<Store, 'read'>): Promise<string[]> {
  const rows = await read.selectFrom('meta').select('key').where('key', 'like', `${PREFIX}%`).execute()
  return rows.flatMap(({ key }) => key.slice(PREFIX.length).split('/')[0] ?? [])
}

export async function openPreparation(context: Context): Promise<Preparation> {
  const { store, state, plugins, clock, conditions } = context
  const done = new Map<string, Promise<void>>()
  /** Workers that are being launched, for which it was prepared again. */
  const renewed = new Set<string>()
  const made = new Map<string, Made>()
  /** Removals under way; these and the next two by provider and pool. */
  const tidying = new Map<string, Promise<void>>()
  const failures = new Map<string, Failing>()
  const timers = new Map<string, () => void>()
  const listeners: ((provider: string) => void)[] = []
  context.stopping.addEventListener('abort', () => {
    for (const cancel of timers.values()) cancel()
  })
  for (const { key, value } of await store.read.selectFrom('meta').selectAll().where('key', 'like', `${PREFIX}%`).execute())
    made.set(key, JSON.parse(value) as Made)
  // The pool may be named again since.
  for (const { name, type } of conditions.list()) if (type === failing && !holds(name)) show(name)
  state.onWorker((now) => {
    if (now.phase !== 'launching') renewed.delete(now.id)
    if (now.ended_at !== null) tidy(now.provider)
  })

  async function prepare(provider: GuardedProvider, pool: string): Promise<void> {
    const request = { pool, ...requestOf(context.state.pool(pool).config.worker) }
    // What it once made may be what is being removed.
    await tidying.get(placeOf({ provider: provider.name, pool }))
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
    forgetFailures()
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

  function at(provider: string): Made[] {
    return [...made.values()].filter((one) => one.provider === provider)
  }

  /** Its pool is not there any more, or was prepared otherwise since. */
  function isNeeded({ key, provider, pool, at: since }: Made): boolean {
    const placed = state.pools.get(pool)?.config.placement.includes(provider) === true
    return placed && !at(provider).some((other) => other.pool === pool && other.key !== key && other.at > since)
  }

  /** By the contract nothing is removed under a worker of the pool that lives. */
  function isFree({ provider, pool }: Made): boolean {
    return ![...state.ofProvider(provider)].some((id) => state.workers.get(id)?.pool === pool)
  }

  /** Is there something of this pool that is still to be removed? */
  const needless = (provider: string, pool: string): boolean => at(provider).some((one) => one.pool === pool && !isNeeded(one))
  const isDue = (one: Made): boolean => !isNeeded(one) && isFree(one)

  function tidy(name: string): void {
    const provider = plugins.find(name)
    const status = provider?.status().state
    if (provider === undefined || (status !== 'ready' && status !== 'degraded') || context.stopping.aborted) return
    const most = Math.max(1, Math.floor(provider.manifest.limits.inFlight * SHARE))
    for (const one of at(name)) {
      const place = placeOf(one)
      if (!isDue(one) || tidying.has(place) || timers.has(place)) continue
      if ([...tidying.keys()].filter((other) => other.startsWith(`${name}/`)).length >= most) return
      const work = removeOf(provider, one.pool).finally(() => tidying.delete(place))
      tidying.set(
        place,
        work.catch(() => undefined),
      )
      // Others may have waited for their turn.
      background(context, 'what was prepared for a pool could not be removed', () => work.then(() => tidy(name)))
    }
  }

  async function removeOf(provider: GuardedProvider, pool: string): Promise<void> {
    const { name } = provider
    const place = placeOf({ provider: name, pool })
    let failed: ProviderError | undefined
    for (const one of at(name)) {
      // Looked at again each time: the pool may be back, or have launched.
      if (one.pool !== pool || !isDue(one)) continue
      try {
        await provider.unpreparePool({ pool: { pool }, handle: one.handle }, { idempotencyKey: `${one.key}:remove` })
        await forgetMade(one, 'what was prepared for it is removed')
      } catch (thrown) {
        if (context.stopping.aborted) return
        const error = toProviderError(thrown)
        if (!reactions[error.code].retrySame && error.code !== 'cancelled' && error.code !== 'auth')
          await forgetMade(one, `what was prepared for it stays: ${error.code}: ${brief(error.message)}`)
        else failed = error
      }
    }
    if (failed === undefined || !needless(name, pool)) failures.delete(place)
    else {
      const times = (failures.get(place)?.times ?? 0) + 1
      failures.set(place, { provider: name, pool, times, reason: `${failed.code}: ${brief(failed.message)}` })
      again({ provider: name, pool }, ceiling(providerBackoff, times))
    }
    show(name)
    if (!holds(name)) for (const listener of listeners) listener(name)
  }

  function again(where: Pick<Made, 'provider' | 'pool'>, ms: number): void {
    const place = placeOf(where)
    const cancel = clock.after(ms, () => {
      timers.delete(place)
      tidy(where.provider)
    })
    timers.set(place, cancel)
  }

  /** What an operator should know of the removals at a provider. */
  function show(name: string): void {
    const [first, ...others] = [...failures.values()].filter((one) => one.provider === name && one.times >= CONDITION_AT)
    if (first === undefined) {
      conditions.clear({ scope: 'provider', name, type: failing })
      return
    }
    const more = others.length === 0 ? '' : `; nor for ${others.map((one) => `'${one.pool}'`).join(', ')}`
    conditions.raise({
      scope: 'provider',
      name,
      type: failing,
      message: `what was prepared for the pool '${first.pool}' cannot be removed: ${first.reason}${more}`,
      hint: 'Mend what it names; tries go on, ever more rarely.',
    })
  }

  /** What is needed again need not be removed. */
  function forgetFailures(): void {
    for (const [place, { provider, pool }] of failures) {
      if (needless(provider, pool)) continue
      failures.delete(place)
      timers.get(place)?.()
      timers.delete(place)
      show(provider)
    }
  }

  async function forgetMade({ key, provider, pool }: Made, decision: string): Promise<void> {
    await persist(context, async (tx, after) => {
      await tx.deleteFrom('meta').where('key', '=', key).execute()
      const rule = 'pool-unprepared'
      await journal(writing(context, tx, after), { rule, decision, pool, provider, inputs: {} })
      after(() => made.delete(key))
    })
  }

  function holds(name: string): boolean {
    return at(name).some((one) => !isNeeded(one))
  }

  return {
    ready: (provider, pool) => {
      if (!provider.capabilities.preparePool) return Promise.resolve()
      const key = placeOf({ provider: provider.name, pool })
      const known = done.get(key)
      if (known !== undefined) return known
      const ready = prepare(provider, pool)
      done.set(key, ready)
      ready.catch(() => done.delete(key))
      return ready
    },
    renew: ({ id, provider, pool }) => {
      if (renewed.has(id) || !done.delete(placeOf({ provider, pool }))) return false
      renewed.add(id)
      return true
    },
    forget: (provider) => {
      for (const key of done.keys()) if (key.startsWith(`${provider}/`)) done.delete(key)
    },
    reconfigured: (pools) => {
      for (const key of done.keys()) if (pools.has(key.slice(key.indexOf('/') + 1))) done.delete(key)
      forgetFailures()
      for (const { name } of plugins.list()) tidy(name)
    },
    tidy,
    holds,
    giveUp: async (tx, after, provider) => {
      const all = at(provider)
      for (const { key } of all) await tx.deleteFrom('meta').where('key', '=', key).execute()
      after(() => {
        for (const { key } of all) made.delete(key)
        forgetFailures()
      })
      return [...new Set(all.map((one) => one.pool))]
    },
    onEmpty: (listener) => void listeners.push(listener),
  }
}
