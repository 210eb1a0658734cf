/** What must stand before a worker's first process: checked paths, locks of caches. Repeatable by anybody, like the launch itself. */
import { type Call, type LaunchSpec, ProviderError } from '@muster/core'
import type { Place } from './archive.ts'
import type { ContainerInspect } from './client.ts'
import { isStatus } from './errors.ts'
import { tagsOf } from './labels.ts'
import { checkLinks } from './links.ts'
import { settingsOf } from './settings.ts'
import { type Cache, cachesOf, partLabel } from './storage.ts'

/** What one provider remembers between launches. */
export interface Furnished {
  /** Paths that were looked at and are no links. */
  paths: Set<string>
}

export interface Furnishing {
  spec: LaunchSpec
  call: Call
  place: Place
}

export async function furnish(work: Furnishing, known: Furnished): Promise<void> {
  const { spec, place } = work
  for (const path of await checkLinks(spec, place, known.paths)) known.paths.add(path)
  for (const cache of cachesOf(spec, settingsOf(spec))) if (cache.lock === 'exclusive') await lock(work, cache)
}

/**
 * Takes a cache for this worker alone. An engine gives a container's name once: the lock is a container that never starts. It goes
 * with its worker, and is found by the worker's tags should that go otherwise.
 */
async function lock({ spec, place }: Furnishing, { volume, at, name: cache }: Cache): Promise<void> {
  const { engine, signal } = place
  const name = volume.replace('muster-cache-', 'muster-lock-')
  const body = { Image: spec.image ?? '', Entrypoint: ['never-started'], Labels: { ...spec.tags, [partLabel.part]: 'lock' } }
  try {
    await engine.json({ method: 'POST', path: '/containers/create', query: { name }, body, signal })
  } catch (error) {
    if (!isStatus(error, 409)) throw error
    const holder = await engine.json<ContainerInspect>({ method: 'GET', path: `/containers/${name}/json`, signal })
    const worker = tagsOf(holder.Config.Labels)?.['muster-worker']
    if (worker === spec.id) return
    const message = `another worker has the cache ${cache}${worker === undefined ? '' : `: ${worker}`}`
    throw new ProviderError('capacity', message, { effect: 'none', path: at, cause: error })
  }
}
