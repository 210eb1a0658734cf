/** All providers of a deployment, each supervised in a process of its own; and the same started once, to check them. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { MusterConfig, ProviderConfig } from '../config/load.ts'
import type { LoadedConfig } from '../config/load.ts'
import type { Problem } from '../config/problem.ts'
import type { Fence, PluginRoom, ProviderStatus } from './api.ts'
import { dropBundles } from './bundle.ts'
import type { DiscoveredPlugin, Discovery } from './discover.ts'
import { createRedactor } from './redactor.ts'
import { secretReader } from './secrets.ts'
import { startSession, type StartFault } from './session.ts'
import { retire, type RoomLog, supervise } from './supervise.ts'

export interface RoomDeps {
  config: MusterConfig
  discovery: Discovery
  owner: string
  fence: Fence
  log: RoomLog
  now?(): number
  random?(): number
}

/** Starts every provider and resolves at once; `settled` of the result waits for each one's first start. */
export function startPlugins(deps: RoomDeps): PluginRoom & { settled(): Promise<void> } {
  const { config, discovery } = deps
  const listeners = new Set<(status: ProviderStatus) => void>()
  const now = deps.now ?? Date.now
  const keepBundles = { most: config.retention.crashes, ms: config.retention.crashesMs }
  dropBundles(config.data, now(), keepBundles).catch((error: unknown) => deps.log.warn({ err: error }, 'old crash bundles stay'))
  const all = new Map(
    config.providers.flatMap((provider) => {
      const plugin = discovery.plugins.find((one) => one.alias === provider.alias)
      if (plugin?.manifest.kind !== 'worker-provider') return []
      const supervised = supervise({
        plugin,
        provider,
        owner: deps.owner,
        fence: deps.fence,
        dataDir: config.data,
        ownDir: providerDir(config, provider),
        log: deps.log,
        now,
        random: deps.random ?? Math.random,
        keepBundles,
        onChange(status) {
          for (const listener of listeners) listener(status)
        },
      })
      return [[provider.name, supervised] as const]
    }),
  )
  return {
    provider(name) {
      const found = all.get(name)
      if (found === undefined) throw new Error(`no provider is named '${name}'`)
      return found.provider
    },
    list: () => [...all.values()].map((one) => one.provider),
    onChange(listener) {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
    async settled() {
      await Promise.all([...all.values()].map((one) => one.first))
    },
    async stop() {
      await Promise.all([...all.values()].map((one) => one.stop()))
    },
  }
}

/** A provider's own folder inside the data folder. */
function providerDir(config: Pick<MusterConfig, 'data'>, provider: { name: string }): string {
  return join(config.data, 'providers', provider.name)
}

export interface PluginCheck {
  problems: Problem[]
  /** What is no problem and still worth knowing, as `no isolation: same user`. */
  notes: { provider: string; text: string }[]
}

/** Starts every provider's plugin once, compares, configures, probes, and ends it; no worker is started, nothing is kept. */
export async function checkPlugins({
  config,
  discovery,
  at,
  refused = [],
}: {
  config: MusterConfig
  discovery: Discovery
  at: LoadedConfig['problem']
  /** Names of providers that are left out. */
  refused?: readonly string[]
}): Promise<PluginCheck> {
  const checks = await Promise.all(
    config.providers.flatMap((provider) => {
      const plugin = discovery.plugins.find((one) => one.alias === provider.alias)
      return plugin?.manifest.kind === 'worker-provider' && !refused.includes(provider.name)
        ? [checkOne(plugin, provider, at)]
        : []
    }),
  )
  return { problems: checks.flatMap((one) => one.problems), notes: checks.flatMap((one) => one.notes) }
}

async function checkOne(plugin: DiscoveredPlugin, provider: ProviderConfig, at: LoadedConfig['problem']): Promise<PluginCheck> {
  const here = ['providers', provider.name]
  const dataDir = await mkdtemp(join(tmpdir(), 'muster-check-'))
  const redactor = createRedactor()
  try {
    const child = await startSession({ plugin, provider, owner: 'check', dataDir, redactor, onLine: () => undefined })
    const read = secretReader(provider.secrets)
    const options = {
      deadlineMs: 10_000,
      idempotencyKey: 'check',
      epoch: 0,
      attempt: 1,
      traceparent: `00-${'1'.repeat(32)}-${'1'.repeat(16)}-00`,
    }
    const found = await child.connection.worker
      .probe({ ...options, secret: (name) => read(name) })
      .catch((error: Error & { hint?: string }) => ({
        state: 'failed' as const,
        message: error.message,
        hint: error.hint,
        notes: [] as string[],
      }))
    await retire(child, plugin.manifest.limits.retireMs)
    const notes = (found.notes ?? []).map((text) => ({ provider: provider.name, text }))
    if (found.state !== 'failed') return { problems: [], notes }
    const reason = `provider '${provider.name}' is not usable: ${redactor.clean(found.message ?? 'its probe failed')}`
    return { problems: [at(here, { at: 'key', reason, fix: found.hint ?? 'see the reason' })], notes }
  } catch (error) {
    const fault = error as StartFault
    return {
      problems: [
        at(here, { at: 'key', reason: `the plugin of '${provider.name}' cannot start: ${fault.message}`, fix: fault.hint }),
      ],
      notes: [],
    }
  } finally {
    await rm(dataDir, { recursive: true, force: true })
  }
}
