/** What a worker finds mounted: tmpfs, volumes of its own, caches of its pool, and paths that the provider's operator allows. Pure. */
import { createHash } from 'node:crypto'
import { posix } from 'node:path'
import { type LaunchSpec, type Mount, namePattern, type OwnerTags } from '@muster/core'
import type { CreateBody } from '../client.ts'
import { type HostRules, isBelow } from '../rules.ts'
import { allowed } from './security.ts'
import { type CacheSettings, type DockerSettings, refuse } from '../settings.ts'
import { partLabel } from '../labels.ts'

type HostConfig = NonNullable<CreateBody['HostConfig']>

/** Refuses a mount that the engine cannot pass on, that would not be what it says, or that the operator has not allowed. */
export function checkMounts(spec: LaunchSpec, settings: DockerSettings, rules: HostRules): void {
  for (const [index, mount] of (spec.mounts ?? []).entries()) {
    const at = `mounts.${index}`
    const { target, source } = mount
    if (!target.startsWith('/')) throw refuse('invalid-spec', `${at}.target`, 'it is an absolute path')
    if (/[,:]/.test(target)) throw refuse('unsupported', `${at}.target`, 'a comma or colon cannot be passed on')
    if (source.kind === 'volume' && !namePattern.test(source.name))
      throw refuse('invalid-spec', `${at}.source.name`, 'a name has 1 to 40 of a-z, 0-9 and -')
    if (source.kind === 'bind') checkBind(at, { mount, path: source.path }, { settings, rules })
  }
  for (const [name, cache] of Object.entries(settings.volumes ?? {})) {
    const at = `settings.volumes.${name}`
    if (cache.bytes !== undefined)
      throw refuse('unsupported', `${at}.bytes`, "the engine's own volumes have no limit of their size")
    if (!(spec.mounts ?? []).some(({ source }) => source.kind === 'volume' && source.name === name))
      throw refuse('invalid-spec', at, 'no mount has a volume of this name')
    if (cache.shared !== true && (cache.lock ?? cache.maxAgeMs ?? cache.maxBytes) !== undefined)
      throw refuse('invalid-spec', at, 'a volume that is not shared ends with its worker: it needs no lock and no limit')
  }
}

function checkBind(
  at: string,
  { mount, path }: { mount: Mount; path: string },
  { settings, rules }: { settings: DockerSettings; rules: HostRules },
): void {
  const where = `${at}.source.path`
  if (path !== posix.normalize(path) || (path.endsWith('/') && path !== '/') || path.includes('\0'))
    throw refuse('invalid-spec', where, 'write the path without `.`, `..`, double and final slashes')
  if (rules.sockets.includes(path)) return allowed('engine-socket', where, settings)
  // Whoever has the folder has the socket in it.
  if (rules.sockets.some((socket) => isBelow(socket, path))) allowed('engine-socket', where, settings)
  const bind = rules.binds.find((candidate) => candidate.path === path)
  if (bind === undefined) throw refuse('unsupported', where, "the provider's config.binds does not name it")
  if (bind.writable !== true && mount.readOnly !== true)
    throw refuse('unsupported', `${at}.readOnly`, "the provider's config.binds allows it read-only")
}

/** The paths of the engine's machine that a spec mounts. */
export function bindsOf(spec: LaunchSpec): { path: string; at: string }[] {
  return (spec.mounts ?? []).flatMap(({ source }, index) =>
    source.kind === 'bind' ? [{ path: source.path, at: `mounts.${index}.source.path` }] : [],
  )
}

/** A cache that a spec mounts. */
export interface Cache extends CacheSettings {
  name: string
  volume: string
  /** The path of its mount, for errors. */
  at: string
}

export function cachesOf(spec: LaunchSpec, { volumes = {} }: DockerSettings): Cache[] {
  return (spec.mounts ?? []).flatMap(({ source }, index): Cache[] => {
    const settings = source.kind === 'volume' ? volumes[source.name] : undefined
    if (source.kind !== 'volume' || settings?.shared !== true) return []
    return [{ ...settings, name: source.name, volume: cacheName(spec.tags, source.name), at: `mounts.${index}` }]
  })
}

/** One name for all workers of a pool, and for nobody else. */
function cacheName(tags: OwnerTags, name: string): string {
  const of = [tags['muster-owner'], tags['muster-provider'], tags['muster-pool'], name]
  return `muster-cache-${createHash('sha256').update(of.join(' ')).digest('hex').slice(0, 24)}`
}

/** The engine's words for it. An engine makes a volume that is missing, with its labels, together with the container. */
export function mountsOf(spec: LaunchSpec, settings: DockerSettings): HostConfig {
  const mounts = spec.mounts ?? []
  const tmpfs = mounts.filter(({ source }) => source.kind === 'tmpfs')
  const others = mounts.flatMap((mount) => mountOf(mount, spec, settings))
  return {
    ...(tmpfs.length === 0 ? {} : { Tmpfs: Object.fromEntries(tmpfs.map(tmpfsOf)) }),
    ...(others.length === 0 ? {} : { Mounts: others }),
  } as HostConfig
}

function mountOf({ target, source, readOnly = false }: Mount, spec: LaunchSpec, settings: DockerSettings): object[] {
  if (source.kind === 'tmpfs') return []
  // Of what is mounted below later, on either side, the other hears nothing.
  if (source.kind === 'bind')
    return [{ Type: 'bind', Source: source.path, Target: target, ReadOnly: readOnly, BindOptions: { Propagation: 'rprivate' } }]
  const cache = cachesOf(spec, settings).find(({ name }) => name === source.name)
  const labels = cache === undefined ? { ...spec.tags, [partLabel.part]: 'volume' } : cacheLabels(spec.tags, cache)
  const volume = cache?.volume ?? `muster-${spec.id}-${source.name}`
  return [{ Type: 'volume', Source: volume, Target: target, ReadOnly: readOnly, VolumeOptions: { Labels: labels } }]
}

function cacheLabels(tags: OwnerTags, { name, maxAgeMs, maxBytes }: Cache): Record<string, string> {
  return {
    'muster-owner': tags['muster-owner'],
    'muster-provider': tags['muster-provider'],
    'muster-pool': tags['muster-pool'],
    [partLabel.cache]: name,
    ...(maxAgeMs === undefined ? {} : { [partLabel.maxAge]: String(maxAgeMs) }),
    ...(maxBytes === undefined ? {} : { [partLabel.maxBytes]: String(maxBytes) }),
  }
}

/** An engine's default is `noexec`; a build that runs what it has made needs the opposite. */
function tmpfsOf({ target, source, readOnly }: Mount): [string, string] {
  const size = source.kind === 'tmpfs' && source.bytes !== undefined ? `,size=${source.bytes}` : ''
  return [target, `${readOnly === true ? 'ro' : 'rw'},exec,nosuid,nodev,mode=1777${size}`]
}

/** A volume as the engine shows it. */
export interface VolumeRow {
  Name: string
  CreatedAt?: string
  Labels: Record<string, string> | null
  UsageData?: { Size: number } | null
}

/** The caches that are older or larger than their own labels allow. */
export function staleCaches(volumes: readonly VolumeRow[], now: number): string[] {
  return volumes
    .filter(({ CreatedAt, Labels, UsageData }) => {
      const [age, bytes] = [Labels?.[partLabel.maxAge], Labels?.[partLabel.maxBytes]]
      const old = age !== undefined && CreatedAt !== undefined && now - Date.parse(CreatedAt) > Number(age)
      return old || (bytes !== undefined && (UsageData?.Size ?? 0) > Number(bytes))
    })
    .map(({ Name }) => Name)
}
