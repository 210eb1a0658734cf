/** The command that starts a plugin, with its manifest's permissions as flags of Node's permission model. */
import { realpathSync } from 'node:fs'
import type { PluginManifest, PluginPermissions } from '@muster/core'
import { interpreterPath } from './interpreter.ts'

export interface PluginPlace {
  /** Absolute path of the entry. */
  main: string
  /** Where its code lies; `*`: anywhere. */
  code: readonly string[]
  /** Its working folder. */
  cwd: string
}

/** Would the model of Node only take away calls that it cannot judge, as fchmod, and hold nothing back? */
export function holdsNothing({ childProcess, fsWrite }: PluginPermissions): boolean {
  return childProcess && fsWrite.includes('/')
}

/**
 * Of Node, with what the manifest asks for where it is confined; or of what runs another language, where Node has nothing to say. Error: that is
 * not there.
 */
export function commandOf(manifest: PluginManifest, place: PluginPlace & { confined: boolean }): string[] {
  const { main, code, cwd, confined } = place
  const entry = real(main)
  if (manifest.interpreter !== undefined) return [interpreterPath(manifest.interpreter), entry]
  const always = [...closedToOthers, `--max-old-space-size=${manifest.limits.heapMb}`]
  if (!confined) return [process.execPath, ...always, entry]
  // Node looks at each folder on the way to its program, and may not where one is a link. What the plugin is told of its folder stays as it is.
  const places = { code: code.map(real), own: [...new Set([cwd, real(cwd)])] }
  return [process.execPath, ...always, ...confinement(manifest.permissions, places), entry]
}

/** By SIGUSR1 any process of the same user, as another plugin, would open the inspector and run what it likes in here. */
export const closedToOthers: readonly string[] = ['--disable-sigusr1']

/** A path without links; itself where there is nothing. */
function real(path: string): string {
  try {
    return realpathSync(path)
  } catch {
    return path
  }
}

interface Places {
  code: readonly string[]
  /** The provider's own folder, to read and to write. */
  own: readonly string[]
}

/**
 * Flags of Node. Enforced by them: files, child processes, worker threads, addons, the inspector, and the network as a whole. Hosts, ports and
 * paths of sockets are advisory: the model knows no more of the network than yes or no.
 */
function confinement({ net, unix, fsRead, fsWrite, childProcess }: PluginPermissions, { code, own }: Places): string[] {
  const read = [...code, ...own, ...fsRead, ...fsWrite]
  const write = [...own, ...fsWrite]
  return [
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
