/** Workers for a cluster, of one owner and provider: their specs, and a watch that remembers what it told of each. */
import type { CallLog, LaunchSpec, OwnerTags, ProviderPhase, WorkerId, WorkerProvider } from '@muster/core'
import { newWorkerId } from '@muster/core/testing'
import { CLUSTER_IMAGES } from '@muster/test/systems/kubernetes'
import { newCall } from './pure.test.helper.ts'

export const query: Pick<OwnerTags, 'muster-owner' | 'muster-provider'> = {
  'muster-owner': 'owner',
  'muster-provider': 'kubernetes',
}
export const forced: { graceMs: number; force: boolean; reason: string } = { graceMs: 0, force: true, reason: 'done' }

export function specOf(over: Partial<LaunchSpec> = {}): LaunchSpec {
  const id = newWorkerId()
  const tags: OwnerTags = { ...query, 'muster-pool': 'pool', 'muster-worker': id, 'muster-epoch': '1' }
  return { id, tags, work: { mode: 'hold' }, image: CLUSTER_IMAGES.busybox, ...over }
}

export interface Watching extends Disposable {
  /** What was told of this worker, in its order. */
  phases(id: WorkerId): readonly ProviderPhase[]
}

/** Its end is the test's. `debug`: what the watch says of itself. */
export function watching(
  { watch }: Required<Pick<WorkerProvider, 'watch'>>,
  debug: CallLog['debug'] = () => undefined,
): Watching {
  const told = new Map<WorkerId, ProviderPhase[]>()
  const leaving = new AbortController()
  const call = newCall()
  const following = (async () => {
    const watched = watch({ tags: query, limit: 500 }, { ...call, log: { ...call.log, debug }, signal: leaving.signal })
    for await (const { id, phase } of watched) told.set(id, [...(told.get(id) ?? []), phase])
  })()
  following.catch(() => {})
  return { phases: (id) => told.get(id) ?? [], [Symbol.dispose]: () => leaving.abort() }
}
