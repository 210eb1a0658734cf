/** What a lock must go on to hold: versions of plugins that are kept for live workers are opened by it after the next start. */
import { dirname } from 'node:path'
import type { Lock } from '../../plugins/lock.ts'
import { PluginRefusal } from '../../plugins/refusal.ts'
import { type KeptHere, keptHere } from '../../store/kept.ts'
import type { Site } from './site.ts'

/** Most names that one line tells. */
const TOLD = 10

/** `taken`: an alias of which a running daemon has a say itself. Error: PluginRefusal `still-needed`. */
export function demandKept(site: Site, next: Lock, taken?: string): void {
  for (const row of keptHere(dirname(site.stores[0])))
    for (const alias of aliasesOf(row, site))
      if (alias !== taken && holds(site.lock.lock, alias, row) && !holds(next, alias, row)) throw refusal(alias, row)
}

/** Where no configuration says which plugin a provider uses, it may be any. */
function aliasesOf({ provider }: KeptHere, { lock: { lock }, providers }: Site): string[] {
  const used = Object.keys(providers).filter((alias) => providers[alias]?.includes(provider))
  return used.length > 0 ? used : Object.keys(lock.plugins)
}

function holds({ plugins }: Lock, alias: string, { version, tree }: KeptHere): boolean {
  const locked = Object.hasOwn(plugins, alias) ? plugins[alias] : undefined
  return [locked, locked?.previous].some((one) => one?.version === version && one.tree === tree)
}

function refusal(alias: string, { provider, version, workers }: KeptHere): PluginRefusal {
  const more = workers.length > TOLD ? ` and ${workers.length - TOLD} more` : ''
  const names = workers.length === 0 ? '' : `: ${workers.slice(0, TOLD).join(', ')}${more}`
  return new PluginRefusal(
    'still-needed',
    `version ${version} of '${alias}' is kept for workers of ${provider}, and the lock would hold it no longer${names}`,
    `run: muster workers --provider ${provider}, and wait for the end of these workers, or end them`,
  )
}
