/** The version of a plugin that the lock holds as the one before: opened and checked as any, though no range names it. */
import { type Problem, reasonOf } from '../config/problem.ts'
import type { DiscoverOptions } from './discover.ts'
import { type DiscoveredPlugin, openPackage } from './package.ts'
import { demandHeap } from './accepted.ts'
import { openLocked } from './fetch.ts'
import { demandLevel } from './isolation.ts'
import type { Refused } from './kept.ts'
import { loadLock, lockFileOf } from './lock.ts'
import { PluginRefusal } from './refusal.ts'
import { loadRegistry } from './registry.ts'
import { keepsTrust, ofBefore } from './trust.ts'

export type Previous = { plugin: DiscoveredPlugin; currentTree: string } | { refused: Refused }

export async function discoverPrevious(
  file: string,
  alias: string,
  { stores, shown, network, ground, maxHeapMb }: DiscoverOptions,
): Promise<Previous> {
  const registry = await loadRegistry(file, shown)
  const { lock, problems } = await loadLock(lockFileOf(file), lockFileOf(shown))
  const entry = registry.entries.find((one) => one.alias === alias)
  const locked = Object.hasOwn(lock.plugins, alias) ? lock.plugins[alias] : undefined
  const first = [...registry.problems, ...problems][0]
  if (first !== undefined) return refusedBy(first)
  if (entry === undefined || locked?.previous === undefined)
    return {
      refused: {
        reason: `the lock holds no version before that of '${alias}'`,
        hint: 'lock it again, and restart',
      },
    }
  const { previous } = locked
  const before = { package: locked.package, source: locked.source, ...previous }
  try {
    keepsTrust(before, registry.trust, ofBefore)
    const root = await openLocked(before, { stores, registry, ...(network === undefined ? {} : { network }) })
    const named = { ...entry, version: previous.version }
    const { plugin, problems: found } = await openPackage(named, {
      ...{ root, registry, locked: previous },
      ...(ground === undefined ? {} : { ground }),
    })
    if (plugin === undefined) return refusedBy(found[0])
    demandLevel(named, plugin.isolation)
    demandHeap(named, plugin.manifest, maxHeapMb)
    return { plugin, currentTree: locked.tree }
  } catch (error) {
    if (!(error instanceof PluginRefusal)) throw error
    return { refused: { reason: `${error.code}: ${error.message}`, hint: error.fix } }
  }
}

function refusedBy(problem: Problem | undefined): Previous {
  return {
    refused: {
      reason: problem === undefined ? 'it cannot be opened' : reasonOf(problem),
      hint: problem?.fix ?? 'see muster plugins verify',
    },
  }
}
