/** Folders of a worker that are not its image's: what it may write under a read-only root, and the mounts of its spec. Pure. */
import { posix } from 'node:path'
import type { LaunchSpec, Mount } from '@muster/core'
import type { Container, Volume } from '../objects.ts'
import { type KubernetesSettings, refuse, type VolumeSettings } from '../settings.ts'

/** Where a holding worker keeps what is needed between commands. */
export const stateRoot = '/.muster'

/** Where a worker works when nothing else is said. */
const WORKSPACE = '/workspace'

/** Names of our own volumes begin so; those of a spec with `v-`. */
const own = 'muster-'

type VolumeMount = NonNullable<Container['volumeMounts']>[number]

export interface Folders {
  volumes: Volume[]
  mounts: VolumeMount[]
}

export function workdirOf({ workdir = WORKSPACE }: Pick<LaunchSpec, 'workdir'>): string {
  return posix.resolve('/', workdir)
}

/** Refuses mounts that no Pod can have. */
export function checkMounts(spec: LaunchSpec, settings: KubernetesSettings): void {
  const { volumes = {} } = settings
  const targets = new Set<string>([stateRoot])
  for (const [index, { target, source }] of (spec.mounts ?? []).entries()) {
    const at = `mounts.${index}`
    const path = pathOf(target)
    if (!path.startsWith('/') || path.includes(':')) throw refuse('invalid-spec', `${at}.target`, 'it is no absolute path')
    if (targets.has(path)) throw refuse('invalid-spec', `${at}.target`, 'something else is mounted there')
    targets.add(path)
    if (source.kind === 'volume' && !/^[a-z0-9-]{1,40}$/.test(source.name))
      throw refuse('invalid-spec', `${at}.source.name`, 'a volume’s name has letters, digits and hyphens')
  }
  for (const [name, { claim, sizeBytes, storageClass, accessMode }] of Object.entries(volumes)) {
    const at = `settings.volumes.${name}`
    if (claim !== undefined && (sizeBytes ?? storageClass ?? accessMode) !== undefined)
      throw refuse('invalid-spec', `${at}.claim`, 'a claim that is there has its size and class already')
    if (sizeBytes === undefined && (storageClass ?? accessMode) !== undefined)
      throw refuse('invalid-spec', `${at}.sizeBytes`, 'a claim of its own has a size')
  }
  checkTokens(spec, settings)
}

function checkTokens(spec: LaunchSpec, settings: KubernetesSettings): void {
  const { tokens = [], serviceAccount } = settings
  if (tokens.length > 0 && serviceAccount === undefined)
    throw refuse('invalid-spec', 'settings.serviceAccount', "whose tokens? A namespace's own account is nobody's in particular")
  const folders = new Set(ownFolders(spec, settings).map(([, path]) => path))
  for (const { target } of spec.mounts ?? []) folders.add(pathOf(target))
  const files = new Set<string>()
  for (const [index, { path }] of tokens.entries()) {
    const at = `settings.tokens.${index}.path`
    const file = posix.normalize(path)
    const folder = posix.dirname(file)
    if (file.endsWith('/') || folder === '/') throw refuse('invalid-spec', at, 'it is a file in a folder of its own')
    if (folders.has(folder)) throw refuse('invalid-spec', at, 'something else is mounted at its folder')
    if (files.has(file)) throw refuse('invalid-spec', at, 'another token is there')
    files.add(file)
  }
}

const pathOf = (target: string): string => posix.normalize(target).replace(/\/+$/, '')

/** Folders that a worker has in any case, by the names of their volumes, unless it mounts something else there. */
function ownFolders(spec: LaunchSpec, { workspace = 'empty' }: KubernetesSettings): [string, string][] {
  const workdir = workdirOf(spec)
  const folders: [string, string][] = [['state', stateRoot]]
  if (spec.security?.readOnlyRoot !== false) folders.push(['tmp', '/tmp'])
  // At the root itself nothing can be mounted.
  if (workspace !== 'image' && workdir !== '/' && workdir !== '/tmp') folders.push(['workspace', workdir])
  return folders
}

/** All volumes of a Pod, and where its worker has them. */
export function foldersOf(spec: LaunchSpec, settings: KubernetesSettings): Folders {
  const { tokens = [] } = settings
  const mounts = spec.mounts ?? []
  const taken = new Set(mounts.map(({ target }) => pathOf(target)))
  const parts = ownFolders(spec, settings)
    .filter(([, path]) => !taken.has(path))
    .map(([name, mountPath]) => ({ volume: { name: own + name, emptyDir: {} }, mount: { name: own + name, mountPath } }))
  return join([...parts, ...mountedOf(mounts, settings), ...tokenParts(tokens)])
}

interface Part {
  volume: Volume
  mount: VolumeMount
}

/** One volume may be mounted in several places. */
function join(parts: readonly Part[]): Folders {
  const volumes = new Map(parts.map(({ volume }) => [volume.name, volume]))
  return { volumes: [...volumes.values()], mounts: parts.map(({ mount }) => mount) }
}

function mountedOf(mounts: readonly Mount[], { volumes = {} }: KubernetesSettings): Part[] {
  return mounts.flatMap(({ target, source, readOnly }, index): Part[] => {
    const settings = source.kind === 'volume' ? volumes[source.name] : undefined
    const place = {
      mountPath: posix.normalize(target),
      ...(readOnly === true ? { readOnly } : {}),
      ...(settings?.subPath === undefined ? {} : { subPath: settings.subPath }),
    }
    if (source.kind === 'bind') return []
    if (source.kind === 'tmpfs') {
      const name = `${own}tmpfs-${index}`
      const size = source.bytes === undefined ? {} : { sizeLimit: String(source.bytes) }
      return [{ volume: { name, emptyDir: { medium: 'Memory', ...size } }, mount: { name, ...place } }]
    }
    const name = volumeName(source.name)
    return [{ volume: { name, ...sourceOf(settings) }, mount: { name, ...place } }]
  })
}

/** A name of ours may begin and end with a hyphen, a volume's may not. */
function volumeName(name: string): string {
  return `v-${name}-v`
}

function sourceOf({ claim, sizeBytes, storageClass, accessMode = 'ReadWriteOnce' }: VolumeSettings = {}): Record<
  string,
  unknown
> {
  if (claim !== undefined) return { persistentVolumeClaim: { claimName: claim } }
  if (sizeBytes === undefined) return { emptyDir: {} }
  // A generic ephemeral volume: its claim is made with the Pod and goes with it.
  const spec = {
    accessModes: [accessMode],
    resources: { requests: { storage: String(sizeBytes) } },
    ...(storageClass === undefined ? {} : { storageClassName: storageClass }),
  }
  return { ephemeral: { volumeClaimTemplate: { spec } } }
}

/** Tokens of one folder are one volume. */
function tokenParts(tokens: NonNullable<KubernetesSettings['tokens']>): Part[] {
  const byFolder = Map.groupBy(tokens, ({ path }) => posix.dirname(posix.normalize(path)))
  return [...byFolder].map(([mountPath, inFolder], index) => {
    const name = `${own}token-${index}`
    const sources = inFolder.map(({ path, audience, expirySeconds }) => ({
      serviceAccountToken: {
        path: posix.basename(path),
        audience,
        ...(expirySeconds === undefined ? {} : { expirationSeconds: expirySeconds }),
      },
    }))
    return { volume: { name, projected: { sources } }, mount: { name, mountPath, readOnly: true } }
  })
}
