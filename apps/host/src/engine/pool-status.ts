/** How pools do, as whoever looks is told. */
import type { PoolStatus } from './api.ts'
import type { Context } from './context.ts'
import { isThere, type PoolState } from './state.ts'
import type { UsageRoom } from './usage.ts'

export interface PoolStatuses {
  of(pool: PoolState): PoolStatus
  list(): PoolStatus[]
  get(name: string): PoolStatus | undefined
}

export function poolStatuses(
  { state, wishes }: Pick<Context, 'state' | 'wishes'>,
  { usage, passes }: { usage: UsageRoom; passes: { waiting(pool: string): string } },
): PoolStatuses {
  function of(pool: PoolState, used = usage.usage.byPool()): PoolStatus {
    const { name } = pool.config
    const wish = wishes.of('pool', name)
    const uses = used.get(name)
    return {
      config: pool.config,
      workers: Object.fromEntries(pool.counts),
      queued: pool.queue.length,
      leases: pool.leases,
      waiting: passes.waiting(name),
      aside: pool.kept + pool.cordoned,
      ...(wish === undefined ? {} : { wish }),
      ...(uses === undefined ? {} : { usage: uses }),
    }
  }

  return {
    of,
    list() {
      const used = usage.usage.byPool()
      return [...state.pools.values()].filter(isThere).map((pool) => of(pool, used))
    },
    get(name) {
      const pool = state.pools.get(name)
      return pool === undefined || !isThere(pool) ? undefined : of(pool)
    },
  }
}
