/** `muster plugins gc`: unpacked plugins that nobody needs any more are removed. */
import { dirname } from 'node:path'
import { collectContent } from '../../plugins/collect.ts'
import { lockedFolders } from '../../plugins/lock.ts'
import { keptContents } from '../../store/kept.ts'
import { exits, print, printJson, say } from '../io.ts'
import type { Site } from './site.ts'

/**
 * What the lock holds and what live workers belong to is needed. What a daemon runs besides, as a version that was locked over and is not
 * applied yet, it marks as used each hour, and that alone keeps it.
 */
export async function collect(site: Site, { keepMs, dryRun = false }: { keepMs: number; dryRun?: boolean }): Promise<string[]> {
  const [store] = site.stores
  const needed = [...(await lockedFolders(site.registryFile)), ...keptContents(dirname(store))]
  return collectContent({ store, needed, keepMs, now: Date.now(), dryRun })
}

export async function collectPlugins(site: Site, { dryRun, json }: { dryRun?: true; json?: true }): Promise<number> {
  // Asked for by hand: only the time counts in which something may be somebody else's.
  const removed = await collect(site, { keepMs: 0, dryRun: dryRun === true })
  if (json === true) printJson({ store: site.stores[0], removed, dryRun: dryRun === true })
  else {
    for (const name of removed) print(name)
    say(`${dryRun === true ? 'would remove' : 'removed'} ${removed.length} of what lies in ${site.stores[0]}`)
  }
  return exits.ok
}

/** After the lock has changed, as the retention of the configuration has it. What fails here fails nothing. */
export async function collectAfter(site: Site): Promise<void> {
  try {
    await collect(site, { keepMs: site.unpackedMs })
  } catch (error) {
    say(`what is unpacked was not looked through: ${(error as Error).message}`)
  }
}
