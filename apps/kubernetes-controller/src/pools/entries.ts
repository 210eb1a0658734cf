/** Which pools of a host the objects of a cluster mean. Pure: {@link entriesOf}. */
import type { PoolEntry, WorkerClassObject, WorkerPoolObject } from '../objects.ts'

export interface Refusal {
  /** CamelCase. */
  reason: string
  message: string
}

export interface Entries {
  /** By name: as it is written in `muster.yaml`. */
  wanted: ReadonlyMap<string, PoolEntry>
  /** Of those that cannot be meant so; where the host runs one of that name, it goes on as it was. */
  refused: ReadonlyMap<string, Refusal>
}

export interface EntriesInput {
  pools: Iterable<WorkerPoolObject>
  classes: Iterable<WorkerClassObject>
  /** Names of pools that the host has from elsewhere. */
  taken: ReadonlySet<string>
  /** What the host goes by now. */
  inForce: ReadonlyMap<string, PoolEntry>
}

/** One that is deleted is not meant any more. */
export function entriesOf({ pools, classes, taken, inForce }: EntriesInput): Entries {
  const workers = new Map([...classes].map(({ metadata, spec }) => [metadata.name, spec]))
  const wanted = new Map<string, PoolEntry>()
  const refused = new Map<string, Refusal>()
  for (const { metadata, spec } of pools) {
    const { name, deletionTimestamp } = metadata
    if (deletionTimestamp !== undefined) continue
    const { class: named, ...entry } = spec
    if (taken.has(name)) {
      refused.set(name, { reason: 'NameTaken', message: `The base configuration has a pool ${name} of its own.` })
    } else if (named === undefined) {
      wanted.set(name, entry)
    } else if (workers.has(named)) {
      wanted.set(name, { ...entry, worker: workers.get(named) })
    } else {
      refused.set(name, { reason: 'ClassNotFound', message: `There is no WorkerClass ${named} in this namespace.` })
      const before = inForce.get(name)
      if (before !== undefined) wanted.set(name, before)
    }
  }
  return { wanted, refused }
}
