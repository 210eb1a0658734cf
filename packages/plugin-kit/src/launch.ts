/** A plugin process, started as a host starts it. */
import { join } from 'node:path'
import process from 'node:process'
import { processPlugin, type StartPlugin } from '@muster/core/testing'
import { commandOf, holdsNothing } from '@muster/packed/command'
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

/** Nothing but the names that the manifest asks for. */
function environment(names: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    names.flatMap((name) => {
      const value = process.env[name]
      return value === undefined ? [] : [[name, value] as const]
    }),
  )
}
