/** The fake provider as a plugin, and its capabilities. */
import { join } from 'node:path'
import process from 'node:process'
import {
  definePlugin,
  type JsonSchema,
  type WorkerCapabilities,
  type WorkerPlugin,
  type WorkerPluginManifest,
  contractVersion,
} from '../../plugin.ts'
import type { WorkerProvider } from '../../provider.ts'
import { type SpecField, specFields } from '../../spec.ts'
import { vendorSpan } from '../../wire/trail.ts'
import * as z from 'zod'
import { type FakeConfig, fakeConfigSchema } from './config.ts'
import { scriptOf, withFaults } from './faults.ts'
import { type Life, realLife } from './life.ts'
import { steadyProvider } from './provider.ts'
import { fakeSettingsSchema } from './translate.ts'
import { openVendor } from './vendor.ts'

/** Fields a plain process cannot be shown to have: refused. */
const refusedFields: readonly SpecField[] = ['credentials']

export const fakeCapabilities: WorkerCapabilities = {
  work: ['command', 'hold'],
  fields: specFields.filter((field) => !refusedFields.includes(field)),
  exec: { reattach: true, stdin: true, tty: false, exitCode: true },
  copy: { in: true, out: true, afterExit: true },
  logs: { live: true, delayMs: 0, split: true },
  watch: true,
  forward: true,
  stats: true,
  headroom: true,
  quote: true,
  preparePool: true,
  idempotency: { by: 'id' },
  visibility: { launchMs: 0, goneMs: 0 },
  exitRetentionMs: null,
  exitCode: true,
  lifetime: 'provider',
  suspend: { keeps: ['memory', 'disk'] },
  mark: true,
  fresh: true,
  services: true,
  image: 'optional',
  fencing: 'vendor',
  callback: false,
  envBytes: 131_072,
  handles: [2, 1],
}

/** Methods that go with a capability: absent when it is not declared. */
const methodsOf: Partial<Record<keyof WorkerCapabilities, (keyof WorkerProvider)[]>> = {
  exec: ['exec', 'execState', 'execKill'],
  logs: ['logs'],
  watch: ['watch'],
  forward: ['forward'],
  stats: ['stats'],
  headroom: ['headroom'],
  quote: ['quote'],
  preparePool: ['preparePool', 'unpreparePool'],
  suspend: ['suspend', 'resume'],
  mark: ['mark'],
}

export interface FakeOptions {
  name?: string
  version?: string
  /** Instead of the usual ones. A capability set to undefined is not there. */
  capabilities?: { [Name in keyof WorkerCapabilities]?: WorkerCapabilities[Name] | undefined }
  life?: Life
  now?(): number
}

export function fakeManifest(options: FakeOptions = {}): WorkerPluginManifest {
  const capabilities = Object.fromEntries(
    Object.entries({ ...fakeCapabilities, ...options.capabilities }).filter(([, value]) => value !== undefined),
  ) as unknown as WorkerCapabilities
  return {
    schema: 1,
    name: options.name ?? '@muster/plugin-fake',
    version: options.version ?? '0.1.0',
    kind: 'worker-provider',
    contract: [contractVersion],
    entry: 'dist/plugin.js',
    capabilities,
    config: z.toJSONSchema(fakeConfigSchema) as JsonSchema,
    settings: z.toJSONSchema(fakeSettingsSchema) as JsonSchema,
    permissions: { net: ['127.0.0.1:*'], unix: [], fsRead: ['/'], fsWrite: ['/'], env: [], childProcess: true },
    limits: { startMs: 5000, retireMs: 5000, heapMb: 256, inFlight: 64 },
    secrets: ['token'],
  }
}

/** The whole plugin; `manifest` instead of the one that {@link fakeManifest} makes, for a package with a file of its own. */
export function fakePlugin(options: FakeOptions & { manifest?: WorkerPluginManifest } = {}): WorkerPlugin<FakeConfig> {
  const manifest = options.manifest ?? fakeManifest(options)
  const life = options.life ?? realLife
  return definePlugin({
    manifest,
    create(config: FakeConfig, context): Promise<WorkerProvider> {
      const now = options.now ?? context.now
      return Promise.resolve(
        asVendorCalls(
          fakeProvider({
            config: { dir: join(context.dataDir, 'vendor'), ...config },
            life,
            now,
            capabilities: manifest.capabilities,
          }),
        ),
      )
    },
  })
}

/** What is asked of the vendor in these is one call each, as a trace shows it. */
function asVendorCalls(provider: WorkerProvider): WorkerProvider {
  return {
    ...provider,
    launch: (spec, call) => vendorSpan('vendor create', () => provider.launch(spec, call)),
    terminate: (target, how, call) => vendorSpan('vendor delete', () => provider.terminate(target, how, call)),
  }
}

export interface FakeProviderInput {
  config: FakeConfig & { dir: string }
  capabilities?: WorkerCapabilities
  life?: Life
  now?(): number
}

/** An in-process worker provider with every optional method its capabilities name, and with the faults its script names. */
export function fakeProvider(input: FakeProviderInput): WorkerProvider {
  const { slots, secret, faults = [], ...rest } = fakeConfigSchema.parse(input.config)
  const capabilities = input.capabilities ?? fakeCapabilities
  const config = {
    dir: input.config.dir,
    parts: rest.parts ?? ['a'],
    launchMs: rest.launchMs ?? 0,
    goneMs: rest.goneMs ?? 0,
    stopMs: rest.stopMs ?? 0,
    faults,
    ...(slots !== undefined && { slots }),
    ...(secret !== undefined && { secret }),
  }
  const life = input.life ?? realLife
  const now = input.now ?? Date.now
  const script = scriptOf({ vendor: openVendor({ dir: config.dir, life, now, goneMs: 0 }), faults })
  const mortal: Life = {
    onEnd: (end) => life.onEnd(end),
    async step(name) {
      if (script.diesAt(name)) process.kill(process.pid, 'SIGKILL')
      await life.step(name)
    },
  }
  const { provider, vendor } = steadyProvider({ config, capabilities, life: mortal, now })
  const faulty = withFaults(provider, { vendor, faults, secret })
  return without(faulty, capabilities)
}

function without(provider: WorkerProvider, capabilities: WorkerCapabilities): WorkerProvider {
  const { copy, exec } = capabilities
  const absent = new Set<string>(
    Object.entries(methodsOf).flatMap(([name, methods]) => {
      const declared = capabilities[name as keyof WorkerCapabilities]
      return declared === undefined || declared === false ? methods : []
    }),
  )
  if (exec?.tty !== true) absent.add('execResize')
  if (copy?.in !== true) absent.add('copyIn')
  if (copy?.out !== true) absent.add('copyOut')
  return Object.fromEntries(Object.entries(provider).filter(([name]) => !absent.has(name))) as unknown as WorkerProvider
}
