/** `muster restore`: a backup into a data folder, which no daemon may use meanwhile. */
import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import type { Command } from 'commander'
import { dataFolder, MusterError } from '@muster/client'
import type { Restored } from '../store/restore.ts'
import { acting, type GlobalOptions, subcommand } from './context.ts'
import { bytes, exits, printJson, say, ticking } from './io.ts'

interface Options {
  force?: true
  key?: string
  withoutKey?: true
  json?: true
}

export function restoreCommand(): Command {
  return subcommand('restore', 'put a backup into a data folder; the daemon must not run there')
    .argument('<file>', 'the backup')
    .option('--force', 'the folder holds something: what the backup replaces is kept beside it, the rest stays')
    .option('--key <file>', 'the seal key, when the backup does not hold it')
    .option('--without-key', 'the seal key is lost: what was live when the backup was made ends')
    .option('--json', 'as JSON')
    .action(acting(async ([file]: [string], options: Options, command: Command) => restoreTo(file, options, command)))
}

async function restoreTo(file: string, { force, key, withoutKey, json }: Options, command: Command): Promise<number> {
  const { config, data } = command.optsWithGlobals<GlobalOptions>()
  const dir = await dataFolder({ ...(config === undefined ? {} : { config }), ...(data === undefined ? {} : { data }) })
  const { restore } = await import('../store/restore.ts')
  let read = 0
  const tick = ticking(() => `${bytes(read)} read`)
  try {
    const restored = await restore({
      file: resolve(file),
      dir,
      force: force === true,
      withoutKey: withoutKey === true,
      ...(key === undefined ? {} : { keyFile: resolve(key) }),
      onBytes: (count) => (read += count),
    })
    tell(restored, { dir, json: json === true })
    return exits.ok
  } catch (error) {
    throw local(error)
  } finally {
    tick.stop()
  }
}

/** All that can go wrong here has a hint of its own, but for the file system. */
function local(error: unknown): unknown {
  const { name, message, hint, code } = error as NodeJS.ErrnoException & { hint?: string }
  if (['RestoreError', 'ArchiveError', 'StoreError'].includes(name))
    return new MusterError('local', `not restored: ${message}`, { hint: hint ?? '', cause: error })
  if (code === 'ENOSPC')
    return new MusterError('local', 'not restored: there is no room', {
      hint: 'Make room on the disk of the data folder.',
      cause: error,
    })
  if (code !== undefined)
    return new MusterError('local', `not restored: ${message}`, { hint: 'Check the names and their rights.', cause: error })
  return error
}

function tell({ manifest, aside, key, tokens }: Restored, { dir, json }: { dir: string; json: boolean }): void {
  const { owner, at, version } = manifest
  if (json) {
    printJson({ data: dir, owner, at, version, key, tokens, ...(aside === undefined ? {} : { aside }) })
    return
  }
  say(`${dir} is as it was at ${at}, owner ${owner}`)
  if (aside !== undefined) say(`what was there before is in ${aside}; remove it when you no longer need it`)
  if (tokens.revoked === undefined) say('a token that was revoked since then is good again: look through them')
  else if (tokens.revoked > 0) say(`revoked since then, and still so: ${tokens.revoked} of its tokens`)
  say(`good tokens: ${tokens.live.map(({ id, name, role }) => `${name} (${role}, ${id})`).join(', ') || 'none'}`)
  if (tokens.live.some(({ role }) => role === 'admin') && !existsSync(join(dir, 'admin.token')))
    say(
      'admin.token is in no backup: on its machine the unix socket needs none, and `muster tokens create` makes tokens for others',
    )
  if (key === 'none') say('without the seal key: the runs and leases that were live then have ended')
  say(
    'start it with `muster up --adopt` if no other daemon uses this owner: what was made since is then removed; or with `--new-owner` to leave all earlier workers alone',
  )
}
