/** An operator among the random steps of the chaos test: what they may do, and how they put all of it right in the end. */
import * as fc from 'fast-check'
import type { Engine } from '../api.ts'

export type Act =
  | { do: 'wish'; what: 'pause' | 'drain' | 'resume'; pool: number }
  | { do: 'provider'; what: 'disable' | 'enable'; nth: number }
  | { do: 'cordon' | 'uncordon' | 'forget'; nth: number }

const nth = fc.nat(20)
export const act: fc.Arbitrary<Act> = fc.oneof(
  fc.record({
    do: fc.constant('wish' as const),
    what: fc.constantFrom('pause' as const, 'drain' as const, 'resume' as const),
    pool: fc.nat(2),
  }),
  fc.record({
    do: fc.constant('provider' as const),
    what: fc.constantFrom('disable' as const, 'enable' as const),
    nth: fc.nat(1),
  }),
  fc.record({ do: fc.constantFrom('cordon' as const, 'uncordon' as const, 'forget' as const), nth }),
)

const ann = { principal: 'ann', reason: 'test' }

/** Starts it, and waits for nothing. `forgets` is told before a record may close while its worker still exists. */
export function actOn(engine: Engine, given: Act, forgets: (id: string) => void): Promise<unknown> {
  if (given.do === 'wish') {
    const pools = engine.pools.list()
    return engine.pools[given.what](pools[given.pool % pools.length]?.config.name ?? '', ann)
  }
  if (given.do === 'provider') {
    const providers = engine.plugins.list()
    return engine.providers[given.what](providers[given.nth % providers.length]?.name ?? '', ann)
  }
  const workers = [...engine.workers.live()]
  const id = workers[given.nth % Math.max(1, workers.length)]?.id
  if (id === undefined) return Promise.resolve()
  if (given.do === 'forget' && engine.workers.get(id)?.phase === 'terminating') forgets(id)
  return engine.workers[given.do](id, ann)
}

/** What holds launches of this worker back now, as an operator sees it. */
export function heldBack(engine: Engine, worker: { pool: string; provider: string } | undefined): boolean {
  if (worker === undefined) return false
  return engine.pools.get(worker.pool)?.wish?.wish === 'paused' || engine.providers.wish(worker.provider) !== undefined
}

export async function putRight(engine: Engine): Promise<void> {
  for (const { config } of engine.pools.list()) await engine.pools.resume(config.name, ann)
  for (const { name } of engine.plugins.list()) await engine.providers.enable(name, ann)
  for (const worker of engine.workers.live()) if (worker.cordoned === 1) await engine.workers.uncordon(worker.id, ann)
}
