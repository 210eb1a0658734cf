/** `muster cp`: files and folders into a worker that lives, and out of it. */
import { basename, join, posix, resolve } from 'node:path'
import { lstatSync, readlinkSync, realpathSync, statSync } from 'node:fs'
import { isMusterError, type MusterClient, MusterError } from '@muster/client'
import { type Command, InvalidArgumentError } from 'commander'
import { acting, openClient, subcommand, withProgress } from './context.ts'
import { exits, say } from './io.ts'

export interface Place {
  /** Absent: this machine. */
  worker?: string
  path: string
}

/** `w0…:path` is in a worker; everything else is here, a file whose name looks so as `./w0…:path`. */
export function placeOf(text: string): Place {
  const [, worker, path] = /^(w[0-9a-z]{26}):(.*)$/s.exec(text) ?? []
  if (worker === undefined || path === undefined) return { path: text }
  if (path === '') throw new InvalidArgumentError('Write WORKER:PATH.')
  return { worker, path }
}

/** As `cp -r`: behind a `/` the target is a folder, and the source keeps its name in it; without a name its content goes there. */
export function targetOf(target: string, source: string): { folder: string; name: string } {
  if (isNameless(target)) return { folder: target, name: isNameless(basename(source)) ? '.' : basename(source) }
  return { folder: posix.dirname(target), name: posix.basename(target) }
}

/** The path here that what comes from a worker is saved as, and whose place it takes. */
export function placeHere(source: string, target: string): string {
  const isFolder = statSync(target, { throwIfNoEntry: false })?.isDirectory() === true
  if (!isNameless(target) && !isFolder) return target
  // It may be what an earlier copy brought: then a worker chose where this one goes.
  if (isFolder && linkAt(target) !== undefined)
    throw new MusterError(
      'local',
      `${target} is a link to the folder ${realpathSync(target)}, and nothing is copied through a link`,
      {
        hint: 'Name that folder itself, or remove the link.',
      },
    )
  const name = posix.basename(source)
  // The folder itself would be replaced, with all that is in it.
  if (isNameless(name))
    throw new MusterError('local', `'${source}' of the worker has no name of its own in the folder ${target}`, {
      hint: `Give it one that is not taken, as ${join(target, 'copy')}.`,
    })
  return join(target, name)
}

/** Where a link leads, as it is written there; undefined for everything else. */
export function linkAt(path: string): string | undefined {
  // Without the slash at its end, by which a link would be followed.
  const at = resolve(path)
  return lstatSync(at, { throwIfNoEntry: false })?.isSymbolicLink() === true ? readlinkSync(at) : undefined
}

/** Is it a folder by its spelling: `x/`, `.`, `x/..`? */
function isNameless(path: string): boolean {
  return /(?:^|\/)\.{0,2}$/.test(path)
}

export function cpCommand(): Command {
  return subcommand('cp', 'copy a file or folder into a worker that lives, or out of it')
    .argument('<source>', 'a path here, or WORKER:PATH', placeOf)
    .argument('<target>', 'the other of the two; with a / at its end: a folder that it goes into', placeOf)
    .addHelpText(
      'after',
      `
A relative path in a worker is below its workspace. What is there is replaced, file by file: a file goes into a folder of
that name, a folder never takes the place of a file. The daemon takes in all of it before it touches the worker: cut off
until then, nothing changes there.
Here it is all or nothing: a folder of the same name is replaced as a whole, with what only it had. Where something cannot
be read, that is said with exit code 1, and what could be read is TARGET.incomplete. A target that is a link to a folder is refused:
it may be one that came out of a worker.

  muster cp ./dist w01m…:/srv/app        as the folder /srv/app
  muster cp w01m…:report.xml results/    as results/report.xml`,
    )
    .action(
      acting(async ([source, target]: [Place, Place], _options: object, command: Command) => copy(source, { target, command })),
    )
}

/** The daemon begins when it has all of it, and then goes on. */
const cutShort = 'the worker is as it was, unless the daemon had all of it already: then it copies to the end'

interface Putting {
  source: string
  worker: string
  path: string
}

/** Answers where it went. */
async function putInto(client: MusterClient, { source, worker, path }: Putting, signal: AbortSignal): Promise<string> {
  const { packTree } = await import('@muster/client')
  const put = async (target: string): Promise<string> => {
    const { folder, name } = targetOf(target, source)
    await client.workers.putFiles(worker, { path: folder, tar: () => packTree(source, name), signal })
    return posix.join(folder, name)
  }
  try {
    return await put(path)
  } catch (error) {
    const refused = isMusterError(error) && error.code === 'invalid-request'
    // No file takes the place of a folder: as with `cp` it goes into it.
    if (refused && !isNameless(path) && statSync(source, { throwIfNoEntry: false })?.isFile() === true)
      return await put(`${path}/`).catch(() => {
        throw error
      })
    throw error
  }
}

async function copy(source: Place, { target, command }: { target: Place; command: Command }): Promise<number> {
  if ((source.worker === undefined) === (target.worker === undefined)) {
    say('one of the two is here and the other in a worker: WORKER:PATH')
    return exits.usage
  }
  const place = source.worker === undefined ? '' : placeHere(source.path, target.path)
  const client = await openClient(command)
  const gone = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(name, () => gone.abort())
  const { signal } = gone
  try {
    if (target.worker !== undefined) {
      const place = await withProgress(
        `copying ${source.path} to ${target.worker} …`,
        putInto(client, { source: source.path, worker: target.worker, path: target.path }, signal),
      )
      say(`copied to ${target.worker}:${place}`)
      return exits.ok
    }
    const onSkipped = (entry: string): void => say(`left out ${entry}`)
    const done = client.workers.saveFiles(source.worker ?? '', { path: source.path, target: place, onSkipped, signal })
    await withProgress(`copying ${source.path} from ${source.worker ?? ''} …`, done)
    const link = linkAt(place)
    say(link === undefined ? `copied to ${place}` : `copied to ${place}, a link to ${link}`)
    return exits.ok
  } catch (error) {
    if (!signal.aborted) throw error
    say(target.worker === undefined ? 'given up; nothing is left of it' : `given up; ${cutShort}`)
    return exits.cancelled
  }
}
