/** The origin that a source of the registry manifest means. */
import type { NetworkSettings } from '../config/network.ts'
import { mirrorOrigin } from './mirror.ts'
import { type Origin, tarballOrigin } from './origin.ts'
import { pathOf, type LoadedRegistry, type PluginSource } from './registry.ts'

export interface OriginDeps {
  registry: Pick<LoadedRegistry, 'registries' | 'base' | 'mirror'>
  network?: NetworkSettings
}

export async function openOrigin(source: PluginSource, { registry, network }: OriginDeps): Promise<Origin> {
  const path = pathOf(source, registry.base)
  if ('tarball' in source) return tarballOrigin(path ?? '')
  if ('mirror' in source) return mirrorOrigin(path ?? '')
  if ('folder' in source) throw new Error('a folder is used where it is')
  const { npmOrigin } = await import('./npm.ts')
  return npmOrigin(registry.registries[source.registry] ?? {}, network)
}
