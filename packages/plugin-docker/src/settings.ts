/** A pool's own settings for this provider (`pools.<name>.worker.settings` in `muster.yaml`): what only an engine has. */
import { type LaunchSpec, ProviderError } from '@muster/core'
import * as z from 'zod'
import { type PullPolicy, pullPolicySchema } from './images/image-rules.ts'

/** What is refused unless the operator allows it to a pool: each gives its workers power over the engine's machine. */
export const powers = ['privileged', 'engine-socket'] as const
export type Power = (typeof powers)[number]

export interface Device {
  /** On the engine's machine. */
  readonly path: string
  /** In the worker; absent: the same. */
  readonly target?: string
  /** Of read, write, make node; absent: `rwm`. */
  readonly access?: string
}

export interface DeviceRequest {
  readonly driver?: string
  /** How many; -1: all. */
  readonly count?: number
  readonly ids?: string[]
  readonly capabilities?: string[]
}

export interface CacheSettings {
  /** One volume for all workers of the pool, which stays; absent: each worker has its own. */
  readonly shared?: boolean
  /** `exclusive`: one worker at a time. Absent: all at once. */
  readonly lock?: 'exclusive' | 'none'
  readonly maxAgeMs?: number
  readonly maxBytes?: number
  readonly bytes?: number
}

export interface NetworkSettings {
  readonly scope?: 'engine' | 'pool' | 'worker'
  readonly aliases?: string[]
  readonly hosts?: Record<string, string>
  readonly dns?: string[]
  readonly publish?: { port: number; hostPort?: number; address?: string; protocol?: 'tcp' | 'udp' }[]
  readonly ipv6?: boolean
}

export interface DockerSettings {
  /** When images are pulled: the worker's own, its services', its gate's. */
  readonly pull?: PullPolicy
  readonly allow?: Power[]
  readonly capabilities?: 'none' | 'engine'
  readonly groups?: string[]
  readonly seccomp?: 'default' | 'unconfined' | Record<string, unknown>
  readonly apparmor?: string
  readonly hostNamespaces?: ('network' | 'pid' | 'ipc' | 'users')[]
  readonly devices?: Device[]
  readonly deviceRequests?: DeviceRequest[]
  readonly cpuShares?: number
  readonly cpuset?: string
  readonly swapBytes?: number
  readonly shmBytes?: number
  readonly ulimits?: Record<string, number | { soft: number; hard: number }>
  readonly ioWeight?: number
  readonly stopTimeoutSeconds?: number
  readonly volumes?: Record<string, CacheSettings>
  readonly network?: NetworkSettings
}

const count = z.int().min(1)
const path = z.string().regex(/^\/[^:,]*$/)
/** -1 is no limit. */
const limit = z.int().min(-1)

const device = z.strictObject({
  path: path.describe("On the engine's machine."),
  target: path.describe('In the worker; absent: the same.').exactOptional(),
  access: z
    .string()
    .regex(/^[rwm]{1,3}$/)
    .describe('Of r, w, m (make nodes); absent: rwm.')
    .exactOptional(),
})

const deviceRequest = z.strictObject({
  driver: z.string().min(1).exactOptional(),
  count: z.int().min(-1).describe('How many; -1: all.').exactOptional(),
  ids: z.array(z.string().min(1)).min(1).exactOptional(),
  capabilities: z.array(z.string().min(1)).min(1).describe('As gpu.').exactOptional(),
})

const volume = z.strictObject({
  shared: z.boolean().describe('One volume for all workers of the pool, which stays. Default: each has its own.').exactOptional(),
  lock: z.enum(['exclusive', 'none']).describe('exclusive: one worker at a time has it. Default none.').exactOptional(),
  maxAgeMs: count.describe('A shared one that is older is emptied once no worker has it.').exactOptional(),
  maxBytes: count.describe('So is one that is larger.').exactOptional(),
  bytes: count.describe("A limit of its size: the engine's own volumes have none.").exactOptional(),
})

const port = z.int().min(1).max(65_535)
const address = z.union([z.ipv4(), z.ipv6()])
const hostName = z.string().regex(/^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$/)

const network = z.strictObject({
  scope: z
    .enum(['engine', 'pool', 'worker'])
    .describe("Whose bridge a worker is on: the engine's own (default), one of its pool, or one of itself.")
    .exactOptional(),
  aliases: z.array(hostName).min(1).describe('More names on that bridge.').exactOptional(),
  hosts: z.record(hostName, address).describe('Names with an address, in /etc/hosts.').exactOptional(),
  dns: z.array(address).min(1).describe("Resolvers instead of the engine's.").exactOptional(),
  publish: z
    .array(
      z.strictObject({
        port: port.describe('In the worker.'),
        hostPort: port.describe('On the machine; absent: a free one.').exactOptional(),
        address: address.describe('Of the machine; absent: 127.0.0.1.').exactOptional(),
        protocol: z.enum(['tcp', 'udp']).exactOptional(),
      }),
    )
    .min(1)
    .exactOptional(),
  ipv6: z.boolean().describe('The bridge of the pool or worker has IPv6 too.').exactOptional(),
})

export const settingsSchema: z.ZodType<DockerSettings> = z.strictObject({
  pull: pullPolicySchema.exactOptional(),
  allow: z
    .array(z.enum(powers))
    .describe('What a worker of this pool may have though it gives power over the machine of the engine.')
    .exactOptional(),
  capabilities: z
    .enum(['none', 'engine'])
    .describe("What a worker has before security.capabilitiesAdd: nothing (default), or the engine's own set.")
    .exactOptional(),
  groups: z.array(z.string().min(1)).describe('More groups of the worker, by name or number.').exactOptional(),
  seccomp: z
    .union([z.enum(['default', 'unconfined']), z.record(z.string(), z.unknown())])
    .describe("The engine's default profile, none, or one of your own.")
    .exactOptional(),
  apparmor: z.string().min(1).describe('A profile that the kernel has.').exactOptional(),
  hostNamespaces: z
    .array(z.enum(['network', 'pid', 'ipc', 'users']))
    .describe("What is not a worker's own but the machine's.")
    .exactOptional(),
  devices: z.array(device).describe('Devices of the machine.').exactOptional(),
  deviceRequests: z.array(deviceRequest).describe('Devices by driver; resources.gpus is the short way for GPUs.').exactOptional(),
  cpuShares: z
    .int()
    .min(2)
    .max(262_144)
    .describe('Weight against others while the CPUs are busy; 1024 is usual.')
    .exactOptional(),
  cpuset: z
    .string()
    .regex(/^\d+(?:-\d+)?(?:,\d+(?:-\d+)?)*$/)
    .describe('CPUs it may run on, as 0-2,4.')
    .exactOptional(),
  swapBytes: z.int().min(0).describe('Swap beside its memory; absent: none.').exactOptional(),
  shmBytes: count.describe('Size of /dev/shm.').exactOptional(),
  ulimits: z
    .record(z.string().regex(/^[a-z]+$/), z.union([limit, z.strictObject({ soft: limit, hard: limit })]))
    .describe('Limits of each process, as nofile: 1024; -1: none.')
    .exactOptional(),
  ioWeight: z.int().min(10).max(1000).describe('Weight against others while the disk is busy.').exactOptional(),
  volumes: z
    .record(z.string().regex(/^[a-z0-9-]{1,40}$/), volume)
    .describe('More about the volumes of mounts, by name.')
    .exactOptional(),
  network: network.exactOptional(),
  stopTimeoutSeconds: z.int().min(0).describe('What the engine itself waits when it stops.').exactOptional(),
})

/** The settings of a spec, checked again. An error is `invalid-spec` with the path. */
export function settingsOf({ settings }: Pick<LaunchSpec, 'settings'>): DockerSettings {
  const parsed = settingsSchema.safeParse(settings ?? {})
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  const at = ['settings', ...(issue?.path.map(String) ?? [])].join('.')
  throw refuse('invalid-spec', at, issue?.message ?? 'it is not valid')
}

/** A refusal of a part of a spec, before anything was done. */
export function refuse(code: 'unsupported' | 'invalid-spec' | 'capacity', at: string, why: string): ProviderError {
  return new ProviderError(code, `${at}: ${why}`, { effect: 'none', path: at })
}
