/** What a cluster is known to have, and what changed of it. Pure: {@link createStore}. */
import type { ApiObject } from './requests.ts'

export type Change<T> = { type: 'set'; object: T } | { type: 'gone'; object: T }

export interface Store<T> {
  /** By its name, and its namespace where it has one: `namespace/name`. */
  get(key: string): T | undefined
  values(): Iterable<T>
  readonly size: number
  /** Everything there is: what is not among it is gone. */
  replace(objects: readonly T[], version: string): Change<T>[]
  /** One event; nothing, for one that is known or overtaken. */
  apply(type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK', object: T): Change<T>[]
  /** The version up to which everything is known. */
  readonly version: string | undefined
}

function keyOf({ metadata }: ApiObject): string {
  const { namespace, name = '' } = metadata ?? {}
  return namespace === undefined ? name : `${namespace}/${name}`
}

export function uidOf(object: ApiObject): string {
  return object.metadata?.uid ?? keyOf(object)
}

export function createStore<T extends ApiObject>(): Store<T> {
  /** By uid: one of the same name that came after is another one, and the end of the first is not lost. */
  const held = new Map<string, T>()
  const names = new Map<string, string>()
  let version: string | undefined

  const set = (object: T): Change<T>[] => {
    const uid = uidOf(object)
    const before = held.get(uid)
    if (before !== undefined && before.metadata?.resourceVersion === object.metadata?.resourceVersion) return []
    const previous = names.get(keyOf(object))
    const gone = previous !== undefined && previous !== uid ? drop(previous) : []
    held.set(uid, object)
    names.set(keyOf(object), uid)
    return [...gone, { type: 'set', object }]
  }
  const drop = (uid: string, last?: T): Change<T>[] => {
    const before = held.get(uid)
    if (before === undefined) return []
    held.delete(uid)
    if (names.get(keyOf(before)) === uid) names.delete(keyOf(before))
    return [{ type: 'gone', object: last ?? before }]
  }

  return {
    get: (key) => held.get(names.get(key) ?? ''),
    values: () => held.values(),
    get size() {
      return held.size
    },
    get version() {
      return version
    },
    replace(objects, at) {
      const there = new Set(objects.map(uidOf))
      const changes = [...held.keys()].filter((uid) => !there.has(uid)).flatMap((uid) => drop(uid))
      for (const object of objects) changes.push(...set(object))
      version = at
      return changes
    },
    apply(type, object) {
      const at = object.metadata?.resourceVersion
      if (at === undefined || (version !== undefined && !isNewer(at, version))) return []
      version = at
      if (type === 'BOOKMARK') return []
      return type === 'DELETED' ? drop(uidOf(object), object) : set(object)
    },
  }
}

/**
 * Is one version after another? They are whole numbers that grow, and may be compared as such since Kubernetes 1.35; before, every server
 * with etcd below did the same. Of anything else it is only known whether it is the same.
 */
function isNewer(version: string, than: string): boolean {
  if (!/^\d+$/.test(version) || !/^\d+$/.test(than)) return version !== than
  return version.length === than.length ? version > than : version.length > than.length
}
