/** The two ways to be in a cluster, from start to end: {@link runInCluster}. */
import type { MusterClient } from '@muster/client'
import type { ClusterClient } from '@muster/plugin-kubernetes/api/client'
import { pause } from '@muster/provider-parts/waiting'
import { ourCluster } from './cluster.ts'
import type { Term } from './election/election.ts'
import { createLoop } from './loop.ts'
import type { PoolsFile } from './pools/file.ts'
import { createPools } from './pools/pools.ts'
import { createView } from './view/view.ts'

export interface RunOptions {
  client: MusterClient
  cluster: ClusterClient
  namespace: string
  /** The value of the label that tells the hosts of a namespace apart. */
  host: string
  /** Absent: workers are shown, and nothing else. */
  pools?: PoolsFile
  term: Term
  onFailure: (error: unknown) => void
}

/** Events tell of every change of a worker, and a watch of every object: this repairs what both missed. */
const EVERY_MS = 30_000
/** A daemon that is away says nothing of why. */
const AWAY_MS = 1000

/** Until its term is over. Rejects when it cannot begin: the cluster refuses what it asks, or the files cannot be written. */
export async function runInCluster({
  client,
  cluster,
  namespace,
  host,
  pools: file,
  term,
  onFailure,
}: RunOptions): Promise<void> {
  const { signal } = term
  const ours = ourCluster(cluster, namespace, term)
  const changed = (): void => loop.wake()
  const shared = { client, cluster: ours, changed, onFailure }
  const loop = createLoop({ everyMs: EVERY_MS, onFailure, pass })
  const pools = file === undefined ? undefined : await createPools({ ...shared, file: inTerm(file, term) })
  const view = await createView({ ...shared, host, ...(pools === undefined ? {} : { ownerOf: pools.ownerOf }) })
  await Promise.all([loop.run(signal), followEvents()])

  async function pass(): Promise<void> {
    term.check()
    // What the cluster says of pools may be wrong while the workers that live can still be shown.
    const [settled] = await Promise.allSettled([pools?.pass()])
    await view.pass()
    if (settled.status === 'rejected') throw settled.reason
  }

  async function followEvents(): Promise<void> {
    while (!signal.aborted) {
      try {
        for await (const _ of client.events({ signal })) changed()
      } catch (error) {
        if (signal.aborted) return
        onFailure(error)
        await pause(AWAY_MS, signal).catch(() => {})
        changed()
      }
    }
  }
}

/** Nobody puts a configuration there, and back, whose time is over. */
function inTerm(file: PoolsFile, { check }: Term): PoolsFile {
  return {
    ...file,
    begin: async () => {
      check()
      return file.begin()
    },
    tryOut: async (text) => {
      check()
      return file.tryOut(text)
    },
  }
}
