/** A plugin process, started as a host starts it. */
import { join } from 'node:path'
import process from 'node:process'
import { processPlugin, type StartPlugin } from '@muster/core/testing'
import { closedToOthers, commandOf, holdsNothing } from '@muster/packed/command'
import type { AuthorFolder } from './author.ts'
import { PluginFault } from './finding.ts'

/** With the permissions of its manifest, in the folder that it is given. Error: PluginFault, when nothing can run it. */
export function startUnpacked({ folder, entry, manifest, manifestAt }: AuthorFolder): StartPlugin {
  const confined = !holdsNothing(manifest.permissions)
  const command = (cwd: string): string[] => commandOf(manifest, { main: join(folder, entry), code: [folder], cwd, confined })
  try {
    command(folder)
  } catch (error) {
    const place = manifestAt(['interpreter'])
    throw new PluginFault({ place, reason: (error as Error).message, fix: `install ${manifest.interpreter} there` })
  }
  return processPlugin(({ dataDir }) => command(dataDir), environment(manifest.permissions.env))
}

/**
 * With nothing refused, and what it uses written down in a folder by a recorder that is loaded first. Its environment is that of a host. Error:
 * PluginFault, when it cannot be looked into.
 */
export function startWatched({ folder, entry, manifest, manifestAt }: AuthorFolder, recorder: URL): StartPlugin {
  const { permissions, limits, interpreter } = manifest
  if (interpreter !== undefined)
    throw new PluginFault({
      place: manifestAt(['interpreter']),
      reason: `${interpreter} runs it, and only Node can tell what a plugin uses: files, sockets, addresses and child processes cannot be audited here`,
      fix: 'compare what it does with its permissions by hand, as with strace; no host enforces them either, but the names of its environment',
    })
  if (!process.allowedNodeEnvironmentFlags.has(audit))
    throw new PluginFault({ place: process.execPath, reason: `this Node has no ${audit}`, fix: 'use Node 26' })
  const { net, unix } = permissions
  const flags = [
    audit,
    ...closedToOthers,
    `--max-old-space-size=${limits.heapMb}`,
    // Audited or not, names are looked up at servers only where the network is allowed.
    ...(net.length + unix.length > 0 ? ['--allow-net'] : []),
    ...(holdsNothing(permissions) ? [] : ['--no-experimental-sqlite']),
    '--disable-warning=ExperimentalWarning',
    `--import=${recorder.href}`,
  ]
  return processPlugin(() => [process.execPath, ...flags, join(folder, entry)], environment(permissions.env))
}

const audit = '--permission-audit'

/** Nothing but the names that the manifest asks for. */
function environment(names: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    names.flatMap((name) => {
      const value = process.env[name]
      return value === undefined ? [] : [[name, value] as const]
    }),
  )
}
