/** The versions of plugins that a daemon before this one has kept: opened again, by the lock, which must still hold just them. */
import type { KeptPlugin as KeptRow } from './engine/upgrade-api.ts'
import { previousOf } from './examine.ts'
import type { MusterConfig } from './config/load.ts'
import type { Discovery, Stores } from './plugins/discover.ts'
import type { KeptPlugin } from './plugins/kept.ts'
import type { Target } from './plugins/target.ts'

export interface KeptDeps {
  config: MusterConfig
  /** What runs. */
  discovery: Discovery
  /** What the lock holds. */
  locked: Discovery
  stores: Stores
  /** What runs besides, of providers that the configuration names no longer. */
  left: readonly Target[]
}

/** What runs by itself again is not among them. Never rejects because of one that cannot be opened: nobody else has its workers. */
export async function openKept(
  rows: Iterable<KeptRow>,
  { config, discovery, locked, stores, left }: KeptDeps,
): Promise<KeptPlugin[]> {
  const found = [...rows].map(async ({ provider, version, tree }): Promise<KeptPlugin[]> => {
    const gone = left.find((one) => one.provider.name === provider)
    const alias = (gone?.provider ?? config.providers.find((one) => one.name === provider))?.alias
    const running = gone?.plugin ?? discovery.plugins.find((one) => one.alias === alias)
    if (alias === undefined || running === undefined || running.manifest.version === version) return []
    const opened = await previousOf(alias, { config, stores })
    if ('refused' in opened) return [{ provider, version, found: opened }]
    if (opened.plugin.manifest.version === version && opened.plugin.tree === tree) return [{ provider, version, found: opened }]
    // After a fall back it is the one that the lock holds.
    const held = locked.plugins.find((one) => one.alias === alias)
    if (held?.manifest.version === version && held.tree === tree) return [{ provider, version, found: { plugin: held } }]
    const reason = `the lock no longer holds version ${version} with the files that it had; the one before is ${opened.plugin.manifest.version}`
    return [
      { provider, version, found: { refused: { reason, hint: `lock it again as the one before '${alias}', and restart` } } },
    ]
  })
  return (await Promise.all(found)).flat()
}
