/** Commands in a running worker: an engine's exec, lent to the runner of core, which makes them outlive whoever started them. */
import type { Duplex } from 'node:stream'
import { createRunner, type ExecId, ProviderError, type RawChunk, type RawExec, type Runner, type WorkerId } from '@muster/core'
import { holderOf, ownerOf, type Place, statPath } from './archive.ts'
import { type ContainerInspect, type Engine, toFailure } from '../client.ts'
import { createFrameReader } from '../engine/frames.ts'
import { prepareRunFolder, runFolderOf } from './run-folder.ts'
import { containerPath } from '../labels.ts'
import { exitCodeOf, programState } from '../engine/programs.ts'

type Inside = Omit<Place, 'signal'>
type Asked = Parameters<RawExec>[0]

/** The raw exec of one container, as one of its users. It rejects with an EngineFailure, and knows no exit codes: each would be a question. */
function rawExecOf(place: Inside, user?: string, onMade?: (program: string) => void): RawExec {
  return async (asked) => {
    const { id, output, ended } = await openExec(place, asked, user)
    onMade?.(id)
    return { output, exit: ended.then(() => ({})) }
  }
}

/** The same as the container's own user, with exit codes. */
export function codedExecOf(place: Inside): RawExec {
  return async (asked) => {
    const { id, output, ended } = await openExec(place, asked)
    return { output, exit: ended.then(async () => ({ code: await exitCodeOf(place.engine, id, asked.signal) })) }
  }
}

interface OpenExec {
  id: string
  output: AsyncIterable<RawChunk>
  ended: Promise<void>
}

async function openExec({ engine, id }: Inside, { argv, stdin, signal }: Asked, user?: string): Promise<OpenExec> {
  const body = {
    Cmd: [...argv],
    AttachStdin: stdin !== undefined,
    AttachStdout: true,
    AttachStderr: true,
    Tty: false,
    ...(user === undefined ? {} : { User: user }),
  }
  const made = await engine.json<{ Id: string }>({ method: 'POST', path: `${containerPath(id)}/exec`, body, signal })
  const connection = await attach(engine, made.Id, signal)
  if (stdin !== undefined) void feed(connection, stdin)
  const ended = Promise.withResolvers<void>()
  return { id: made.Id, output: output(connection, ended.resolve), ended: ended.promise }
}

async function attach(engine: Engine, exec: string, signal: AbortSignal): Promise<Duplex> {
  const body = { Detach: false, Tty: false }
  return engine.hijack({ method: 'POST', path: `/exec/${exec}/start`, body, signal })
}

/** Ends the connection's own half after the input, so that the program reads end-of-file. */
async function feed(connection: Duplex, input: AsyncIterable<Uint8Array>): Promise<void> {
  try {
    for await (const chunk of input) {
      if (!connection.write(chunk)) await writable(connection)
      if (connection.destroyed) return
    }
    connection.end()
  } catch {
    // The output ends with the connection and tells.
    connection.destroy()
  }
}

export function writable(connection: Duplex): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      connection.off('drain', done).off('close', done)
      resolve()
    }
    connection.on('drain', done).on('close', done)
    if (connection.destroyed) done()
  })
}

async function* output(connection: Duplex, onEnd: () => void): AsyncGenerator<RawChunk> {
  const reader = createFrameReader()
  try {
    for await (const chunk of connection) yield* reader.push(chunk as Buffer)
    reader.end()
  } catch (error) {
    throw toFailure(error)
  } finally {
    connection.destroy()
    onEnd()
  }
}

export interface Runners {
  /** The runner of a worker for its own user, or for the one named. Throws `unsupported` where the image has no shell. */
  of(container: ContainerInspect, place: Place, user?: string): Promise<Runner>
  /** Drops what is remembered of a worker that is gone. */
  forget(id: WorkerId): void
}

export function createRunners(): Runners {
  /** Workers known to have a shell, and whether the runner's folder is known to be there for all their users. */
  const known = new Map<WorkerId, { folder: boolean }>()

  async function prepare(container: ContainerInspect, place: Place, user: string | undefined): Promise<void> {
    const state = known.get(place.id) ?? { folder: false }
    if (!known.has(place.id) && (await statPath(place, '/bin/sh')) === undefined) throw noShell()
    known.set(place.id, state)
    if (state.folder) return
    // Root with what an engine gives it makes the folder itself.
    if (user === undefined && hasAll(container) && (await ownerOf(place, container)).uid === 0) return
    if ((await statPath(place, runFolderOf(container))) === undefined) await prepareRunFolder(place, container)
    state.folder = true
  }

  return {
    async of(container, place, user) {
      await prepare(container, place, user)
      const how = { dir: runFolderOf(container), shared: true, shell: '/bin/sh' }
      if (user === undefined) return createRunner(rawExecOf(place), how)
      const exec: Runner['exec'] = async (command, signal) => {
        let program: string | undefined
        try {
          const raw = rawExecOf(place, user, (made) => (program = made))
          return await createRunner(raw, { ...how, user }).exec(command, signal)
        } catch (error) {
          const nobody = nobodyOf(user, error)
          if (nobody === undefined || program === undefined || !(await wasRefused(place, program))) throw error
          throw nobody
        }
      }
      return { ...createRunner(rawExecOf(place, user), { ...how, user }), exec }
    },
    forget: (id) => known.delete(id),
  }
}

/** May root write anywhere in it? Without its capabilities it is bound by the folder's own mode. */
function hasAll({ HostConfig }: ContainerInspect): boolean {
  return HostConfig.ReadonlyRootfs !== true && ((HostConfig.CapDrop as string[] | null | undefined) ?? []).length === 0
}

/**
 * The user of a command that does not run as the worker's own, by whose folder it has; undefined: it is none. Without capabilities not
 * even the worker's root sees into another user's run.
 */
export async function otherUser(container: ContainerInspect, place: Place, exec: ExecId): Promise<string | undefined> {
  const holder = await holderOf(place, `${runFolderOf(container)}/${exec}`)
  if (holder === undefined || holder.uid === (await ownerOf(place, container)).uid) return undefined
  return `${holder.uid}:${holder.gid}`
}

export function noShell(): ProviderError {
  const hint = 'Use an image with /bin/sh.'
  return new ProviderError('unsupported', 'a command in a worker needs /bin/sh in its image', {
    effect: 'none',
    path: 'image',
    hint,
  })
}

/** What an engine says, and nothing else, where the command would have spoken, of a user that the image does not have; Podman has words before it. */
const NOBODY =
  /: ((?:(?:OCI runtime|runtime|exec)[^:]*: )*unable to find (?:user|group) ([^:]+): no matching entries in (?:passwd|group) file)\W*$/i
/** The code of a program that an engine did not start. */
const NOT_STARTED = 126

/** Does the engine say itself that it did not start it? It knows before it speaks. What a broken connection brought says nothing of that. */
async function wasRefused({ engine, signal }: Place, program: string): Promise<boolean> {
  return programState(engine, program, signal).then(
    ({ Running, ExitCode }) => !Running && ExitCode === NOT_STARTED,
    () => false,
  )
}

/** No time makes it one. */
function nobodyOf(user: string, cause: unknown): ProviderError | undefined {
  if (!(cause instanceof ProviderError) || cause.code !== 'transient') return undefined
  const [, said, name = ''] = NOBODY.exec(cause.message) ?? []
  if (said === undefined || !user.split(':').includes(name)) return undefined
  return new ProviderError('invalid-spec', `the worker has no user ${user}: ${said}`, { effect: 'none', path: 'user', cause })
}
