/** Names and labels of our containers: how they are found again, and by whom. Pure. */
import { type LaunchSpec, type OwnerTags, ownerTagsSchema, type WorkerId, workerIdSchema } from '@muster/core'
import { digestOf } from '@muster/provider-parts/digest'

/** A container's name: an engine gives each name once, which makes launch idempotent. */
export function containerName(id: WorkerId): string {
  return `muster-${id}`
}

/** `/containers/<name>`, the path of everything about one worker. */
export function containerPath(id: WorkerId): string {
  return `/containers/${containerName(id)}`
}

/** Labels beside the owner tags, which are labels under their own names. */
export const label = {
  /** Digest of the spec: the same id with another spec is a conflict. */
  spec: 'muster-spec',
  /** Reserved shares, so that one list tells what is free: nano-CPUs and bytes. */
  cpu: 'muster-cpu',
  memory: 'muster-memory',
  /** Ports that `forward` may reach, with commas between; absent: any. */
  ports: 'muster-ports',
  /** It holds: to begin again what it runs harms nobody. */
  holds: 'muster-holds',
  /** There is more than the container: it is looked for when the worker ends. */
  parts: 'muster-parts',
  /** The user's own labels stand below this prefix. */
  user: 'muster-label.',
} as const

/** What volumes, and containers that hold a lock, have beside the owner tags. */
export const partLabel = {
  /** What it is to its worker: volume, lock, network, gate, service. */
  part: 'muster-part',
  /** The name of a cache: it outlives workers. */
  cache: 'muster-cache',
  maxAge: 'muster-cache-max-age-ms',
  maxBytes: 'muster-cache-max-bytes',
} as const

/** What a worker takes of its engine. */
export interface Need {
  readonly cpu: number
  readonly memoryBytes: number
}

/** Each service has the limits of its worker beside it. */
export function needOf({ resources: { cpu = 0, memoryBytes = 0 } = {}, services = [] }: LaunchSpec): Need {
  const parts = 1 + services.length
  return { cpu: cpu * parts, memoryBytes: memoryBytes * parts }
}

/** All labels of a worker's container. */
export function labelsOf(spec: LaunchSpec): Record<string, string> {
  const { resources = {}, network } = spec
  const need = needOf(spec)
  return {
    ...Object.fromEntries(Object.entries(spec.labels ?? {}).map(([name, value]) => [label.user + name, value])),
    ...spec.tags,
    [label.spec]: specDigest(spec),
    ...(resources.cpu === undefined ? {} : { [label.cpu]: String(Math.ceil(need.cpu * 1e9)) }),
    ...(resources.memoryBytes === undefined ? {} : { [label.memory]: String(need.memoryBytes) }),
    ...(spec.work.mode === 'hold' ? { [label.holds]: 'yes' } : {}),
    ...(hasParts(spec) ? { [label.parts]: 'yes' } : {}),
    ...(network?.ports === undefined ? {} : { [label.ports]: network.ports.join(',') }),
  }
}

/** Has the worker more than its container? */
export function hasParts({ mounts = [], network, services = [], settings }: LaunchSpec): boolean {
  const scope = (settings as { network?: { scope?: string } } | undefined)?.network?.scope ?? 'engine'
  return (
    mounts.some(({ source }) => source.kind !== 'tmpfs') ||
    network?.egress === 'restricted' ||
    services.length > 0 ||
    scope !== 'engine'
  )
}

/** The owner tags among a container's labels (null where it has none); undefined when it is none of ours. */
export function tagsOf(labels: Readonly<Record<string, string>> | null): OwnerTags | undefined {
  const tags = Object.fromEntries(Object.entries(labels ?? {}).filter(([name]) => tagNames.has(name)))
  const parsed = ownerTagsSchema.safeParse(tags)
  return parsed.success && workerIdSchema.safeParse(parsed.data['muster-worker']).success ? parsed.data : undefined
}

const tagNames: ReadonlySet<string> = new Set<keyof OwnerTags>([
  'muster-owner',
  'muster-provider',
  'muster-pool',
  'muster-worker',
  'muster-epoch',
])

/** The engine's filter for the workers of one provider of one owner. */
export function ownerFilter(tags: Pick<OwnerTags, 'muster-owner' | 'muster-provider'>): string[] {
  return [`muster-owner=${tags['muster-owner']}`, `muster-provider=${tags['muster-provider']}`]
}

/** sha256 over the spec with its names in order, cut to 128 bits: enough to tell specs apart. */
export function specDigest(spec: LaunchSpec): string {
  return digestOf(spec).slice(0, 32)
}

/** Is it one that holds? Of a container as the engine tells it, which has no labels where there are none. */
export function isHolding({ Config }: { Config?: { Labels?: Readonly<Record<string, string>> | null } }): boolean {
  return Config?.Labels?.[label.holds] !== undefined
}
