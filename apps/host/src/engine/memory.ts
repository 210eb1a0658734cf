/**
 * What the engine remembers of failures, to choose better: sizes without capacity, calls held back, places a lease shall avoid. Lost at
 * a restart, on purpose: the first try after it finds out anew.
 */
import type { ProviderError, ThrottleScope } from '@muster/core'
import { askedPause, ceiling, exhaust, type Exhausted, poolBackoff, providerBackoff } from './backoff.ts'
import type { Context } from './context.ts'
import type { LeaseRequest, LeaseRecord, PoolConfig } from './model.ts'
import type { Candidate, Refused } from './placement.ts'
import { type Refusals, refusalsOf } from './refusals.ts'
import { type Demand, demandOf, modeOf } from './spec.ts'

export interface Memory {
  candidates(pool: PoolConfig, demand: Demand, leaseId?: string): Candidate[]
  /** How a provider does. Asked with each change of it, so that it knows since when one is away. */
  standing(provider: string): Pick<Candidate, 'state' | 'backBy'>
  /** What a lease asks for, read from its row once. */
  demand(lease: LeaseRecord): Demand
  request(lease: LeaseRecord): LeaseRequest
  /** The pool's own kind of worker; undefined when it keeps none. */
  stock(pool: PoolConfig): Demand | undefined
  stockHeldUntil(pool: string): number | undefined
  /** A worker of the pool's stock got ready, or failed to. */
  stockReady(pool: string): void
  stockFailed(pool: string): void
  /** `said`: in the provider's own words, here and below. */
  noCapacity(provider: string, size: string, said: string): number
  /** Is any size taken for exhausted there? */
  isExhausted(provider: string): boolean
  /** A provider refused such a worker: it is not asked for one for a while, longer each time. */
  unsupported(provider: string, shape: string, refused: Refusal & { leastMs: number }): void
  /** Does this lease itself ask for what a path of a spec names, where others of its shape have it of their pool? */
  wishes(lease: LeaseRecord, path: string | undefined): boolean
  /** A worker of this shape got ready there. */
  served(worker: { pool: string; provider: string; shape: string }): void
  /** What is told of those who wait. */
  readonly refusals: Refusals
  /** Counts a failure of a lease at a provider, which it then avoids for a while. Returns how many it has had anywhere. */
  avoid(leaseId: string, provider: string, said: string): number
  /** Holds calls of a scope until then. */
  hold(provider: string, scope: ThrottleScope, until: number): void
  /** Rights were refused: launches wait, longer each time. */
  refused(provider: string): number
  heldUntil(provider: string, scope: Exclude<ThrottleScope, 'all'>): number
  /** A launch succeeded, or the provider was started anew: it may be asked for everything again. */
  forgive(provider: string, how: 'launched' | 'restarted'): void
  /** Somebody may have mended what they refused for: they may be asked anew. */
  mended(providers: Iterable<string>): void
  forgetLease(id: string): void
  /** What these pools ask of a worker may have changed. */
  reconfigured(pools: ReadonlySet<string>): void
  /** Launches that are open or waiting to be called. Set by the launcher. */
  backlog: { of(provider: string): number; limit(provider: string): number }
}

interface Refusal {
  /** The path, and the provider's own words. */
  what: string
  path: string | undefined
  /** Its state decides, so whoever asks waits; not a lease that itself wishes for what the path names. */
  forNow: boolean
}

interface Lacking extends Refusal {
  until: number
  times: number
  /**
   * For whoever wishes for it himself, and may have mended it before he asked again: as soon as the provider said. That no more than one in
   * this time asks bounds what it costs.
   */
  wishUntil: number
}

/** How long a lease stays away from a provider whose launch failed: as a provider's own back-off. */
interface LeaseMemory {
  demand?: Demand
  request?: LeaseRequest
  avoid: Map<string, { until: number; times: number; said: string }>
  faults: number
}

/** A process that fell, or is started with the daemon, is back within a second or two: the next placement may be the dear one. */
const AWAY_MS = 5000

export function engineMemory(context: Context): Memory {
  const { clock, sealer } = context
  /** `most`: workers that were there at once since it said no. Where fewer are, one of ours has ended, and made room as far as we know. */
  const exhausted = new Map<string, Exhausted & { most: number; said: string }>()
  const lacking = new Map<string, Lacking>()
  const holds = new Map<string, number>()
  const refusals = new Map<string, number>()
  const leases = new Map<string, LeaseMemory>()
  const stocks = new Map<string, Demand | undefined>()
  const stockHolds = new Map<string, { until: number; times: number }>()
  /** When a provider was first seen away. */
  const away = new Map<string, number>()

  const ofLease = (id: string): LeaseMemory => {
    const known = leases.get(id)
    if (known !== undefined) return known
    const made: LeaseMemory = { avoid: new Map(), faults: 0 }
    leases.set(id, made)
    return made
  }
  const forget = (kept: Map<string, unknown>, provider: string): void => {
    for (const key of kept.keys()) if (key.startsWith(`${provider}/`)) kept.delete(key)
  }
  const holdKey = (provider: string, scope: string): string => `${provider}/${scope}`
  const heldUntil = (provider: string, scope: string): number =>
    Math.max(holds.get(holdKey(provider, scope)) ?? 0, holds.get(holdKey(provider, 'all')) ?? 0)

  function request(lease: LeaseRecord): LeaseRequest {
    const memory = ofLease(lease.id)
    memory.request ??= JSON.parse(sealer.open(lease.request_sealed ?? '', `lease:${lease.id}`)) as LeaseRequest
    return memory.request
  }

  /** An agent calls the host: one that is not told where would never be heard of. */
  function wayBack(demand: Demand, provider: string): Refused | undefined {
    const without = demand.mode === 'agent' && context.settings.urls?.[provider] === undefined
    return without ? { what: 'agents: no url says how its workers reach this host' } : undefined
  }

  function refusalOf(demand: Demand, provider: string, lease: LeaseRecord | undefined): Refused | undefined {
    const kept = lacking.get(`${provider}/${demand.shape}`)
    if (kept === undefined) return undefined
    const { what, until, path, forNow, wishUntil } = kept
    if (!forNow) return { what, until }
    return lease !== undefined && memory.wishes(lease, path) ? { what, until: wishUntil } : { what, until, forNow }
  }

  function standing(name: string): Pick<Candidate, 'state' | 'backBy'> {
    const state = context.plugins.find(name)?.status().state ?? 'stopped'
    if (state !== 'starting' && state !== 'degraded') {
      away.delete(name)
      return { state }
    }
    const since = away.get(name) ?? clock.now()
    away.set(name, since)
    return { state, backBy: since + AWAY_MS }
  }

  /** Workers there that had room for certain: one that was made and finds none later never gets ready. */
  function placed(provider: string): number {
    const ids = [...context.state.ofProvider(provider)]
    return ids.filter((id) => typeof context.state.workers.get(id)?.ready_at === 'number').length
  }

  function exhaustionOf(provider: string, size: string): Pick<Candidate, 'exhausted' | 'roomMade'> {
    const known = exhausted.get(`${provider}/${size}`)
    if (known === undefined) return {}
    if (known.until > clock.now()) known.most = Math.max(known.most, placed(provider))
    return { exhausted: known, roomMade: known.most - context.state.ofProvider(provider).size }
  }

  function candidates(pool: PoolConfig, demand: Demand, leaseId?: string): Candidate[] {
    const avoid = leaseId === undefined ? undefined : leases.get(leaseId)?.avoid
    const lease = leaseId === undefined ? undefined : context.state.leases.get(leaseId)
    return pool.placement.map((name) => {
      const provider = context.plugins.find(name)
      const away = avoid?.get(name)
      const refused = wayBack(demand, name) ?? refusalOf(demand, name, lease)
      const disabled = context.wishes.disabled(name)
      return {
        name,
        ...standing(name),
        heldUntil: heldUntil(name, 'launch'),
        backlog: memory.backlog.of(name),
        backlogLimit: memory.backlog.limit(name),
        ...(provider === undefined ? {} : { capabilities: provider.capabilities }),
        ...exhaustionOf(name, demand.size),
        ...(away === undefined ? {} : { avoid: away }),
        ...(refused === undefined ? {} : { unsupported: refused }),
        ...(disabled === undefined ? {} : { disabled }),
      }
    })
  }

  /** None where its request cannot be read: the next plan ends it. */
  function shapeOf(lease: LeaseRecord | undefined): string | undefined {
    if (lease === undefined) return undefined
    try {
      return memory.demand(lease).shape
    } catch {
      return undefined
    }
  }

  const memory: Memory = {
    standing,
    candidates,
    request,
    demand: (lease) => {
      const known = ofLease(lease.id)
      known.demand ??= demandOf(context.state.pool(lease.pool).config, request(lease), sealer.digest)
      return known.demand
    },
    stock: (pool) => {
      if (!stocks.has(pool.name)) stocks.set(pool.name, stockOf(pool, sealer.digest))
      return stocks.get(pool.name)
    },
    stockHeldUntil: (pool) => stockHolds.get(pool)?.until,
    stockReady: (pool) => stockHolds.delete(pool),
    stockFailed: (pool) => {
      const times = (stockHolds.get(pool)?.times ?? 0) + 1
      stockHolds.set(pool, { until: clock.now() + ceiling(poolBackoff, times), times })
    },
    noCapacity: (provider, size, said) => {
      const next = exhaust(exhausted.get(`${provider}/${size}`), clock.now())
      exhausted.set(`${provider}/${size}`, { ...next, most: placed(provider), said })
      return next.until
    },
    isExhausted: (provider) => [...exhausted].some(([key, { until }]) => key.startsWith(`${provider}/`) && until > clock.now()),
    unsupported: (provider, shape, { leastMs, ...refusal }) => {
      const key = `${provider}/${shape}`
      const before = lacking.get(key)
      // One of several that were asked for together: all of them are one refusal.
      const together = before !== undefined && before.until > clock.now()
      const times = (before?.times ?? 0) + (together ? 0 : 1)
      const until = together ? before.until : clock.now() + Math.max(leastMs, ceiling(providerBackoff, times))
      lacking.set(key, { ...refusal, until, times, wishUntil: clock.now() + leastMs })
    },
    wishes: (lease, path) => path !== undefined && Object.hasOwn(request(lease).requirements, fieldOf(path)),
    refusals: refusalsOf(context, {
      byLease: (id) => shapeOf(context.state.leases.get(id)),
      stock: ({ config }) => memory.stock(config)?.shape,
    }),
    served: ({ pool, provider, shape }) => {
      lacking.delete(`${provider}/${shape}`)
      memory.refusals.served({ pool, provider, shape })
    },
    avoid: (leaseId, provider, said) => {
      const lease = ofLease(leaseId)
      lease.faults += 1
      const times = (lease.avoid.get(provider)?.times ?? 0) + 1
      lease.avoid.set(provider, { until: clock.now() + ceiling(providerBackoff, times), times, said })
      return lease.faults
    },
    hold: (provider, scope, until) => {
      holds.set(holdKey(provider, scope), Math.max(until, holds.get(holdKey(provider, scope)) ?? 0))
    },
    refused: (provider) => {
      const times = (refusals.get(provider) ?? 0) + 1
      refusals.set(provider, times)
      const until = clock.now() + ceiling(providerBackoff, times)
      holds.set(holdKey(provider, 'launch'), Math.max(until, heldUntil(provider, 'launch')))
      return until
    },
    heldUntil,
    forgive: (provider, how) => {
      refusals.delete(provider)
      if (how === 'launched') return
      for (const kept of [exhausted, holds]) forget(kept, provider)
      memory.mended([provider])
    },
    mended: (providers) => {
      for (const provider of providers) {
        forget(lacking, provider)
        memory.refusals.looked(provider)
      }
    },
    forgetLease: (id) => leases.delete(id),
    reconfigured: (pools) => {
      for (const name of pools) {
        stocks.delete(name)
        stockHolds.delete(name)
      }
      for (const [id, lease] of leases) if (pools.has(context.state.leases.get(id)?.pool ?? '')) delete lease.demand
    },
    backlog: { of: () => 0, limit: () => Infinity },
  }
  return memory
}

/** A pool keeps workers only where they can wait for work: not where each is its command. */
function stockOf(pool: PoolConfig, digest: (text: string) => string): Demand | undefined {
  if (pool.scale.warm === 0 && pool.scale.min === 0 && pool.uses === 1) return undefined
  const demand = demandOf(pool, undefined, digest)
  return modeOf(pool) === 'command' ? undefined : demand
}

/** The part of a request that a path of a spec is in. */
function fieldOf(path: string): string {
  return path.split('.', 1)[0] ?? path
}

/** How long a throttled provider is left alone when it does not say. */
const THROTTLE_MS = 1000

export function throttle(
  memory: Memory,
  provider: string,
  failure: { error: ProviderError; scope: ThrottleScope; now: number },
): number {
  const until = failure.now + askedPause(failure.error, THROTTLE_MS)
  memory.hold(provider, failure.error.scope ?? failure.scope, until)
  return until
}
