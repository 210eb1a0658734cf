/** What a cluster can still take: by the quotas of the namespace, and by its nodes where they may be seen. Pure. */
import type { Headroom } from '@muster/core'
import type { Container, NodeObject, Pod, ResourceQuota } from '../objects.ts'
import { amountOf } from '../quantity.ts'
import { countName } from './tenant.ts'

interface Room {
  free: number
  total: number
}

type Rooms = Partial<Record<'slots' | 'cpu' | 'memoryBytes', Room>>

/** What a quota calls them. */
const bounded: readonly (readonly [keyof Rooms, readonly string[]])[] = [
  ['slots', ['pods', 'count/pods']],
  ['cpu', ['requests.cpu', 'cpu']],
  ['memoryBytes', ['requests.memory', 'memory']],
]

/** `seen`: all nodes and all Pods of the cluster; absent where they may not be listed. */
export function headroomOf(
  quotas: readonly ResourceQuota[],
  seen?: { nodes: readonly NodeObject[]; pods: readonly Pod[] },
): Headroom {
  const bounding = quotas.filter(({ metadata }) => metadata.name !== countName)
  const rooms = [...bounding.map(roomsOfQuota), ...(seen === undefined ? [] : [roomsOfNodes(seen.nodes, seen.pods)])]
  const least = (kind: keyof Rooms): Partial<Rooms> => {
    const found = rooms.flatMap((room) => room[kind] ?? [])
    if (found.length === 0) return {}
    const total = Math.min(...found.map((room) => room.total))
    return { [kind]: { total, free: Math.max(0, Math.min(total, ...found.map((room) => room.free))) } }
  }
  const told = bounding.flatMap(linesOf)
  return { ...least('slots'), ...least('cpu'), ...least('memoryBytes'), ...(told.length === 0 ? {} : { quotas: told }) }
}

function linesOf({ metadata, status }: ResourceQuota): NonNullable<Headroom['quotas']> {
  return Object.entries(status?.hard ?? {}).flatMap(([resource, hard]) => {
    const [limit, used] = [amountOf(hard), amountOf(status?.used?.[resource] ?? '0')]
    return limit >= 0 && used >= 0 ? [{ name: `${metadata.name}/${resource}`, used, limit }] : []
  })
}

/** One that is for some Pods only says nothing of a worker of which nothing is known yet. */
function roomsOfQuota({ spec, status }: ResourceQuota): Rooms {
  if ((spec?.scopes ?? []).length > 0 || spec?.scopeSelector !== undefined) return {}
  const rooms: Rooms = {}
  for (const [kind, names] of bounded)
    for (const name of names) {
      const total = amountOf(status?.hard?.[name] ?? '')
      const free = Math.max(0, total - amountOf(status?.used?.[name] ?? '0'))
      if (total >= 0 && free >= 0 && (rooms[kind] === undefined || free < rooms[kind].free)) rooms[kind] = { free, total }
    }
  return rooms
}

/** Of the nodes that take Pods. A worker fits into one of them: what is free is the sum, not what one worker may have. */
function roomsOfNodes(nodes: readonly NodeObject[], pods: readonly Pod[]): Rooms {
  const taking = nodes.filter(({ spec, status }) => {
    const ready = status?.conditions?.find(({ type }) => type === 'Ready')?.status === 'True'
    return ready && spec?.unschedulable !== true && !(spec?.taints ?? []).some(({ effect }) => effect !== 'PreferNoSchedule')
  })
  const byNode = Map.groupBy(
    pods.filter(({ status }) => status?.phase !== 'Succeeded' && status?.phase !== 'Failed'),
    ({ spec }) => spec.nodeName,
  )
  const sum = (resource: string, of: (pod: Pod) => number): Room => {
    const room: Room = { free: 0, total: 0 }
    for (const { metadata, status } of taking) {
      const total = amountOf(status?.allocatable?.[resource] ?? '0')
      const used = (byNode.get(metadata.name) ?? []).reduce((all, pod) => all + of(pod), 0)
      room.total += total
      room.free += Math.max(0, total - used)
    }
    return room
  }
  return {
    slots: sum('pods', () => 1),
    cpu: sum('cpu', (pod) => requestOf(pod, 'cpu')),
    memoryBytes: sum('memory', (pod) => requestOf(pod, 'memory')),
  }
}

/** What a scheduler reserves: containers and sidecars together, or the largest program before them. */
function requestOf({ spec }: Pod, resource: string): number {
  const asked = ({ resources }: Container): number => amountOf(resources?.requests?.[resource] ?? '0')
  const sum = (containers: readonly Container[]): number => containers.reduce((all, one) => all + asked(one), 0)
  const before = spec.initContainers ?? []
  const sidecars = before.filter(({ restartPolicy }) => restartPolicy === 'Always')
  const largest = Math.max(0, ...before.filter((one) => !sidecars.includes(one)).map(asked))
  const overhead = (spec['overhead'] as Record<string, string> | undefined)?.[resource]
  return Math.max(sum(spec.containers) + sum(sidecars), largest) + amountOf(overhead ?? '0')
}
