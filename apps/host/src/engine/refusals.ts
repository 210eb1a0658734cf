/** What is told of refusals "for now": one condition for a pool and a provider, until none of the shapes that it stands for is refused or wished. */
import type { Context } from './context.ts'
import type { PoolState } from './state.ts'

export interface Refusals {
  /** A worker of this shape was refused, and somebody waits for one. */
  raise(about: { pool: string; provider: string; shape: string; message: string; hint: string }): void
  /** One of this shape got ready. What of the others nobody waits for is over as well: nobody would try it and see. */
  served(about: { pool: string; provider: string; shape: string }): void
  /** They are tried anew: where nobody waits nobody tries, and what was said would stay. Where somebody does, the try will tell. */
  looked(provider: string): void
}

/** One for each provider: a pool may be refused by one and go on with the next. */
export function refusedCondition(provider: string): `refused:${string}` {
  return `refused:${provider}`
}

export function refusalsOf(
  { state, conditions }: Pick<Context, 'state' | 'conditions'>,
  wished: { byLease(leaseId: string): string | undefined; stock(pool: PoolState): string | undefined },
): Refusals {
  /** Shapes by pool and provider. Of a daemon before this one nothing is known: its condition ends with the first worker. */
  const told = new Map<string, Set<string>>()

  function isWished(pool: PoolState, shape: string): boolean {
    const { name } = pool.config
    return (
      wished.stock(pool) === shape ||
      pool.queue.some((id) => wished.byLease(id) === shape) ||
      // A lease whose try is under way does not queue.
      [...state.workers.values()].some(
        (one) => one.pool === name && one.shape === shape && (one.phase === 'launching' || one.phase === 'starting'),
      )
    )
  }

  /** Takes shapes that are no longer refused from what is told. */
  function end(pool: string, provider: string, isOver: (shape: string) => boolean): void {
    const key = `${pool}/${provider}`
    const shapes = told.get(key) ?? new Set()
    for (const shape of shapes) if (isOver(shape)) shapes.delete(shape)
    if (shapes.size > 0) return
    told.delete(key)
    conditions.clear({ scope: 'pool', name: pool, type: refusedCondition(provider) })
  }

  return {
    raise: ({ pool, provider, shape, message, hint }) => {
      const key = `${pool}/${provider}`
      told.set(key, (told.get(key) ?? new Set()).add(shape))
      conditions.raise({ scope: 'pool', name: pool, type: refusedCondition(provider), message, hint })
    },
    served: ({ pool, provider, shape }) => {
      const known = state.pools.get(pool)
      end(pool, provider, (one) => one === shape || known === undefined || !isWished(known, one))
    },
    looked: (provider) => {
      for (const [name, pool] of state.pools) end(name, provider, (shape) => !isWished(pool, shape))
    },
  }
}
