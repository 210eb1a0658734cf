/** `muster cp`: files and folders into a worker that lives, and out of it. */
import { basename, join, posix } from 'node:path'
import { statSync } from 'node:fs'
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

/** As `cp -r`: behind a `/` the target is a folder, and the source keeps its name in it. */
export function targetOf(target: string, source: string): { folder: string; name: string } {
  const inside = target.endsWith('/') || target === '.' || target === '..'
  if (inside) return { folder: target, name: basename(source) }
  return { folder: posix.dirname(target), name: posix.basename(target) }
}

export function cpCommand(): Command {
  return subcommand('cp', 'copy a file or folder into a worker that lives, or out of it')
    .argument('<source>', 'a path here, or WORKER:PATH', placeOf)
    .argument('<target>', 'the other of the two; with a / at its end: a folder that it goes into', placeOf)
    .addHelpText(
      'after',
      `
A relative path in a worker is below its workspace. What is there is replaced, file by file; here, all or nothing.

  muster cp ./dist w01m…:/srv/app        as the folder /srv/app
  muster cp w01m…:report.xml results/    as results/report.xml`,
    )
    .action(
      acting(async ([source, target]: [Place, Place], _options: object, command: Command) => copy(source, { target, command })),
    )
}

async function copy(source: Place, { target, command }: { target: Place; command: Command }): Promise<number> {
  if ((source.worker === undefined) === (target.worker === undefined)) {
    say('one of the two is here and the other in a worker: WORKER:PATH')
    return exits.usage
  }
  const client = await openClient(command)
  if (target.worker !== undefined) {
    const { packTree } = await import('@muster/client')
    const { folder, name } = targetOf(target.path, source.path)
    const done = client.workers.putFiles(target.worker, { path: folder, tar: () => packTree(source.path, name) })
    await withProgress(`copying ${source.path} to ${target.worker} …`, done)
    say(`copied to ${target.worker}:${posix.join(folder, name)}`)
    return exits.ok
  }
  const into = target.path.endsWith('/') || statSync(target.path, { throwIfNoEntry: false })?.isDirectory() === true
  const place = into ? join(target.path, basename(source.path)) : target.path
  const done = client.workers.saveFiles(source.worker ?? '', { path: source.path, target: place })
  await withProgress(`copying ${source.path} from ${source.worker ?? ''} …`, done)
  say(`copied to ${place}`)
  return exits.ok
}
