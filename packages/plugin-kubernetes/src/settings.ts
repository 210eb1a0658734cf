/** What a pool of Kubernetes workers may say beyond the portable fields (`worker.settings` in `muster.yaml`). */
import { type LaunchSpec, ProviderError } from '@muster/core'
import * as z from 'zod'
import type { Toleration } from './objects.ts'

/** Kubernetes' own levels: https://kubernetes.io/docs/concepts/security/pod-security-standards/ */
export const securityLevels = ['restricted', 'baseline', 'privileged'] as const
export type SecurityLevel = (typeof securityLevels)[number]

export interface VolumeSettings {
  readonly claim?: string
  readonly sizeBytes?: number
  readonly storageClass?: string
  readonly accessMode?: 'ReadWriteOnce' | 'ReadWriteMany' | 'ReadWriteOncePod'
  readonly subPath?: string
}

export interface TokenSettings {
  readonly path: string
  readonly audience: string
  readonly expirySeconds?: number
}

export interface InitSettings {
  readonly name: string
  readonly image: string
  readonly command: string[]
  readonly env?: Record<string, string>
}

export interface ServiceSettings {
  readonly user?: string
  readonly cpu?: number
  readonly memoryBytes?: number
}

export interface GroupSettings {
  readonly name: string
  readonly ports: readonly { readonly port: number; readonly target?: number; readonly protocol?: 'TCP' | 'UDP' }[]
}

export interface KubernetesSettings {
  readonly security?: SecurityLevel
  readonly user?: 'image'
  readonly pull?: 'missing' | 'always' | 'never'
  readonly pullSecrets?: string[]
  readonly limits?: {
    readonly cpu?: number | 'none'
    readonly memoryBytes?: number | 'none'
    readonly diskBytes?: number | 'none'
  }
  readonly extended?: Record<string, number>
  readonly gpu?: string
  readonly priorityClass?: string
  readonly runtimeClass?: string
  readonly nodeSelector?: Record<string, string>
  readonly affinity?: Record<string, unknown>
  readonly tolerations?: readonly Toleration[]
  readonly spread?: readonly { readonly topologyKey: string; readonly maxSkew?: number; readonly hard?: boolean }[]
  readonly serviceAccount?: string
  readonly tokens?: readonly TokenSettings[]
  readonly volumes?: Record<string, VolumeSettings>
  readonly workspace?: 'empty' | 'image'
  readonly init?: readonly InitSettings[]
  readonly services?: Record<string, ServiceSettings>
  readonly service?: GroupSettings
  readonly drain?: 'waits' | 'waits-for-leases'
  readonly graceSeconds?: number
  readonly preStop?: string[]
  readonly template?: Record<string, unknown>
}

/** Names of objects: https://kubernetes.io/docs/concepts/overview/working-with-objects/names/ */
const objectName = z.string().regex(/^[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?$/)
const dnsLabel = z.string().regex(/^[a-z0-9](?:[a-z0-9-]{0,58}[a-z0-9])?$/)
const count = z.int().min(1)
const seconds = z.int().min(0).max(86_400)
const port = z.int().min(1).max(65_535)
const anyObject = z.record(z.string(), z.unknown())
const userPattern = /^\d+(?::\d+)?$/

const volume = z.strictObject({
  claim: objectName
    .describe('A claim that is there, as a cache that workers share. Absent: a volume of the worker’s own.')
    .exactOptional(),
  sizeBytes: count
    .describe('Its own volume is a claim of this size, which goes with the worker. Absent: a folder on the node.')
    .exactOptional(),
  storageClass: objectName.describe('Class of its own claim. Absent: the cluster’s default.').exactOptional(),
  accessMode: z.enum(['ReadWriteOnce', 'ReadWriteMany', 'ReadWriteOncePod']).describe('Of its own claim.').exactOptional(),
  subPath: z.string().min(1).describe('The folder of the volume that is mounted.').exactOptional(),
})

const toleration = z.strictObject({
  key: z.string().min(1).exactOptional(),
  operator: z.enum(['Exists', 'Equal']).exactOptional(),
  value: z.string().exactOptional(),
  effect: z.enum(['NoSchedule', 'PreferNoSchedule', 'NoExecute']).exactOptional(),
  tolerationSeconds: z.int().exactOptional(),
})

const limits = z.strictObject({
  cpu: z
    .union([z.number().positive(), z.literal('none')])
    .describe('vCPU it may use. Absent: what it asked for.')
    .exactOptional(),
  memoryBytes: z
    .union([count, z.literal('none')])
    .describe('Memory it may use. Absent: what it asked for.')
    .exactOptional(),
  diskBytes: z
    .union([count, z.literal('none')])
    .describe('Disk of the node it may use. Absent: what it asked for.')
    .exactOptional(),
})

const shape = {
  security: z
    .enum(securityLevels)
    .describe("Pod Security level that requests of this pool may go up to: 'restricted' (default), 'baseline' or 'privileged'.")
    .exactOptional(),
  user: z
    .literal('image')
    .describe("Run as the image's own user, which must be a number. Absent: security.user, or 1000:1000.")
    .exactOptional(),
  pull: z.enum(['missing', 'always', 'never']).describe('When a node pulls the images. Default: missing.').exactOptional(),
  pullSecrets: z.array(objectName).describe('Secrets of the namespace with logins to registries.').exactOptional(),
  limits: limits.describe('What a worker may use beyond what is reserved for it.').exactOptional(),
  extended: z
    .record(z.string().regex(/^[^/]+\/[^/]+$/), count)
    .describe('Extended resources, as vendor.example/fpga: 1.')
    .exactOptional(),
  gpu: z.string().min(1).describe('The extended resource that resources.gpus means. Default: nvidia.com/gpu.').exactOptional(),
  priorityClass: objectName.exactOptional(),
  runtimeClass: objectName.exactOptional(),
  nodeSelector: z.record(z.string().min(1), z.string()).describe('Labels that a node must have.').exactOptional(),
  affinity: anyObject.describe('As in a Pod: nodeAffinity, podAffinity, podAntiAffinity.').exactOptional(),
  tolerations: z.array(toleration).describe('Taints of nodes that it tolerates.').exactOptional(),
  spread: z
    .array(
      z.strictObject({
        topologyKey: z.string().min(1),
        maxSkew: count.exactOptional(),
        hard: z.boolean().describe('Rather wait than be uneven.').exactOptional(),
      }),
    )
    .describe("Spreads the pool's workers over nodes or zones.")
    .exactOptional(),
  serviceAccount: objectName.describe('Whose rights its tokens have. Absent: no token at all.').exactOptional(),
  tokens: z
    .array(
      z.strictObject({
        path: z.string().startsWith('/').describe('File in the worker.'),
        audience: z.string().min(1),
        // The API takes no less than ten minutes.
        expirySeconds: z.int().min(600).exactOptional(),
      }),
    )
    .describe('Tokens of the service account, for one audience each; the node renews them.')
    .exactOptional(),
  volumes: z
    .record(z.string().regex(/^[a-z0-9-]{1,40}$/), volume)
    .describe('More about the volumes of mounts, by name.')
    .exactOptional(),
  workspace: z
    .enum(['empty', 'image'])
    .describe("What the working directory begins as: an empty folder of the node (default), or the image's own.")
    .exactOptional(),
  init: z
    .array(
      z.strictObject({
        name: dnsLabel,
        image: z.string().min(1),
        command: z.array(z.string()).min(1),
        env: z.record(z.string(), z.string()).exactOptional(),
      }),
    )
    .describe('Programs that run to their end before the services and the worker, one after the other, in its folders.')
    .exactOptional(),
  services: z
    .record(
      z.string(),
      z.strictObject({
        user: z
          .string()
          .regex(/^(?:image|\d+(?::\d+)?)$/)
          .describe("uid:gid, or 'image' for the image's own. Default: 1001:1001.")
          .exactOptional(),
        cpu: z.number().positive().exactOptional(),
        memoryBytes: count.exactOptional(),
      }),
    )
    .describe('More about services, by name.')
    .exactOptional(),
  service: z
    .strictObject({
      name: dnsLabel.regex(/^[a-z]/),
      ports: z
        .array(
          z.strictObject({
            port,
            target: port.describe('Port of the workers. Absent: the same.').exactOptional(),
            protocol: z.enum(['TCP', 'UDP']).exactOptional(),
          }),
        )
        .min(1),
    })
    .describe('A Service of this name in front of the workers of the pool that are ready.')
    .exactOptional(),
  drain: z
    .enum(['waits', 'waits-for-leases'])
    .describe(
      "Who drains a node, and asks before, waits until the worker has ended: 'waits' always, 'waits-for-leases' while somebody holds it. Absent: it is evicted.",
    )
    .exactOptional(),
  graceSeconds: seconds.describe('Between stop and kill where the cluster ends it by itself. Default: 30.').exactOptional(),
  preStop: z.array(z.string()).min(1).describe('A command that runs in the worker before it is told to stop.').exactOptional(),
  template: anyObject
    .describe('Laid over the Pod as a strategic merge: metadata and spec. What Muster needs is refused.')
    .exactOptional(),
}

export const settingsSchema: z.ZodType<KubernetesSettings> = z.strictObject(shape)

/** The settings of a spec, checked again. An error is `invalid-spec` with the path. */
export function settingsOf({ settings }: Pick<LaunchSpec, 'settings'>): KubernetesSettings {
  const parsed = settingsSchema.safeParse(settings ?? {})
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  const at = ['settings', ...(issue?.path.map(String) ?? [])].join('.')
  throw refuse('invalid-spec', at, issue?.message ?? 'it is not valid')
}

/** A refusal of a part of a spec, before anything was done. */
export function refuse(code: 'unsupported' | 'invalid-spec', at: string, why: string): ProviderError {
  return new ProviderError(code, `${at}: ${why}`, { effect: 'none', path: at })
}

export interface Ids {
  uid: number
  gid?: number
}

/** `1000:1000` in numbers; undefined for a name, which only an image knows. */
export function idsOf(user: string): Ids | undefined {
  if (!userPattern.test(user)) return undefined
  const [uid, gid] = user.split(':').map(Number) as [number, number?]
  return gid === undefined ? { uid } : { uid, gid }
}
