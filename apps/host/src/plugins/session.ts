/** From a discovered plugin to a configured process, or a clear reason why not. */
import { mkdir } from 'node:fs/promises'
import { isDeepStrictEqual } from 'node:util'
import { type CloseReason, type PluginManifest, type PluginNetwork, proxySecrets, toProviderError } from '@muster/core'
import type { ProviderConfig } from '../config/load.ts'
import { type NetworkFault, type NetworkSettings, readNetwork } from '../config/network.ts'
import { type Cage, cageLimits, openCage } from './cage.ts'
import { isVendors } from './blame.ts'
import { unpackAnew, verifyTree } from './content.ts'
import type { DiscoveredPlugin } from './package.ts'
import { type PluginProcess, spawnPlugin } from './process.ts'
import type { Redactor } from './redactor.ts'
import { PluginRefusal } from './refusal.ts'
import { tellingLine } from './telling.ts'
import type { PluginUsers } from './users.ts'
import { wayOfMisdescribed } from './way-out.ts'

/** A start that cannot succeed by being tried again with the same files and configuration. */
export class StartFault extends Error {
  override readonly name = 'StartFault'
  readonly hint: string
  /** What the plugin did last; empty when it never ran. */
  readonly tail: string[]
  readonly final: boolean
  /** It is the plugin's own: it crashed, lied or broke the protocol, and nothing says that the vendor made it. */
  readonly own: boolean
  constructor(
    message: string,
    { hint, tail, final, own = false }: { hint: string; tail: string[]; final: boolean; own?: boolean },
  ) {
    super(message)
    this.hint = hint
    this.tail = tail
    this.final = final
    this.own = own
  }
}

export interface StartOptions {
  plugin: DiscoveredPlugin
  provider: ProviderConfig
  network?: NetworkSettings
  owner: string
  users: PluginUsers
  /** The provider's own folder; made when absent. */
  dataDir: string
  redactor: Redactor
  onLine(line: string): void
}

/** spawn → describe (must equal the manifest) → configure. The process is dead when this rejects, always with a StartFault. */
export async function startSession(options: StartOptions): Promise<PluginProcess> {
  const { plugin, provider, owner, dataDir } = options
  const { manifest } = plugin
  await informed(options)
  await verified(plugin)
  const network = await networkOf(options)
  let child: PluginProcess
  let cage: Cage | undefined
  const left = options.users.entered(dataDir, plugin.isolation.ownUser ? 'its own' : 'the host')
  try {
    await mkdir(dataDir, { recursive: true, mode: 0o700 })
    const { main, root, tree, isolation } = plugin
    const { level, ownUser, ownNetwork } = isolation
    const user = ownUser ? await options.users.settle({ own: dataDir, root }) : undefined
    if (user === undefined) await options.users.unsettle(dataDir)
    // What is under development imports from anywhere.
    const code = tree === undefined ? ['*'] : [root]
    cage = ownUser ? await openCage(cageLimits(manifest)) : undefined
    const own = {
      level,
      ownNetwork,
      ...(user === undefined ? {} : { user }),
      ...(cage === undefined ? {} : { cage }),
      cwd: dataDir,
    }
    child = await spawnPlugin({ ...own, manifest, main, code, redactor: options.redactor, onLine: options.onLine })
    // A folder that has gone needs nobody.
    void child.exited.then(left).catch(() => undefined)
  } catch (error) {
    await Promise.allSettled([cage?.drop(), left()])
    throw new StartFault(`it cannot be started: ${(error as Error).message}`, { hint: 'see the reason', tail: [], final: false })
  }
  const endsAt = performance.now() + manifest.limits.startMs
  const life = (): { deadlineMs: number } => ({ deadlineMs: Math.max(1, endsAt - performance.now()) })
  let step = 'describe'
  try {
    const said = await child.connection.describe(life())
    const difference = firstDifference(manifest, said)
    if (difference !== undefined)
      throw new StartFault(`it describes itself otherwise than its manifest: '${difference}' differs`, {
        hint: wayOfMisdescribed(plugin.entry),
        tail: [],
        final: true,
        own: true,
      })
    step = 'configure'
    await child.connection.configure(
      { contract: plugin.contract, config: provider.config, context: { provider: provider.name, owner, dataDir, ...network } },
      life(),
    )
    return child
  } catch (error) {
    throw await startFault(error, { child, step })
  }
}

/** What its workers were given before this host started, a plugin may say as soon as it runs. */
async function informed({ redactor }: StartOptions): Promise<void> {
  try {
    await redactor.informed()
  } catch (error) {
    const hint = 'it is started again; what ails the store is a condition of its own'
    throw new StartFault(`what its workers were given cannot be read: ${(error as Error).message}`, {
      hint,
      tail: [],
      final: false,
    })
  }
}

/** What was hashed is what runs, at each start. */
async function verified({ root, tree }: DiscoveredPlugin): Promise<void> {
  if (tree === undefined) return
  try {
    await unpackAnew(root)
    await verifyTree(root, tree)
  } catch (error) {
    const { message, fix } = error as PluginRefusal
    throw new StartFault(error instanceof PluginRefusal ? `${error.code}: ${message}` : message, {
      hint: fix ?? 'see the reason',
      tail: [],
      final: false,
    })
  }
}

/** Known to the redactor before the plugin can say anything of it. */
async function networkOf({ network, redactor }: StartOptions): Promise<{ network?: PluginNetwork }> {
  if (network === undefined) return {}
  try {
    const found = await readNetwork(network)
    if (found.proxy !== undefined) for (const secret of proxySecrets(found.proxy)) redactor.learn(secret)
    return { network: found }
  } catch (error) {
    const { key, message, fix } = error as NetworkFault
    throw new StartFault(`host.network.${key}: ${message}`, { hint: fix, tail: [], final: false })
  }
}

async function startFault(error: unknown, { child, step }: { child: PluginProcess; step: string }): Promise<StartFault> {
  child.kill()
  const end = await child.exited
  const tail = child.tail()
  if (error instanceof StartFault)
    return new StartFault(error.message, { hint: error.hint, tail, final: error.final, own: error.own })
  const known = toProviderError(error)
  // The author refused the configuration: the same answer would come again.
  const refused = known.code === 'invalid-spec' || known.code === 'unsupported'
  const ended = await settled(child.connection.closed)
  const why =
    child.excess() ??
    (ended !== undefined && ended.kind !== 'closed' && end.signal !== 'SIGKILL'
      ? `it ended by itself (${describeEnd(end)})`
      : known.message)
  const last = tellingLine(tail)
  // While it configures it may wait for its vendor; to describe itself it needs nobody.
  const silent = known.code === 'deadline' && step === 'describe'
  const own = (known.code === 'internal' || silent) && !isVendors([known.message, ...tail])
  return new StartFault(`${step}: ${why}${last === undefined || refused ? '' : `; it said: ${last}`}`, {
    hint: known.hint ?? (refused ? 'correct the config of this provider' : 'see what it said; `muster check` starts it again'),
    tail,
    final: refused,
    own,
  })
}

function settled(closed: Promise<CloseReason>): Promise<CloseReason | undefined> {
  return Promise.race([closed, Promise.resolve(undefined)])
}

export function describeEnd({ code, signal }: { code: number | null; signal: string | null }): string {
  return signal === null ? `exit ${code ?? 'unknown'}` : signal
}

/** The first key in which two manifests differ; undefined when they are equal. */
export function firstDifference(manifest: PluginManifest, said: PluginManifest): string | undefined {
  const left = manifest as unknown as Record<string, unknown>
  const right = said as unknown as Record<string, unknown>
  const keys = new Set([...Object.keys(left), ...Object.keys(right)])
  for (const key of keys)
    if (!isDeepStrictEqual(left[key], right[key])) {
      const [a, b] = [left[key], right[key]]
      if (!isRecord(a) || !isRecord(b)) return key
      const inner = [...new Set([...Object.keys(a), ...Object.keys(b)])].find((name) => !isDeepStrictEqual(a[name], b[name]))
      return inner === undefined ? key : `${key}.${inner}`
    }
  return undefined
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
