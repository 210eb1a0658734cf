/** A manifest for tests: of a plugin that makes workers which are one command, and can nothing else. */
import type { WorkerCapabilities, WorkerPluginManifest } from '@muster/core'

export const plainCapabilities: WorkerCapabilities = {
  work: ['command'],
  fields: [],
  watch: false,
  forward: false,
  stats: false,
  headroom: false,
  quote: false,
  preparePool: false,
  idempotency: { by: 'id' },
  visibility: { launchMs: 0, goneMs: 0 },
  exitRetentionMs: null,
  exitCode: true,
  lifetime: 'host',
  fresh: true,
  services: false,
  image: 'none',
  fencing: 'none',
  callback: false,
  envBytes: 100_000,
  handles: [1],
}

export function plainManifest(name: string, over: Partial<WorkerPluginManifest> = {}): WorkerPluginManifest {
  return {
    schema: 1,
    name,
    version: '1.0.0',
    kind: 'worker-provider',
    contract: ['1.0'],
    entry: 'plugin.mjs',
    capabilities: plainCapabilities,
    config: { type: 'object' },
    settings: {},
    permissions: { net: [], unix: [], fsRead: [], fsWrite: [], env: [], childProcess: false },
    limits: { startMs: 5000, retireMs: 2000, heapMb: 64, inFlight: 8 },
    secrets: [],
    ...over,
  }
}
