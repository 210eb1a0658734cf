/** A plugin: its manifest (`muster-plugin.json`), its declared capabilities, and how an author hands both to the host. */
import * as z from 'zod'
import type { CredentialCapabilities, CredentialProvider } from './credential.ts'
import { type CallLog, suspendKeeps, type SuspendKeeps, type WorkerProvider } from './provider.ts'
import { type SpecField, specFields } from './spec.ts'

/** `MAJOR.MINOR` of this contract. A released minor's schemas never change. */
export const contractVersion = '1.0'

/** What a worker provider can do, as values: the host computes its waits and refusals from them. */
export interface WorkerCapabilities {
  work: ('command' | 'hold' | 'agent')[]
  /** Optional spec fields that are honoured; any other present field is refused as `unsupported` with its path. */
  fields: SpecField[]
  exec?: { reattach: boolean; stdin: boolean; tty: boolean; exitCode: boolean }
  /** `afterExit`: paths can still be copied out of an exited worker. */
  copy?: { in: boolean; out: boolean; afterExit: boolean }
  /** `split`: stdout and stderr apart. */
  logs?: { live: boolean; delayMs: number; split: boolean }
  watch: boolean
  forward: boolean
  stats: boolean
  headroom: boolean
  quote: boolean
  preparePool: boolean
  /** `windowMs`: how long a repeat is recognised; absent: as long as the worker exists. */
  idempotency: { by: 'id' | 'token'; windowMs?: number }
  /** How long a launch may stay unseen by `list`, and a gone worker be still seen. */
  visibility: { launchMs: number; goneMs: number }
  /** How long an exited worker stays listed when nobody terminates it; null: until then. */
  exitRetentionMs: number | null
  exitCode: boolean
  maxLifetimeMs?: number
  /** Who ends a worker at its lifetime. */
  lifetime: 'provider' | 'host'
  /** The ways in which a worker can be suspended. */
  suspend?: { keeps: SuspendKeeps[] }
  /** Does it want to know which workers somebody holds? Absent: no. */
  mark?: boolean
  /** Does each worker start from a clean file system? */
  fresh: boolean
  services: boolean
  image: 'required' | 'optional' | 'none'
  /** Can the vendor compare epochs? */
  fencing: 'vendor' | 'none'
  /** Do workers need to reach the host's URL? */
  callback: boolean
  /** Most bytes of names and values of `env` together. */
  envBytes: number
  /** Versions of {@link Handle} it reads; the first is the one it writes. */
  handles: number[]
}

export interface PluginPermissions {
  /** `host:port`, `*` for any. */
  net: string[]
  /** Paths of unix sockets. */
  unix: string[]
  fsRead: string[]
  fsWrite: string[]
  /** Names of environment variables that are passed on. */
  env: string[]
  childProcess: boolean
}

export interface PluginLimits {
  /** From spawn to configured. */
  startMs: number
  /** From retire to exit. */
  retireMs: number
  heapMb: number
  /** Most open calls; further ones wait in the host. */
  inFlight: number
}

export type JsonSchema = Record<string, unknown>

interface ManifestBase {
  schema: 1
  name: string
  version: string
  /** Contract versions it speaks, as `1.0`. */
  contract: string[]
  /** Path of the one ESM file, relative to the manifest. */
  entry: string
  /**
   * What runs the entry, where that is not the host's own Node: a program of its machine, as `python3`, in `/usr/local/bin`, `/usr/bin` or `/bin`.
   * Nothing of {@link PluginPermissions} but `env` can be enforced then.
   */
  interpreter?: string
  /** JSON Schema 2020-12 of the provider's `config`. */
  config: JsonSchema
  permissions: PluginPermissions
  limits: PluginLimits
  /** Names it may ask for by `call.secret`. */
  secrets: string[]
}

export interface WorkerPluginManifest extends ManifestBase {
  kind: 'worker-provider'
  capabilities: WorkerCapabilities
  /** JSON Schema 2020-12 of `LaunchSpec.settings`. */
  settings: JsonSchema
}

export interface CredentialPluginManifest extends ManifestBase {
  kind: 'credential-provider'
  capabilities: CredentialCapabilities
  /** JSON Schema 2020-12 of `GrantRequest.settings`. */
  settings: JsonSchema
}

export type PluginManifest = WorkerPluginManifest | CredentialPluginManifest

/** How the network is reached; `serve` has already set up `fetch`, `node:http`, `node:https` and `node:tls` with it. */
export interface PluginNetwork {
  /** `http:` or `https:` address of a proxy, with its name and password where it wants them: never to be shown. */
  proxy?: string
  /** Hosts that are reached without it, as `vendor.example`, `.example` or `10.0.0.7:443`. Loopback always is. */
  noProxy?: string[]
  /** Certificates in PEM form that are trusted beside the usual ones. */
  ca?: string
}

/** What the host tells a plugin once, before the first call. */
export interface PluginContext {
  /** Name of the provider in the deployment's configuration. */
  provider: string
  owner: string
  /** A folder of this provider's own, 0700, kept over restarts. */
  dataDir: string
  /** For what has agents of its own. Absent: nothing special, or the manifest asks for no network but loopback. */
  network?: PluginNetwork
  log: CallLog
  now(): number
}

export interface WorkerPlugin<Config = unknown> {
  manifest: WorkerPluginManifest
  create(config: Config, context: PluginContext): Promise<WorkerProvider>
}

export interface CredentialPlugin<Config = unknown> {
  manifest: CredentialPluginManifest
  create(config: Config, context: PluginContext): Promise<CredentialProvider>
}

export type Plugin = WorkerPlugin | CredentialPlugin

/** Names a plugin; `config` arrives checked by the manifest's schema and is parsed once more by the author's own. */
export function definePlugin<P extends Plugin>(plugin: P): P {
  return plugin
}

const names = z.array(z.string().min(1))
const jsonSchema: z.ZodType<JsonSchema> = z.record(z.string(), z.unknown())

export const workerCapabilitiesSchema: z.ZodType<WorkerCapabilities> = z.strictObject({
  work: z.array(z.enum(['command', 'hold', 'agent'])).min(1),
  fields: z.array(z.enum(specFields)),
  exec: z.strictObject({ reattach: z.boolean(), stdin: z.boolean(), tty: z.boolean(), exitCode: z.boolean() }).exactOptional(),
  copy: z.strictObject({ in: z.boolean(), out: z.boolean(), afterExit: z.boolean() }).exactOptional(),
  logs: z.strictObject({ live: z.boolean(), delayMs: z.int().min(0), split: z.boolean() }).exactOptional(),
  watch: z.boolean(),
  forward: z.boolean(),
  stats: z.boolean(),
  headroom: z.boolean(),
  quote: z.boolean(),
  preparePool: z.boolean(),
  idempotency: z.strictObject({ by: z.enum(['id', 'token']), windowMs: z.int().min(1).exactOptional() }),
  visibility: z.strictObject({ launchMs: z.int().min(0), goneMs: z.int().min(0) }),
  exitRetentionMs: z.int().min(0).nullable(),
  exitCode: z.boolean(),
  maxLifetimeMs: z.int().min(1).exactOptional(),
  lifetime: z.enum(['provider', 'host']),
  suspend: z.strictObject({ keeps: z.array(z.enum(suspendKeeps)).min(1) }).exactOptional(),
  mark: z.boolean().exactOptional(),
  fresh: z.boolean(),
  services: z.boolean(),
  image: z.enum(['required', 'optional', 'none']),
  fencing: z.enum(['vendor', 'none']),
  callback: z.boolean(),
  envBytes: z.int().min(0),
  handles: z.array(z.int().min(1)).min(1),
})

export const credentialCapabilitiesSchema: z.ZodType<CredentialCapabilities> = z.strictObject({
  revocation: z.enum(['now', 'expiry', 'none']),
  renewal: z.enum(['extend', 'replace', 'none']),
  orphans: z.enum(['list', 'expiry']),
  versions: z.boolean(),
  dynamic: z.boolean(),
  rotate: z.boolean(),
})

export const pluginNetworkSchema: z.ZodType<PluginNetwork> = z.strictObject({
  proxy: z.url({ protocol: /^https?$/ }).exactOptional(),
  noProxy: z.array(z.string().min(1)).exactOptional(),
  ca: z.string().min(1).exactOptional(),
})

const base = {
  schema: z.literal(1),
  name: z.string().regex(/^(?:@[a-z0-9-~][a-z0-9-._~]*\/)?[a-z0-9-~][a-z0-9-._~]*$/),
  version: z.string().min(1),
  contract: z.array(z.string().regex(/^\d+\.\d+$/)).min(1),
  entry: z.string().min(1),
  interpreter: z
    .string()
    .regex(/^[a-z][a-z0-9.+-]{0,63}$/)
    .exactOptional(),
  config: jsonSchema,
  settings: jsonSchema,
  permissions: z.strictObject({
    net: names,
    unix: names,
    fsRead: names,
    fsWrite: names,
    env: names,
    childProcess: z.boolean(),
  }),
  limits: z.strictObject({
    startMs: z.int().min(1),
    retireMs: z.int().min(1),
    heapMb: z.int().min(16),
    inFlight: z.int().min(1),
  }),
  secrets: names,
}

/** The schema of `muster-plugin.json`. */
export const pluginManifestSchema: z.ZodType<PluginManifest> = z.discriminatedUnion('kind', [
  z.strictObject({ ...base, kind: z.literal('worker-provider'), capabilities: workerCapabilitiesSchema }),
  z.strictObject({ ...base, kind: z.literal('credential-provider'), capabilities: credentialCapabilitiesSchema }),
])
