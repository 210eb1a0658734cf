/** Pools and providers as the API shows them, with what an operator wishes of them. */
import type { Resources, WorkerCapabilities } from '@muster/core'
import type { OrphanView, PoolStatus, Providers } from '../engine/api.ts'
import type { WishRecord } from '../engine/model.ts'
import { aheadNow, type TwoClocks } from '../engine/times.ts'
import type { PoolUsage } from '../engine/used.ts'
import type { GuardedProvider, KeptStatus, ProviderState } from '../plugins/api.ts'
import { defined, instant } from './views.ts'

export interface PoolView {
  name: string
  placement: string[]
  work: 'auto' | 'command' | 'hold' | 'agent'
  image?: string
  profile?: string
  resources?: Resources
  scale: { min: number; max: number; warm: number; idleMs: number }
  uses: number
  lifetimeMs: number
  graceMs: number
  startDeadlineMs: number
  queueTimeoutMs: number
  workers: Record<string, number>
  queued: number
  leases: number
  waiting: string
  state: 'active' | 'paused' | 'draining' | 'leaving'
  wish?: WishView
  aside: number
  keepFailedMs?: number
  usage?: PoolUsage
}

/** An operator's decision that holds now. */
export interface WishView {
  by: string
  reason?: string
  since: string
}

/** An older version of a provider's plugin that goes on for workers which the one that runs does not account for. */
export interface KeptView extends Omit<KeptStatus, 'since'> {
  since: string
}

export interface ProviderView {
  name: string
  alias: string
  plugin: { name: string; version: string; contract: string }
  level: 'L1' | 'L2' | 'L3'
  state: ProviderState
  since: string
  reason?: string
  hint?: string
  notes: string[]
  facts: Record<string, string>
  pid?: number
  restarts: number
  breaker: 'closed' | 'open' | 'half-open'
  inFlight: number
  oldestCall?: { method: string; since: string }
  silentSince?: string
  retiring: number
  crashBundle?: string
  disabled?: WishView
  kept?: KeptView
  orphans: { known: number; removed: number; removedAt?: string }
  capabilities: WorkerCapabilities
}

export function poolView({ config, workers, queued, leases, waiting, aside, wish, usage }: PoolStatus): PoolView {
  const { image, profile, resources } = config.worker
  return {
    name: config.name,
    placement: [...config.placement],
    work: config.work,
    ...defined({ image, profile, resources }),
    scale: { ...config.scale },
    uses: config.uses,
    lifetimeMs: config.lifetimeMs,
    graceMs: config.graceMs,
    startDeadlineMs: config.startDeadlineMs,
    queueTimeoutMs: config.queueTimeoutMs,
    workers: { ...workers },
    queued,
    leases,
    waiting,
    // Known by what it is, so that the next start shows it too.
    state: config.placement.length === 0 ? 'leaving' : ((wish?.wish as 'paused' | 'draining' | undefined) ?? 'active'),
    aside,
    ...defined({ wish: wishView(wish), keepFailedMs: config.keepFailedMs, usage }),
  }
}

function wishView(wish: WishRecord | undefined): WishView | undefined {
  if (wish === undefined) return undefined
  return { by: wish.principal, since: instant(wish.at), ...(wish.reason === '' ? {} : { reason: wish.reason }) }
}

export function providerView(provider: GuardedProvider, { wish, orphans }: Pick<Providers, 'wish' | 'orphans'>): ProviderView {
  // How busy it kept the host is for the metrics.
  const { since, kept, oldestCall, silentSince, busiest: _busiest, ...status } = provider.status()
  const { removedAt, ...counts } = orphans(provider.name)
  return {
    ...status,
    notes: [...status.notes],
    since: instant(since),
    ...defined({
      oldestCall: oldestCall && { method: oldestCall.method, since: instant(oldestCall.since) },
      silentSince: silentSince === undefined ? undefined : instant(silentSince),
      disabled: wishView(wish(provider.name)),
      kept: kept && { ...kept, since: instant(kept.since) },
    }),
    orphans: { ...counts, ...(removedAt === undefined ? {} : { removedAt: instant(removedAt) }) },
    capabilities: provider.capabilities,
  }
}

export interface OrphanItem {
  id: string
  pool: string
  state: OrphanView['state']
  firstSeen: string
  dueAt: string
  due: boolean
}

/** Seen for as long as was watched since, which is what its grace counts. */
export function orphanView({ id, pool, state, firstSeen, dueAt }: OrphanView, clock: TwoClocks): OrphanItem {
  const ahead = aheadNow(clock)
  return { id, pool, state, firstSeen: instant(firstSeen + ahead), dueAt: instant(dueAt + ahead), due: dueAt <= clock.now() }
}
