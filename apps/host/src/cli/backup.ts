/** `muster backup`: a backup of a daemon that works, here or elsewhere, into a file that was read back before it has its name. */
import { link, lstat, open, readdir, realpath, rename, rm, stat } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { pipeline } from 'node:stream/promises'
import type { Command } from 'commander'
import { MusterError } from '@muster/client'
import { draftId } from '../plugins/whole.ts'
import type { Manifest } from '../store/archive.ts'
import { acting, openClient, subcommand } from './context.ts'
import { bytes, exits, printJson, say, ticking } from './io.ts'

interface Options {
  withKey?: true
  logs?: true
  force?: true
  json?: true
}

export function backupCommand(): Command {
  return subcommand('backup', 'back up the store while the daemon works; see `muster restore`')
    .argument('<file>', 'the backup, or a folder for it; readable by this user alone')
    .option(
      '--with-key',
      'with the seal key: whoever has the backup can then read the env, files and inputs of runs that were live. Without it keep seal.key elsewhere: a restore asks for it',
    )
    .option('--logs', 'with the logs, outputs and waiting inputs of runs')
    .option('--force', 'replace a file that is there')
    .option('--json', 'as JSON')
    .action(acting(async ([target]: [string], options: Options, command: Command) => backup(target, options, command)))
}

async function backup(target: string, { withKey, logs, force, json }: Options, command: Command): Promise<number> {
  let what = 'waits for the copy of the store, or for another backup to end'
  const client = await openClient(
    command,
    () => (what = 'waits for the end of another backup, and then for the copy of the store'),
  )
  const { owner } = await client.version()
  const file = await fileOf(resolve(target), owner, force === true)
  const gone = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => gone.abort())
  let received = 0
  const tick = ticking(() => what)
  try {
    const tar = await client.backup({ key: withKey === true, logs: logs === true, signal: gone.signal })
    const manifest = await keep(tar, {
      ...{ file, force: force === true },
      onBytes: (count) => {
        received += count
        what = `${bytes(received)} received`
      },
      onWhole: () => (what = 'reads the backup back'),
    })
    tell(manifest, { file, received, json: json === true })
    for (const left of await dropLeft(file)) say(`${left} is removed: a backup that was cut off had left it`)
    return exits.ok
  } catch (error) {
    if (!gone.signal.aborted) throw local(error)
    say('given up; nothing is left of it')
    return exits.cancelled
  } finally {
    tick.stop()
  }
}

export interface Keep {
  file: string
  /** Replaces one that is there. */
  force: boolean
  onBytes?: (count: number) => void
  /** All of it has come. */
  onWhole?: () => void
}

/**
 * Writes a backup into its file, which has its name only once it was read back. The draft is made anew, under a name that nobody knows before: what is
 * there already may be open to others, lead elsewhere, or be the draft of another backup to the same file.
 */
export async function keep(tar: AsyncIterable<Uint8Array>, { file, force, onBytes, onWhole }: Keep): Promise<Manifest> {
  const part = `${file}.${draftId()}.part`
  // A stream that opened it itself could do so after it was removed.
  const draft = await open(part, 'wx', 0o600)
  try {
    await pipeline(
      tar,
      async function* (chunks: AsyncIterable<Uint8Array>) {
        for await (const chunk of chunks) {
          onBytes?.(chunk.length)
          yield chunk
        }
      },
      draft.createWriteStream({ flush: true }),
    )
    onWhole?.()
    const { readArchive } = await import('../store/archive.ts')
    const manifest = await readArchive(part)
    await name(part, file, force)
    return manifest
  } finally {
    await rm(part, { force: true })
  }
}

/** No backup writes nothing for so long: the daemon cuts off one that is not read, and what has come is read back at the speed of a disk. */
const LEFT_MS = 86_400_000

/** Removes the drafts of backups to the same file, or into the same folder, that were killed; `file` was written now. Returns them. */
export async function dropLeft(file: string): Promise<string[]> {
  const placeOf = (name: string): string => name.replace(/\d{8}T\d{6}Z(?=\.tar$)/, '')
  // By the clock of that disk, which may be another machine's.
  const now = (await stat(file).catch(() => undefined))?.mtimeMs ?? 0
  const dropped: string[] = []
  for (const name of await readdir(dirname(file)).catch(() => [])) {
    const [, of = ''] = /^(.+)\.[0-9a-f]{16}\.part$/.exec(name) ?? []
    if (placeOf(of) !== placeOf(basename(file))) continue
    const path = join(dirname(file), name)
    const found = await lstat(path).catch(() => undefined)
    if (found?.isFile() !== true || found.mtimeMs > now - LEFT_MS) continue
    // The backup itself is whole, whoever may not remove this.
    const isGone = await rm(path).then(
      () => true,
      () => false,
    )
    if (isGone) dropped.push(path)
  }
  return dropped
}

/** Where the backup goes. A name that is taken is refused before anything is copied; `force` replaces a file, and the one that a link leads to. */
export async function fileOf(target: string, owner: string, force: boolean): Promise<string> {
  const found = await stat(target).catch(() => undefined)
  if (found?.isDirectory() === true)
    return join(target, `muster-${owner}-${new Date().toISOString().replaceAll(/[-:]|\.\d+/g, '')}.tar`)
  const link = (await lstat(target).catch(() => undefined))?.isSymbolicLink() === true
  // A device or a pipe that a file took the place of is lost for everybody.
  if (found?.isFile() === false || (found === undefined && link))
    throw new MusterError('local', `${target} is ${found === undefined ? 'a link that leads nowhere' : 'no regular file'}`, {
      hint: 'Name another file, or a folder; a backup takes the place of regular files only.',
    })
  if (found !== undefined && !force) throw taken(target)
  if (link) return realpath(target)
  const folder = await stat(dirname(target)).catch(() => undefined)
  if (folder?.isDirectory() !== true)
    throw new MusterError('local', `there is no folder ${dirname(target)}`, { hint: 'Make it, or name another file.' })
  return target
}

async function name(part: string, file: string, force: boolean): Promise<void> {
  if (force) await rename(part, file)
  else
    await link(part, file).catch((error: NodeJS.ErrnoException) => {
      throw error.code === 'EEXIST' ? taken(file) : error
    })
  const { syncDirectory } = await import('../store/seal.ts')
  syncDirectory(dirname(file))
}

function taken(file: string): MusterError {
  return new MusterError('local', `${file} is there already`, { hint: 'Name another file, a folder, or say --force.' })
}

function local(error: unknown): unknown {
  const { name: kind, message, hint } = error as Error & { hint?: string }
  if (kind === 'ArchiveError') return new MusterError('protocol', message, { hint: hint ?? '', cause: error })
  const { code, path } = error as NodeJS.ErrnoException
  if (code === 'ENOSPC')
    return new MusterError('local', 'there is no room for the backup', { hint: 'Name a file on another disk.' })
  if (code === 'ECONNRESET' || code === 'EPIPE')
    return new MusterError('unreachable', 'the connection was cut before the whole backup had come', {
      hint: 'Take it again; when it is cut again, see the log of the daemon.',
      cause: error,
    })
  if (path !== undefined)
    return new MusterError('local', message, { hint: 'Name a file that this user may write.', cause: error })
  return error
}

function tell(
  { owner, at, key, logs, parts }: Manifest,
  { file, received, json }: { file: string; received: number; json: boolean },
): void {
  if (json) {
    printJson({ file, bytes: received, owner, at, key, logs, parts })
    return
  }
  say(`${file}: ${bytes(received)}, owner ${owner}, as of ${at}; read back and whole`)
  say(
    key
      ? 'it holds the seal key: whoever can read it can read the env, files and inputs of the runs that were live'
      : 'it does not hold the seal key: keep seal.key of the data folder in another safe place, since what was live cannot be restored without it',
  )
  if (!logs) say('it holds no logs and outputs of runs; --logs adds them')
}
