/** WorkerPools of a cluster as pools of a host: {@link createPools}. */
import { isDeepStrictEqual } from 'node:util'
import type { MusterClient } from '@muster/client'
import type { AnyObject, Objects, OurCluster } from '../cluster.ts'
import { API_VERSION, FINALIZER } from '../group.ts'
import type { OwnerReference, WorkerClassObject, WorkerPoolObject } from '../objects.ts'
import { entriesOf, type Refusal } from './entries.ts'
import type { PoolsFile } from './file.ts'
import { createKeeper } from './keeper.ts'
import { classStatusOf, poolStatusOf, unknownStatusOf } from './status.ts'

export interface PoolsOptions {
  client: MusterClient
  cluster: OurCluster
  file: PoolsFile
  changed: () => void
  onFailure: (error: unknown) => void
  clock?: () => Date
}

export interface Pools {
  /** Once: lets the host go by what the cluster says, and says there how that is. */
  pass(): Promise<void>
  ownerOf(pool: string): OwnerReference | undefined
}

/** Settles when everything that the cluster has is known. */
export async function createPools(options: PoolsOptions): Promise<Pools> {
  const { client, cluster, file, changed, onFailure, clock = () => new Date() } = options
  const [pools, classes] = await Promise.all([
    cluster.pools.follow({ changed, onFailure }),
    cluster.classes.follow({ changed, onFailure }),
  ])
  const keeper = await createKeeper({ client, file })
  const all = (): WorkerPoolObject[] => [...pools.store.values()]

  return {
    ownerOf(pool) {
      const { name, uid } = pools.store.get(`${cluster.namespace}/${pool}`)?.metadata ?? {}
      return name === undefined || uid === undefined ? undefined : { apiVersion: API_VERSION, kind: 'WorkerPool', name, uid }
    },
    async pass() {
      const now = clock().toISOString()
      try {
        await holdAll()
        await settle(now)
      } catch (error) {
        const why = error instanceof Error ? error.message : String(error)
        for (const pool of all()) await attempt(() => show(cluster.pools, pool, unknownStatusOf(pool, why, now)))
        throw error
      }
      await settleClasses(now)
    },
  }

  /** Before the host hears of a pool: nobody then takes the object away while there is something to end. */
  async function holdAll(): Promise<void> {
    const used = new Set(all().map(({ spec }) => spec.class))
    const open = ({ metadata }: AnyObject): boolean =>
      metadata.deletionTimestamp === undefined && metadata.finalizers?.includes(FINALIZER) !== true
    for (const pool of all().filter(open)) await cluster.pools.hold(pool)
    for (const one of classes.store.values()) if (used.has(one.metadata.name) && open(one)) await cluster.classes.hold(one)
  }

  async function settle(now: string): Promise<void> {
    const base = await file.base()
    const { wanted, refused } = entriesOf({
      pools: all(),
      classes: classes.store.values(),
      taken: base.pools,
      inForce: keeper.inForce,
    })
    const settled = await keeper.settle(base, wanted)
    const [views, conditions] = await Promise.all([client.pools.list(), client.conditions()])
    for (const object of all()) {
      const { name, deletionTimestamp } = object.metadata
      const pool = views.find((one) => one.name === name)
      const words = settled.refused.get(name)
      const reason: Refusal | undefined = words === undefined ? undefined : { reason: 'Refused', message: words }
      const own = !base.pools.has(name)
      await attempt(async () => {
        if (deletionTimestamp !== undefined && (pool === undefined || !own) && !settled.inForce.has(name))
          return cluster.pools.letGo(object)
        const about = conditions.filter((one) => one.scope === 'pool' && one.name === name)
        const facts = { pool: own ? pool : undefined, refused: refused.get(name) ?? reason, conditions: about, now }
        await show(cluster.pools, object, poolStatusOf(object, facts))
      })
    }
  }

  async function settleClasses(now: string): Promise<void> {
    for (const one of classes.store.values()) {
      const users = all().flatMap(({ spec, metadata }) => (spec.class === one.metadata.name ? [metadata.name] : []))
      await attempt(() => {
        if (one.metadata.deletionTimestamp !== undefined && users.length === 0) return cluster.classes.letGo(one)
        return show<WorkerClassObject>(cluster.classes, one, classStatusOf(one, users, now))
      })
    }
  }

  /** One object that cannot be written harms no other. */
  async function attempt(act: () => Promise<void>): Promise<void> {
    try {
      await act()
    } catch (error) {
      onFailure(error)
    }
  }
}

async function show<T extends AnyObject>(objects: Objects<T>, object: T, status: T['status']): Promise<void> {
  if (!isDeepStrictEqual(status, object.status)) await objects.applyStatus(object, status)
}
