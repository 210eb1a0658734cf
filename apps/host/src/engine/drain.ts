/** An operator empties a pool, and fills it again. */
import { EngineError } from './api.ts'
import { type Context, mutate } from './context.ts'
import type { Passes } from './passes.ts'
import { journal, writing } from './records.ts'
import type { PoolState } from './state.ts'

/** The wish lives as long as this host: a start is a wish for what the configuration says. */
export async function setDraining(
  context: Context,
  passes: Passes,
  { name, draining, principal }: { name: string; draining: boolean; principal: string },
): Promise<PoolState> {
  const pool = context.state.pools.get(name)
  if (pool === undefined) throw new EngineError('not-found', `there is no pool ${name}`)
  if (pool.draining === draining) return pool
  await mutate(context, async (tx, after) => {
    await journal(writing(context, tx, after), {
      rule: draining ? 'pool-drain' : 'pool-resume',
      decision: draining ? 'keeps no worker that nobody holds' : 'keeps the stock that its configuration asks for',
      pool: name,
      inputs: { principal },
      change: draining ? 'Resume the pool, or start the host again.' : 'Drain it.',
    })
    after(() => {
      pool.draining = draining
      passes.poke(name)
    })
  })
  return pool
}
