/** What a plugin process may do: its manifest's permissions as flags of Node's permission model. Pure. */
import type { PluginManifest } from '@muster/core'
import type { IsolationLevel } from './isolation.ts'

export interface Places {
  /** Where its code lies; `*`: anywhere. */
  code: readonly string[]
  /** The provider's own folder, to read and to write. */
  own: readonly string[]
}

/**
 * Flags of Node. Enforced by them: files, child processes, worker threads, addons, the inspector, and the network as a whole. Hosts, ports and
 * paths of sockets are advisory: the model knows no more of the network than yes or no.
 */
export function confinement(
  { permissions, limits }: Pick<PluginManifest, 'permissions' | 'limits'>,
  { level, code, own }: Places & { level: IsolationLevel },
): string[] {
  const heap = `--max-old-space-size=${limits.heapMb}`
  if (level === 'L1') return [heap]
  const { net, unix, fsRead, fsWrite, childProcess } = permissions
  const read = [...code, ...own, ...fsRead, ...fsWrite]
  const write = [...own, ...fsWrite]
  return [
    heap,
    '--permission',
    // It opens files that the model does not see.
    '--no-experimental-sqlite',
    ...read.map((path) => `--allow-fs-read=${wide(path)}`),
    ...write.map((path) => `--allow-fs-write=${wide(path)}`),
    ...(net.length + unix.length > 0 ? ['--allow-net'] : []),
    ...(childProcess ? ['--allow-child-process'] : []),
    // It says of itself that a flag is young.
    '--disable-warning=ExperimentalWarning',
  ]
}

function wide(path: string): string {
  return path === '/' ? '*' : path
}
