/**
 * Providers that no configuration names any more and that have something left at their vendor, as they were configured last: every daemon
 * notes how those that it names are, and one that finds others with something left opens them again, for that alone.
 */
import { basename, join } from 'node:path'
import { z } from 'zod'
import type { ProviderConfig } from './config/load.ts'
import { devProblem, type Deployment } from './dev-parts.ts'
import { entriesOf, forgetEntry, noteEntries, type ProviderEntry } from './engine/entries.ts'
import { holdingProviders } from './engine/working.ts'
import { previousOf } from './examine.ts'
import { targetOf, targetsOf } from './plugins/check.ts'
import { demandHeap } from './plugins/accepted.ts'
import { unpackAnew, verifyTree } from './plugins/content.ts'
import type { Stores } from './plugins/discover.ts'
import { type DiscoveredPlugin, openPackage } from './plugins/package.ts'
import { openGround } from './plugins/ground.ts'
import { demandLevel } from './plugins/isolation.ts'
import type { Refused } from './plugins/kept.ts'
import { jsonOf } from './plugins/origin.ts'
import type { Signer } from './plugins/signer.ts'
import { PluginRefusal, type RefusalCode } from './plugins/refusal.ts'
import { isolationLevels, type PluginEntry } from './plugins/registry.ts'
import type { Target } from './plugins/target.ts'
import { keepsTrust } from './plugins/trust.ts'
import type { Sealer } from './store/seal.ts'
import type { Store } from './store/store.ts'

/** Keys that a later host adds are passed over. */
const noted: z.ZodType<Noted> = z.object({
  alias: z.string(),
  config: z.unknown(),
  secrets: z.record(z.string(), z.union([z.strictObject({ env: z.string() }), z.strictObject({ file: z.string() })])),
  url: z.string().exactOptional(),
  version: z.string(),
  root: z.string(),
  tree: z.string().exactOptional(),
  signer: z.object({ issuer: z.string(), repository: z.string(), workflow: z.string() }).exactOptional(),
  entry: z.object({
    alias: z.string(),
    package: z.string(),
    version: z.string(),
    source: z.union([
      z.object({ folder: z.string() }),
      z.object({ tarball: z.string() }),
      z.object({ mirror: z.string() }),
      z.object({ registry: z.string() }),
    ]),
    isolation: z.enum(isolationLevels).exactOptional(),
    fallBack: z.boolean().exactOptional(),
  }),
})

/** A provider and its plugin. Secrets by where they come from, never their values. */
interface Noted extends Omit<ProviderConfig, 'name'> {
  version: string
  /** Folder of the plugin's files. */
  root: string
  /** Digest of them; absent for a folder under development. */
  tree?: string
  /** Who signed them. */
  signer?: Signer
  entry: PluginEntry
}

const outer = z.object({ sealed: z.string() })

/** Of all providers that these files name. Sealed: whoever wrote a secret into a configuration does not find it in the store. */
export function entriesFor(found: Deployment, sealer: Sealer): ProviderEntry[] {
  return targetsOf(found).map(({ provider: { name, ...provider }, plugin: { root, tree, signer, entry, manifest } }) => {
    const note: Noted = {
      ...{ ...provider, version: manifest.version, root, entry },
      ...(tree === undefined ? {} : { tree }),
      // No more than a rule asks for.
      ...(signer === undefined
        ? {}
        : { signer: { issuer: signer.issuer, repository: signer.repository, workflow: signer.workflow } }),
    }
    const content = tree === undefined ? {} : { content: basename(root) }
    return { name, value: JSON.stringify({ ...content, sealed: sealer.seal(JSON.stringify(note), contextOf(name)) }) }
  })
}

const contextOf = (name: string): string => `provider:${name}`

/** What is not named any more. */
export interface Left {
  opened: Target[]
  /** Why the others that have something left cannot be opened. */
  unopened: Map<string, Refused>
  /** Names of those that have nothing left. */
  over: string[]
}

export interface LeftDeps extends Deployment {
  stores: Stores
  sealer: Sealer
  /** Names of providers with something left. */
  holding: ReadonlySet<string>
}

/** At a start: opens them, forgets those with nothing left, and notes how all that is named is configured, before anything is asked of it. */
export async function takeLeft(store: Store, deps: Omit<LeftDeps, 'holding'>): Promise<Left> {
  const left = await openLeft(await entriesOf(store), { ...deps, holding: await holdingProviders(store) })
  await store.write(async (tx) => {
    for (const name of left.over) await forgetEntry(tx, name)
    await noteEntries(tx, entriesFor(deps, deps.sealer))
  })
  return left
}

export async function openLeft(entries: readonly ProviderEntry[], deps: LeftDeps): Promise<Left> {
  const { config, holding } = deps
  const gone = entries.filter(({ name }) => !config.providers.some((one) => one.name === name))
  const left: Left = { opened: [], unopened: new Map(), over: [] }
  for (const entry of gone) {
    const found = holding.has(entry.name) ? await openOne(entry, deps) : undefined
    if (found === undefined) left.over.push(entry.name)
    else if ('refused' in found) left.unopened.set(entry.name, found.refused)
    else left.opened.push(found.target)
  }
  return left
}

async function openOne(given: ProviderEntry, deps: LeftDeps): Promise<{ target: Target } | { refused: Refused }> {
  const { name } = given
  const note = read(given, deps.sealer)
  if (note === undefined)
    return { refused: { reason: 'how it was configured cannot be read', hint: 'put back the key of the data folder' } }
  const { entry, root: _root, tree: _tree, signer: _signer, version, ...provider } = note
  const hint = `bring back ${entry.package}@${version} as '${entry.alias}' in the registry manifest and its lock`
  try {
    const plugin = await pluginOf(name, note, deps)
    if (plugin.manifest.kind !== 'worker-provider') return { refused: { reason: 'its plugin is another one now', hint } }
    return { target: targetOf({ ...provider, name }, { plugin, config: deps.config }) }
  } catch (error) {
    const code = error instanceof PluginRefusal ? `${error.code}: ` : ''
    const reason = `its plugin cannot be opened: ${code}${(error as Error).message}`
    // Of a rule that it does not keep any more: to bring it back is no way.
    if (error instanceof PluginRefusal && error.code === 'lock-stale')
      return { refused: { reason, hint: `look at its vendor by hand, then give it up: muster providers forget ${name}` } }
    return { refused: { reason, hint } }
  }
}

function read({ name, value }: ProviderEntry, sealer: Sealer): Noted | undefined {
  try {
    const { sealed } = outer.parse(jsonOf(value))
    return noted.parse(JSON.parse(sealer.open(sealed, contextOf(name))))
  } catch {
    return undefined
  }
}

/** From the files of the deployment where these still have it, else from where it was unpacked. Throws why not. */
async function pluginOf(name: string, note: Noted, { config, discovery, stores }: LeftDeps): Promise<DiscoveredPlugin> {
  const { entry, root, tree, signer, version } = note
  const isIt = (one: DiscoveredPlugin): boolean =>
    one.manifest.name === entry.package &&
    one.manifest.version === version &&
    one.tree === tree &&
    (tree !== undefined || one.root === root)
  const named = discovery.plugins.find(isIt)
  if (named !== undefined) return named
  if (tree !== undefined)
    keepsTrust({ package: entry.package, version, ...(signer === undefined ? {} : { signer }) }, discovery.trust ?? { rules: [] })
  const before = tree === undefined ? undefined : await previousOf(entry.alias, { config, stores })
  if (before !== undefined && 'plugin' in before && isIt(before.plugin)) return before.plugin
  // The data folder may have been moved since.
  const folder = tree === undefined ? root : join(stores[0], basename(root))
  if (tree !== undefined) {
    await unpackAnew(folder)
    await verifyTree(folder, tree)
  }
  const { plugin, problems } = await openPackage(entry, {
    root: folder,
    registry: { problem: devProblem(name) },
    ground: () => openGround({ data: config.data, users: config.isolation.users }),
    ...(tree === undefined ? {} : { locked: { version, tree, ...(signer === undefined ? {} : { signer }) } }),
  })
  if (plugin === undefined)
    throw new PluginRefusal(
      (problems[0]?.code ?? 'bad-package') as RefusalCode,
      problems[0]?.reason ?? 'it cannot be read',
      problems[0]?.fix ?? '',
    )
  demandLevel(entry, plugin.isolation)
  demandHeap(entry, plugin.manifest, config.isolation.maxHeapMb)
  return plugin
}
