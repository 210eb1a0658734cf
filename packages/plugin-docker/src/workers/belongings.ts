/** What a worker has beside its container: found by the owner's tags alone, so that a half-made or half-removed one is found too. */
import type { OwnerTags, WorkerId } from '@muster/core'
import type { ContainerRow, Engine } from '../client.ts'
import type { Row } from './rows.ts'
import { isEnding, isGone, isStatus } from '../errors.ts'
import { containerName, ownerFilter, partLabel, tagsOf } from '../labels.ts'
import { type VolumeRow } from './storage.ts'
import { createTidy, type Tidy } from './tidy.ts'

type Owner = Pick<OwnerTags, 'muster-owner' | 'muster-provider'>

/** One thing of a worker, or of a pool. */
export interface Belonging {
  kind: 'container' | 'network' | 'volume'
  /** What its engine calls it by: a name; a network's id, since two may have one name. */
  key: string
  name: string
  tags: OwnerTags
}

interface NetworkRow {
  Id: string
  Name: string
  Labels: Record<string, string> | null
}

export interface Belongings {
  /** All of the owner, or of one worker. */
  find(signal: AbortSignal, worker?: WorkerId): Promise<Belonging[]>
  /** Removes what a worker has, after its container. `busy`: something is still held. */
  remove(worker: WorkerId, signal: AbortSignal): Promise<'gone' | 'busy'>
  /** For what pools have. */
  tidy: Tidy
}

export function createBelongings(engine: Engine, owner: Owner): Belongings {
  const ask = async <T>(path: string, labels: string[], signal: AbortSignal): Promise<T> =>
    engine.json<T>({
      method: 'GET',
      path,
      query: { all: path.startsWith('/containers') || undefined, filters: { label: labels } },
      signal,
    })

  async function find(signal: AbortSignal, worker?: WorkerId): Promise<Belonging[]> {
    const labels = [...ownerFilter(owner), worker === undefined ? 'muster-worker' : `muster-worker=${worker}`, partLabel.part]
    const [containers, networks, volumes] = await Promise.all([
      ask<ContainerRow[]>('/containers/json', labels, signal),
      ask<NetworkRow[]>('/networks', labels, signal),
      ask<{ Volumes: VolumeRow[] | null }>('/volumes', labels, signal),
    ])
    return [
      ...containers.flatMap(({ Names, Labels }) =>
        ours('container', { key: Names[0]?.slice(1), name: Names[0]?.slice(1) }, Labels),
      ),
      ...networks.flatMap(({ Id, Name, Labels }) => ours('network', { key: Id, name: Name }, Labels)),
      ...(volumes.Volumes ?? []).flatMap(({ Name, Labels }) => ours('volume', { key: Name, name: Name }, Labels)),
    ]
  }

  async function drop({ kind, key }: Pick<Belonging, 'kind' | 'key'>, signal: AbortSignal): Promise<boolean> {
    const query = kind === 'container' ? { force: true, v: true } : {}
    try {
      await engine.json({ method: 'DELETE', path: `/${kind}s/${encodeURIComponent(key)}`, query, signal })
      return true
    } catch (error) {
      if (isGone(error)) return true
      // 403: a network with live endpoints; 409: a volume in use, a container that is being removed.
      if (isStatus(error, 403) || isStatus(error, 409) || isEnding(error)) return false
      throw error
    }
  }

  return {
    find,
    async remove(worker, signal) {
      const found = await find(signal, worker)
      let gone = true
      // Containers hold networks and volumes.
      for (const kind of ['container', 'network', 'volume'] as const) {
        const removed = await Promise.all(found.filter((thing) => thing.kind === kind).map((thing) => drop(thing, signal)))
        gone &&= removed.every(Boolean)
      }
      return gone ? 'gone' : 'busy'
    },
    tidy: createTidy({
      drop,
      networks: unused,
      caches: (signal) => volumes('/volumes', { filters: { label: [...ownerFilter(owner), partLabel.cache] } }, signal),
      sizes: (signal) => volumes('/system/df', { type: 'volume' }, signal),
    }),
  }

  /** An engine removes a network that only a container names which does not run, as one that is suspended to disk. */
  async function unused(signal: AbortSignal): Promise<NetworkRow[]> {
    const networks = await ask<NetworkRow[]>('/networks', [...ownerFilter(owner), `${partLabel.part}=pool`], signal)
    const query = (network: string): object => ({ all: true, filters: { network: [network] } })
    const named = await Promise.all(
      networks.map(({ Name }) =>
        engine.json<ContainerRow[]>({ method: 'GET', path: '/containers/json', query: { ...query(Name) }, signal }),
      ),
    )
    return networks.filter((_network, index) => named[index]?.length === 0)
  }

  async function volumes(path: string, query: object, signal: AbortSignal): Promise<VolumeRow[]> {
    const { Volumes } = await engine.json<{ Volumes: VolumeRow[] | null }>({ method: 'GET', path, query: { ...query }, signal })
    return Volumes ?? []
  }
}

/**
 * Workers of which only parts are there: half-made, or half-removed. The parts must be older than the rows: a worker's container is made
 * first and goes first.
 */
export function orphansOf(parts: readonly Belonging[], rows: readonly Pick<Row, 'id'>[]): Row[] {
  const there = new Set(rows.map(({ id }) => id))
  const left = parts.filter(({ tags }) => !there.has(tags['muster-worker']))
  const first = new Map(left.map((thing) => [thing.tags['muster-worker'], thing]))
  return [...first].map(([id, { tags, key }]) => ({ id, tags, container: key, state: 'removing', cpu: 0, memoryBytes: 0 }))
}

/** Labels can be given to anything; the name belongs to one worker. */
function ours(
  kind: Belonging['kind'],
  { key, name }: { key: string | undefined; name: string | undefined },
  labels: Record<string, string> | null,
): Belonging[] {
  const tags = tagsOf(labels)
  if (key === undefined || name === undefined || tags === undefined) return []
  const worker = tags['muster-worker']
  const named = name.startsWith(`${containerName(worker)}-`) || name.startsWith('muster-lock-')
  return named && labels?.[partLabel.part] !== undefined ? [{ kind, key, name, tags }] : []
}
