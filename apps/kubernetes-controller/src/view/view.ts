/** The workers of a host as objects of a cluster: {@link createView}. */
import { isMusterError, type MusterClient, type WorkerInfo } from '@muster/client'
import type { OurCluster } from '../cluster.ts'
import { HOST_LABEL } from '../group.ts'
import type { OwnerReference } from '../objects.ts'
import { planView, type ViewStep } from './plan.ts'

export interface ViewOptions {
  client: MusterClient
  cluster: OurCluster
  host: string
  ownerOf?: (pool: string) => OwnerReference | undefined
  changed: () => void
  onFailure: (error: unknown) => void
  clock?: () => Date
}

export interface View {
  /** Once: makes the cluster show what is. A step that fails is told, and harms no other. */
  pass(): Promise<void>
}

/** The most of one page. */
const PAGE = 500
/** As many requests at once as a server gives one client a share for; the bucket of the client bounds their rate. */
const AT_ONCE = 8

/** Settles when everything that the cluster has of this host is known. */
export async function createView(options: ViewOptions): Promise<View> {
  const { client, cluster, host, changed, onFailure, ownerOf = () => undefined, clock = () => new Date() } = options
  const { store } = await cluster.workers.follow({ labelSelector: `${HOST_LABEL}=${host}`, changed, onFailure })
  return {
    async pass() {
      const workers = await liveWorkers(client)
      const now = clock().toISOString()
      const steps = planView({ namespace: cluster.namespace, host, workers, objects: store.values(), ownerOf, now })
      await inTurns(steps, async (step) => {
        try {
          await take(step)
        } catch (error) {
          onFailure(error)
        }
      })
    },
  }

  async function take(step: ViewStep): Promise<void> {
    const { workers } = cluster
    if (step.do === 'make') return void (await workers.apply(step.object))
    if (step.do === 'status') return workers.applyStatus(step.object, step.status)
    if (step.do === 'remove')
      return step.object.metadata.deletionTimestamp === undefined ? workers.delete(step.object) : workers.letGo(step.object)
    const reason = `its object in namespace ${cluster.namespace} was deleted`
    if (step.do === 'set-aside') return void (await client.workers.cordon(step.id, { reason }))
    const asked = client.workers.terminate(step.id, { reason, force: step.force })
    // Gone, or handed out since it was looked at: the next pass sees which.
    await asked.catch((error: unknown) => {
      if (!isMusterError(error) || (error.code !== 'not-found' && error.code !== 'leased')) throw error
    })
  }
}

async function liveWorkers(client: MusterClient): Promise<WorkerInfo[]> {
  const all: WorkerInfo[] = []
  for (let before: string | undefined; ;) {
    const { items, next } = await client.workers.list({ limit: PAGE, ...(before === undefined ? {} : { before }) })
    all.push(...items)
    if (next === undefined) return all
    before = next
  }
}

async function inTurns<T>(items: readonly T[], act: (item: T) => Promise<void>): Promise<void> {
  const rest = items.values()
  await Promise.all(
    Array.from({ length: AT_ONCE }, async () => {
      for (const item of rest) await act(item)
    }),
  )
}
