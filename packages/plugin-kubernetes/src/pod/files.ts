/**
 * Files of a spec, in their places before the worker begins. Their contents are a Secret that goes with the Pod; a container of the worker's own
 * image and user copies them, so that owners and modes are right. Pure.
 */
import { posix } from 'node:path'
import { type FileSpec, type LaunchSpec, ProviderError } from '@muster/core'
import { literal, pullPolicyOf } from './containers.ts'
import { labelsOf } from '../labels.ts'
import type { Container, Pod, SecretManifest, Volume } from '../objects.ts'
import { securityOf } from './security.ts'
import { type KubernetesSettings, refuse } from '../settings.ts'
import { type Folders, stateRoot, workdirOf } from './volumes.ts'
import { ownerOf } from '../workers.ts'

/** Programs of `settings.init` are called `i-NAME`, services `s-NAME`. */
export const filesContainer = 'files'

const SOURCE = 'muster-files'
const PLACED = 'muster-placed'
/** Where the container that copies them has both; a worker sees neither. */
const sourceRoot = '/.muster-files'
const placedRoot = '/.muster-placed'

/** Of the contract, where a spec says none. */
const MODE = 0o600

/** The API server takes no larger Secret. */
const MOST_BYTES = 1024 * 1024

interface Placed {
  key: string
  path: string
  mode: number
  /** Is it in none of the worker's folders? Then it is mounted by itself, over what the image has there. */
  alone: boolean
}

/** From MODE, KEY and PATH, as often as wanted. Folders get the rights that any program gives a new one. */
const COPY = `set -e
while [ $# -gt 0 ]; do
  umask 022
  mkdir -p -- "\${3%/*}/"
  umask 077
  cat "${sourceRoot}/$2" >"$3"
  chmod "$1" "$3"
  shift 3
done`

/** Refuses files that no Pod can have there. */
export function checkFiles(spec: LaunchSpec): void {
  const { files = [], mounts = [] } = spec
  const paths = files.map((file) => pathOf(spec, file))
  const seen = new Set<string>([...mounts.map(({ target }) => posix.resolve('/', target)), '/', workdirOf(spec), '/tmp'])
  let bytes = 0
  for (const [index, file] of files.entries()) {
    const at = `files.${index}.path`
    const path = paths[index] ?? ''
    if (
      file.path.endsWith('/') ||
      path.includes(':') ||
      /[\0\n]/.test(path) ||
      isBelow(path, [stateRoot, sourceRoot, placedRoot])
    )
      throw refuse('invalid-spec', at, 'no file can be there')
    if (seen.has(path)) throw refuse('invalid-spec', at, 'something else is there')
    const above = paths.find((other) => other !== path && isBelow(path, [other]))
    if (above !== undefined) throw refuse('invalid-spec', at, `${above} is a file`)
    seen.add(path)
    const mount = mounts.find(({ target, readOnly }) => readOnly === true && isBelow(path, [posix.resolve('/', target)]))
    if (mount !== undefined) throw refuse('unsupported', 'files', `${file.path} is in the read-only mount at ${mount.target}`)
    bytes += Math.ceil(file.base64.length / 4) * 3
  }
  if (bytes > MOST_BYTES) throw refuse('invalid-spec', 'files', `together they are more than ${MOST_BYTES} bytes`)
}

/** What the Pod has for them: nothing without files. */
export function filesOf(
  spec: LaunchSpec,
  settings: KubernetesSettings,
  { mounts }: Folders,
): { containers: Container[]; volumes: Volume[]; mounts: Folders['mounts'] } {
  const placed = placedOf(spec, mounts)
  if (placed.length === 0) return { containers: [], volumes: [], mounts: [] }
  const words = placed.flatMap(({ key, path, mode, alone }) => [mode.toString(8), key, alone ? `${placedRoot}/${key}` : path])
  const container: Container = {
    name: filesContainer,
    image: spec.image ?? '',
    imagePullPolicy: pullPolicyOf(settings),
    command: ['/bin/sh', '-c', COPY, 'sh', ...words].map(literal),
    securityContext: securityOf(spec, settings),
    volumeMounts: [...mounts, { name: SOURCE, mountPath: sourceRoot, readOnly: true }, { name: PLACED, mountPath: placedRoot }],
  }
  return {
    containers: [container],
    volumes: [
      // Whoever the worker's user is, he reads them; nobody else is in that container.
      { name: SOURCE, secret: { secretName: spec.id, defaultMode: 0o444 } },
      { name: PLACED, emptyDir: {} },
    ],
    mounts: placed.filter(({ alone }) => alone).map(({ key, path }) => ({ name: PLACED, mountPath: path, subPath: key })),
  }
}

/** The Secret that the Pod waits for, and that goes with the worker. Undefined: it has no files. */
export function secretOf(spec: LaunchSpec, worker: Pod): SecretManifest | undefined {
  const { files = [], id } = spec
  const { namespace, uid } = worker.metadata
  if (files.length === 0) return undefined
  if (uid === undefined || namespace === undefined) throw new ProviderError('internal', 'a Pod of the cluster has no uid')
  return {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: {
      name: id,
      namespace,
      labels: labelsOf(spec),
      ownerReferences: [ownerOf(worker)],
    },
    immutable: true,
    data: Object.fromEntries(files.map(({ base64 }, index) => [keyOf(index), base64])),
  }
}

const keyOf = (index: number): string => `f${index}`

function placedOf(spec: LaunchSpec, mounts: Folders['mounts']): Placed[] {
  const folders = mounts.map(({ mountPath }) => posix.resolve('/', mountPath))
  return (spec.files ?? []).map((file, index) => {
    const path = pathOf(spec, file)
    return { key: keyOf(index), path, mode: file.mode ?? MODE, alone: !isBelow(path, folders) }
  })
}

const pathOf = (spec: LaunchSpec, { path }: FileSpec): string => posix.resolve(workdirOf(spec), path)

const isBelow = (path: string, folders: readonly string[]): boolean =>
  folders.some((folder) => folder !== '/' && (path === folder || path.startsWith(`${folder}/`)))
