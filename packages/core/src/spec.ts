/** What a worker shall be: {@link LaunchSpec} and its parts, each with the schema that checks it on both sides of the wire. */
import * as z from 'zod'

/** `w` and 26 base-32 digits (time first): usable as name, token and label at every vendor. */
export type WorkerId = string
/** An ISO 8601 time in UTC, as in `2026-01-31T09:30:00.000Z`. */
export type Instant = string

/** Bytes that must never be shown. On the wire `{ "$secret": "…" }`, so that every logger can find and drop it. */
export interface SecretText {
  readonly $secret: string
}

/** Who a vendor object belongs to. Values match `[a-z0-9-]{1,40}`: the smallest alphabet all vendors share. */
export interface OwnerTags {
  'muster-owner': string
  'muster-provider': string
  'muster-pool': string
  'muster-worker': string
  'muster-epoch': string
}

/** A file that a worker in `command` mode fetches before its command starts. */
export interface InputRef {
  name: string
  /** Where it is unpacked (a tar) inside the worker. */
  path: string
  url: string
  sha256: string
  bytes: number
}

/** A path that a worker in `command` mode hands back after its command, also when that failed. */
export interface OutputRef {
  name: string
  path: string
  url: string
  maxBytes: number
}

export type Work =
  | { mode: 'command'; command: string[]; inputs?: InputRef[]; outputs?: OutputRef[] }
  | { mode: 'hold' }
  /** Runs an agent that exchanges the ticket, once, at `url` for a session, and then takes work from there (`/v1/self`). */
  | { mode: 'agent'; ticket: SecretText; url: string }

export interface FileSpec {
  /** Absolute, or relative to `workdir`. */
  path: string
  base64: string
  /** Permission bits, as 0o600 = 384. Default 0o600. */
  mode?: number
}

/** Minima: rounding up is allowed and reported as `granted`. */
export interface Resources {
  /** vCPU, as 0.5. */
  cpu?: number
  memoryBytes?: number
  diskBytes?: number
  /** Most processes at once; exact. */
  pids?: number
  gpus?: number
}

export interface Mount {
  /** Path inside the worker. */
  target: string
  source: { kind: 'bind'; path: string } | { kind: 'volume'; name: string } | { kind: 'tmpfs'; bytes?: number }
  readOnly?: boolean
}

export interface NetworkSpec {
  egress?: 'none' | 'restricted' | 'full'
  /** With `restricted`: `host:port`, CIDR or host. */
  allow?: string[]
  /** Ports inside the worker that `forward` may reach. */
  ports?: number[]
}

export interface SecuritySpec {
  /** User (and group) inside the worker, as `1000:1000` or a name. */
  user?: string
  readOnlyRoot?: boolean
  noNewPrivileges?: boolean
  privileged?: boolean
  capabilitiesAdd?: string[]
  capabilitiesDrop?: string[]
}

export interface Readiness {
  check: { kind: 'exec'; command: string[] } | { kind: 'tcp'; port: number } | { kind: 'http'; port: number; path: string }
  intervalMs: number
  timeoutMs: number
  /** Failures in a row after which the worker counts as not ready. */
  failures: number
}

export interface ServiceSpec {
  name: string
  image: string
  env?: Record<string, string>
  command?: string[]
  readiness?: Readiness
}

export interface CredentialUse {
  name: string
  as: { file: string } | { env: string }
  via: 'mount' | 'ticket' | 'native'
}

/** Frozen by the host: byte-identical on every attempt of one id. */
export interface LaunchSpec {
  id: WorkerId
  tags: OwnerTags
  work: Work
  image?: string
  /** A named machine kind of the provider, instead of an image. */
  profile?: string
  env?: Record<string, string>
  workdir?: string
  files?: FileSpec[]
  resources?: Resources
  os?: 'linux' | 'windows' | 'darwin'
  arch?: 'amd64' | 'arm64'
  mounts?: Mount[]
  network?: NetworkSpec
  security?: SecuritySpec
  /** Maximum age in milliseconds. */
  lifetimeMs?: number
  readiness?: Readiness
  services?: ServiceSpec[]
  /** The user's own labels. */
  labels?: Record<string, string>
  credentials?: CredentialUse[]
  /** The provider's own part, checked by its manifest's `settings` schema. */
  settings?: unknown
}

/** The optional parts of a {@link LaunchSpec} a provider can declare to honour; any other one present is refused by path. */
export const specFields = [
  'work.inputs',
  'work.outputs',
  'image',
  'profile',
  'env',
  'workdir',
  'files',
  'resources.cpu',
  'resources.memoryBytes',
  'resources.diskBytes',
  'resources.pids',
  'resources.gpus',
  'os',
  'arch',
  'mounts.bind',
  'mounts.volume',
  'mounts.tmpfs',
  'network.egress.none',
  'network.egress.restricted',
  'network.egress.full',
  'network.allow',
  'network.ports',
  'security.user',
  'security.readOnlyRoot',
  'security.noNewPrivileges',
  'security.privileged',
  'security.capabilitiesAdd',
  'security.capabilitiesDrop',
  'lifetimeMs',
  'readiness',
  'services',
  'labels',
  'credentials',
  'settings',
] as const
export type SpecField = (typeof specFields)[number]

export const workerIdSchema: z.ZodType<WorkerId> = z.string().regex(/^w[0-9a-z]{26}$/)
export const instantSchema: z.ZodType<Instant> = z.iso.datetime()
export const secretTextSchema: z.ZodType<SecretText> = z.strictObject({ $secret: z.string() })

/** The alphabet of every tag value and of every name in the configuration. */
export const namePattern: RegExp = /^[a-z0-9-]{1,40}$/
const name = z.string().regex(namePattern)
const positive = z.number().positive()
const count = z.int().min(1)
const port = z.int().min(1).max(65_535)
const envSchema = z.record(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/), z.string())

export const ownerTagsSchema: z.ZodType<OwnerTags> = z.strictObject({
  'muster-owner': name,
  'muster-provider': name,
  'muster-pool': name,
  'muster-worker': name,
  'muster-epoch': name,
})

export const inputRefSchema: z.ZodType<InputRef> = z.strictObject({
  name,
  path: z.string().min(1),
  url: z.url(),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  bytes: z.int().min(0),
})

export const outputRefSchema: z.ZodType<OutputRef> = z.strictObject({
  name,
  path: z.string().min(1),
  url: z.url(),
  maxBytes: count,
})

export const workSchema: z.ZodType<Work> = z.discriminatedUnion('mode', [
  z.strictObject({
    mode: z.literal('command'),
    command: z.array(z.string()).min(1),
    inputs: z.array(inputRefSchema).exactOptional(),
    outputs: z.array(outputRefSchema).exactOptional(),
  }),
  z.strictObject({ mode: z.literal('hold') }),
  z.strictObject({ mode: z.literal('agent'), ticket: secretTextSchema, url: z.url() }),
])

export const readinessSchema: z.ZodType<Readiness> = z.strictObject({
  check: z.discriminatedUnion('kind', [
    z.strictObject({ kind: z.literal('exec'), command: z.array(z.string()).min(1) }),
    z.strictObject({ kind: z.literal('tcp'), port }),
    z.strictObject({ kind: z.literal('http'), port, path: z.string().startsWith('/') }),
  ]),
  intervalMs: count,
  timeoutMs: count,
  failures: count,
})

export const resourcesSchema: z.ZodType<Resources> = z.strictObject({
  cpu: positive.exactOptional(),
  memoryBytes: count.exactOptional(),
  diskBytes: count.exactOptional(),
  pids: count.exactOptional(),
  gpus: count.exactOptional(),
})

export const fileSpecSchema: z.ZodType<FileSpec> = z.strictObject({
  path: z.string().min(1),
  base64: z.base64(),
  mode: z.int().min(0).max(0o7777).exactOptional(),
})

export const mountSchema: z.ZodType<Mount> = z.strictObject({
  target: z.string().min(1).describe('Path inside the worker.'),
  source: z.discriminatedUnion('kind', [
    z.strictObject({ kind: z.literal('bind'), path: z.string().startsWith('/') }),
    z.strictObject({ kind: z.literal('volume'), name: z.string().min(1) }),
    z.strictObject({ kind: z.literal('tmpfs'), bytes: count.exactOptional() }),
  ]),
  readOnly: z.boolean().exactOptional().describe('The worker cannot write there. Default false.'),
})

export const networkSpecSchema: z.ZodType<NetworkSpec> = z.strictObject({
  egress: z
    .enum(['none', 'restricted', 'full'])
    .exactOptional()
    .describe('What its workers reach: nothing, what `allow` names, or all. Default: as the provider has it.'),
  allow: z
    .array(z.string().min(1))
    .exactOptional()
    .describe('With `restricted`: what is reached, each as `host:port`, CIDR or host.'),
  ports: z.array(port).exactOptional().describe('Ports inside the worker that `muster forward` may reach.'),
})

export const securitySpecSchema: z.ZodType<SecuritySpec> = z.strictObject({
  user: z.string().min(1).exactOptional().describe('User (and group) inside the worker, as `1000:1000` or a name.'),
  readOnlyRoot: z.boolean().exactOptional().describe('The root of its files cannot be written.'),
  noNewPrivileges: z.boolean().exactOptional().describe('No program inside gains rights, as by setuid.'),
  privileged: z
    .boolean()
    .exactOptional()
    .describe('Without the walls between worker and machine: a job is root of the machine then.'),
  capabilitiesAdd: z
    .array(z.string().min(1))
    .exactOptional()
    .describe('Capabilities of Linux that it has beside those of the provider, as NET_ADMIN.'),
  capabilitiesDrop: z.array(z.string().min(1)).exactOptional().describe('Capabilities that it does not have, as ALL.'),
})

export const serviceSpecSchema: z.ZodType<ServiceSpec> = z.strictObject({
  name,
  image: z.string().min(1),
  env: envSchema.exactOptional(),
  command: z.array(z.string()).exactOptional(),
  readiness: readinessSchema.exactOptional(),
})

export const credentialUseSchema: z.ZodType<CredentialUse> = z.strictObject({
  name,
  as: z.union([z.strictObject({ file: z.string().min(1) }), z.strictObject({ env: z.string().min(1) })]),
  via: z.enum(['mount', 'ticket', 'native']),
})

export const launchSpecSchema: z.ZodType<LaunchSpec> = z.strictObject({
  id: workerIdSchema,
  tags: ownerTagsSchema,
  work: workSchema,
  image: z.string().min(1).exactOptional(),
  profile: z.string().min(1).exactOptional(),
  env: envSchema.exactOptional(),
  workdir: z.string().min(1).exactOptional(),
  files: z.array(fileSpecSchema).exactOptional(),
  resources: resourcesSchema.exactOptional(),
  os: z.enum(['linux', 'windows', 'darwin']).exactOptional(),
  arch: z.enum(['amd64', 'arm64']).exactOptional(),
  mounts: z.array(mountSchema).exactOptional(),
  network: networkSpecSchema.exactOptional(),
  security: securitySpecSchema.exactOptional(),
  lifetimeMs: count.exactOptional(),
  readiness: readinessSchema.exactOptional(),
  services: z.array(serviceSpecSchema).exactOptional(),
  labels: z.record(z.string(), z.string()).exactOptional(),
  credentials: z.array(credentialUseSchema).exactOptional(),
  settings: z.unknown().exactOptional(),
})

/** The optional parts that are present in a spec, as the paths of {@link specFields}. Pure. */
export function fieldsOf(spec: LaunchSpec): SpecField[] {
  const found = new Set<SpecField>()
  const add = (present: unknown, field: SpecField): void => {
    if (present !== undefined) found.add(field)
  }
  if (spec.work.mode === 'command') {
    add(spec.work.inputs, 'work.inputs')
    add(spec.work.outputs, 'work.outputs')
  }
  for (const key of [
    'image',
    'profile',
    'env',
    'workdir',
    'files',
    'os',
    'arch',
    'lifetimeMs',
    'readiness',
    'services',
    'labels',
    'credentials',
    'settings',
  ] as const)
    add(spec[key], key)
  for (const key of ['cpu', 'memoryBytes', 'diskBytes', 'pids', 'gpus'] as const) add(spec.resources?.[key], `resources.${key}`)
  for (const mount of spec.mounts ?? []) found.add(`mounts.${mount.source.kind}`)
  if (spec.network?.egress !== undefined) found.add(`network.egress.${spec.network.egress}`)
  add(spec.network?.allow, 'network.allow')
  add(spec.network?.ports, 'network.ports')
  for (const key of ['user', 'readOnlyRoot', 'noNewPrivileges', 'privileged', 'capabilitiesAdd', 'capabilitiesDrop'] as const)
    add(spec.security?.[key], `security.${key}`)
  return [...found]
}
