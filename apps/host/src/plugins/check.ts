/** Providers started once, to see whether they would run: by `muster check`, and before they take over from others. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { LoadedConfig, MusterConfig, ProviderConfig } from '../config/load.ts'
import { reachesOut } from '../config/network.ts'
import type { Problem } from '../config/problem.ts'
import type { Discovery } from './discover.ts'
import type { DiscoveredPlugin } from './package.ts'
import { defaultUsers } from './ground.ts'
import { probeOnce } from './health.ts'
import type { PluginProcess } from './process.ts'
import { createRedactor } from './redactor.ts'
import { secretReader } from './secrets.ts'
import { type StartFault, type StartOptions, startSession } from './session.ts'
import { retire } from './retire.ts'
import type { Target } from './target.ts'
import { openUsers, type PluginUsers } from './users.ts'

/** All providers of a configuration whose plugins are there. */
export function targetsOf({ config, discovery }: { config: MusterConfig; discovery: Discovery }): Target[] {
  return config.providers.flatMap((provider) => {
    const plugin = discovery.plugins.find((one) => one.alias === provider.alias)
    if (plugin?.manifest.kind !== 'worker-provider') return []
    return [targetOf(provider, { plugin, config })]
  })
}

/** It as this version of its plugin, which has the network only where it asks for it. */
export function targetOf(
  provider: ProviderConfig,
  { plugin, config }: { plugin: DiscoveredPlugin; config: MusterConfig },
): Target {
  const network = reachesOut(plugin.manifest) ? config.network : undefined
  return { plugin, provider, ...(network === undefined ? {} : { network }) }
}

export function usersOf({ data, isolation: { users } }: Pick<MusterConfig, 'data' | 'isolation'>): PluginUsers {
  return openUsers({ range: users === 'off' ? defaultUsers : users, data })
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
  const targets = targetsOf({ config, discovery }).filter(({ provider }) => !refused.includes(provider.name))
  const users = usersOf(config)
  const checks = await Promise.all(targets.map((target) => checkOne(target, { at, users })))
  return { problems: checks.flatMap((one) => one.problems), notes: checks.flatMap((one) => one.notes) }
}

async function checkOne(
  target: Target,
  { at, users }: { at: LoadedConfig['problem']; users: PluginUsers },
): Promise<PluginCheck> {
  const { name } = target.provider
  const dataDir = await mkdtemp(join(tmpdir(), 'muster-check-'))
  const session = { ...target, owner: 'check', users, dataDir, redactor: createRedactor(), onLine: () => undefined, epoch: 0 }
  try {
    const { child, fault, notes } = await startProbed(session)
    if (child !== undefined) await retire(child, target.plugin.manifest.limits.retireMs)
    return {
      problems: fault === undefined ? [] : [faultProblem(name, { ...fault, at })],
      notes: notes.map((text) => ({ provider: name, text })),
    }
  } finally {
    await rm(dataDir, { recursive: true, force: true })
  }
}

export interface Probed {
  /** Absent when it could not be started. */
  child?: PluginProcess
  fault?: { reason: string; fix: string }
  notes: string[]
}

/** A configured process that has been probed once. */
export async function startProbed(options: StartOptions & { epoch: number }): Promise<Probed> {
  const { redactor, epoch } = options
  let child: PluginProcess
  try {
    child = await startSession(options)
  } catch (error) {
    const { message, hint } = error as StartFault
    return { fault: { reason: `cannot start: ${message}`, fix: hint }, notes: [] }
  }
  const found = await probeOnce(child, { epoch, secret: secretReader(options.provider.secrets), redactor })
  const notes = found.notes ?? []
  if (found.state !== 'failed') return { child, notes }
  const reason = `is not usable: ${redactor.clean(found.message ?? 'its probe failed')}`
  return { child, fault: { reason, fix: found.hint ?? 'see the reason' }, notes }
}

/** As a problem of the section of its provider. */
export function faultProblem(
  name: string,
  { reason, fix, at }: { reason: string; fix: string; at: LoadedConfig['problem'] },
): Problem {
  const subject = reason.startsWith('cannot start') ? `the plugin of '${name}'` : `provider '${name}'`
  return at(['providers', name], { at: 'key', reason: `${subject} ${reason}`, fix })
}
