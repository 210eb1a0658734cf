/** A plugin process, started as a host starts it. */
import process from 'node:process'
import { type StartPlugin, processPlugin } from '@muster/core/testing'
import type { AuthorFolder } from './author.ts'
import { join } from 'node:path'

export function startUnpacked({ folder, entry, manifest }: AuthorFolder): StartPlugin {
  const main = join(folder, entry)
  return processPlugin(
    () => [process.execPath, `--max-old-space-size=${manifest.limits.heapMb}`, main],
    environment(manifest.permissions.env),
  )
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
