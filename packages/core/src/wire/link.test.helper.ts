/** A host's connection and a plugin's service over one pair of duplexes, in this process. */
import { duplexPair } from 'node:stream'
import type { CredentialProvider } from '../credential.ts'
import type { ProviderError } from '../errors.ts'
import type { CredentialPluginManifest, Plugin } from '../plugin.ts'
import type { WorkerObservation, WorkerProvider } from '../provider.ts'
import type { LaunchSpec, OwnerTags } from '../spec.ts'
import type { CallOptions } from './call-options.ts'
import { connectPlugin, type PluginConnection } from './client.ts'
import type { ConnectOptions } from './client-core.ts'
import { echoManifest } from './echo.test.child.ts'
import { type RawSide, rawSide } from './raw.test.helper.ts'
import { createRedactor } from './redact.ts'
import { createService, type Service } from './service.ts'

export const id: string = `w${'a'.repeat(26)}`
export const execId: string = `x${'a'.repeat(26)}`
export const tags: OwnerTags = {
  'muster-owner': 'o',
  'muster-provider': 'p',
  'muster-pool': 'q',
  'muster-worker': 'w',
  'muster-epoch': '1',
}
export const query = { tags: { 'muster-owner': 'o', 'muster-provider': 'p' }, limit: 10 }
export const spec: LaunchSpec = { id, tags, work: { mode: 'hold' } }
export const observation: WorkerObservation = { id, handle: { v: 1, data: { n: 1 } }, tags, phase: 'running', ready: true }
export const now = '2026-01-31T09:30:00.000Z'

const credentialManifest: CredentialPluginManifest = {
  ...echoManifest,
  kind: 'credential-provider',
  capabilities: { revocation: 'now', renewal: 'extend', orphans: 'list', versions: true, dynamic: true, rotate: true },
}

export function options(more: Partial<CallOptions> = {}): CallOptions {
  return {
    deadlineMs: 5000,
    idempotencyKey: 'k',
    epoch: 3,
    attempt: 1,
    traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`,
    ...more,
  }
}

export interface Link {
  host: PluginConnection
  service: Service
  lines: string[]
}

export async function link(provider: Partial<WorkerProvider>, connect: ConnectOptions = {}): Promise<Link> {
  return await linkPlugin({ manifest: echoManifest, create: async () => provider as WorkerProvider }, connect)
}

export async function linkCredentials(provider: Partial<CredentialProvider>): Promise<Link> {
  return await linkPlugin({ manifest: credentialManifest, create: async () => provider as CredentialProvider }, {})
}

async function linkPlugin(plugin: Plugin, connect: ConnectOptions): Promise<Link> {
  const made = linkRaw(plugin, connect)
  await made.host.configure(configuration, { deadlineMs: 1000 })
  return made
}

export const configuration = { contract: '1.0', config: { a: 1 }, context: { provider: 'p', owner: 'o', dataDir: '/data' } }

export function linkRaw(plugin: Plugin, connect: ConnectOptions = {}): Link {
  const [left, right] = duplexPair()
  const lines: string[] = []
  const service = createService(right, plugin, { write: (line) => lines.push(line), redactor: createRedactor() })
  return { host: connectPlugin(left, connect), service, lines }
}

export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const item of items) all.push(item)
  return all
}

/** A host's connection to a plugin that is played by hand. */
export function connect(given: ConnectOptions = {}): { host: PluginConnection; raw: RawSide } {
  const raw = rawSide()
  return { host: connectPlugin(raw.socket, given), raw }
}

export async function failure(promise: Promise<unknown>): Promise<ProviderError> {
  return await promise.then(
    () => {
      throw new Error('it did not fail')
    },
    (error: unknown) => error as ProviderError,
  )
}
