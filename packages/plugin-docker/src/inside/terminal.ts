/**
 * Commands with a terminal. The engine makes the terminal and keeps nothing of it, so that such a command is this process's own: its
 * connection is the terminal's other end, and without it the terminal hangs up.
 *
 * A small shell goes before the command. It says its number, which then is the command's and its session's, and waits for a line: until
 * then the terminal gets its size, since engines before API 1.42 take none with the start.
 */
import { posix } from 'node:path'
import type { Duplex } from 'node:stream'
import { type Call, type ExecId, type ExecInput, type ExecSession, ProviderError, type TerminalSize } from '@muster/core'
import { HANG_UP, SIGNAL_SESSION } from '@muster/provider-parts/session-signals'
import { terminalSession } from '@muster/provider-parts/terminal-session'
import { type Place, statPath } from './archive.ts'
import { type ContainerInspect, type Engine, toFailure } from '../client.ts'
import { EngineFailure } from '../errors.ts'
import { noShell, writable } from './exec.ts'
import { exitCodeOf, runProgram } from '../engine/programs.ts'
import { containerPath } from '../labels.ts'

export interface Terminals {
  /** Starts a command with a terminal. */
  open(at: Holder, command: ExecInput & { tty: TerminalSize }): Promise<ExecSession>
  /** Is it one of a terminal that is open here? */
  has(id: ExecId): boolean
  /** Gives it another size; nothing when it is none of these. */
  resize(id: ExecId, size: TerminalSize, signal: AbortSignal): Promise<void>
  /** Signals all of its session. False: it is none of these. */
  kill(id: ExecId, name: string, signal: AbortSignal): Promise<boolean>
}

export interface Holder extends Pick<Call, 'log'> {
  container: ContainerInspect
  place: Place
}

interface Terminal {
  engine: Engine
  /** Of the container. */
  path: string
  /** The engine's name of it. */
  exec: string
  user: string | undefined
  /** The session, by the number it has in the container; absent until it is known. */
  session?: string
}

/** The first line is a number; an engine that could not start the shell says why in its place. */
const FIRST_LINE = 2048
/** For the hang-up and the end by force, on a busy machine. */
const END_TIMEOUT_MS = 30_000
/** Ctrl-D: the end of the input, as a person types it (termios(3), VEOF). */
const END_OF_INPUT = '\u0004'

const BEGIN = 'printf "%s\\n" "$$"; read -r _m; exec "$@"'

/** What the shell before a command is called, until it is the command. */
const beginner = (id: ExecId): string => `muster-terminal-${id}`

export function createTerminals(): Terminals {
  const opened = new Map<ExecId, Terminal>()

  async function send(
    id: ExecId,
    { engine, path, user, session = '' }: Terminal,
    how: { name: string; signal: AbortSignal },
  ): Promise<void> {
    const argv = ['/bin/sh', '-c', SIGNAL_SESSION, 'sh', session, id, how.name.replace(/^SIG/, '')]
    await runProgram({ engine, path, argv, user, signal: how.signal })
  }

  /** Nobody waits for it: a call that is given up has settled by then. */
  async function hangUp(id: ExecId, { engine, path, user, session = '' }: Terminal, log: Call['log']): Promise<void> {
    const argv = ['/bin/sh', '-c', HANG_UP, 'sh', session, id]
    try {
      await runProgram({ engine, path, argv, user, signal: AbortSignal.timeout(END_TIMEOUT_MS) })
    } catch (error) {
      log.warn('a terminal could not be hung up', { command: id, error: String(error) })
    }
  }

  return {
    has: (id) => opened.has(id),

    async open({ container, place, log }, command) {
      const { id, tty, input } = command
      if (opened.has(id) || command.from.stdout > 0)
        throw new ProviderError('conflict', 'nobody attaches to a terminal', { effect: 'none', path: 'id' })
      if ((await statPath(place, '/bin/sh')) === undefined) throw noShell()
      const { engine, signal } = place
      const path = containerPath(place.id)
      const made = await engine.json<{ Id: string }>({
        method: 'POST',
        path: `${path}/exec`,
        body: bodyOf(container, command),
        signal,
      })
      const terminal: Terminal = { engine, path, exec: made.Id, user: command.user }
      opened.set(id, terminal)
      let connection: Duplex | undefined
      const over = (ended: boolean): void => {
        connection?.destroy()
        if (opened.delete(id) && !ended) void hangUp(id, terminal, log)
      }
      try {
        connection = await engine.hijack({
          method: 'POST',
          path: `/exec/${made.Id}/start`,
          body: { Detach: false, Tty: true },
          signal,
        })
        const reading = connection[Symbol.asyncIterator]() as AsyncIterator<Buffer>
        terminal.session = await firstLine(reading)
        await resizeTo(terminal, tty, signal)
        connection.write('\n')
        void type(connection, input)
        const exitCode = (): Promise<number> => exitCodeOf(engine, made.Id, signal)
        return terminalSession({ shown: reading, exitCode, signal, toFailure }, over)
      } catch (error) {
        over(false)
        throw error
      }
    },

    async resize(id, size, signal) {
      const terminal = opened.get(id)
      if (terminal === undefined) return
      await resizeTo(terminal, size, signal).catch((error: unknown) => {
        // It has ended meanwhile.
        if (opened.has(id)) throw error
      })
    },

    async kill(id, name, signal) {
      const terminal = opened.get(id)
      if (terminal === undefined) return false
      await send(id, terminal, { name, signal })
      return true
    },
  }
}

function bodyOf(
  container: ContainerInspect,
  { id, command, env = {}, workdir, user, tty }: ExecInput & { tty: TerminalSize },
): object {
  return {
    Cmd: ['/bin/sh', '-c', BEGIN, beginner(id), ...command],
    ...{ AttachStdin: true, AttachStdout: true, AttachStderr: true, Tty: true },
    ConsoleSize: [tty.rows, tty.columns],
    Env: Object.entries(env).map(([name, value]) => `${name}=${value}`),
    ...(workdir === undefined ? {} : { WorkingDir: posix.resolve('/', container.Config.WorkingDir, workdir) }),
    ...(user === undefined ? {} : { User: user }),
  }
}

async function resizeTo({ engine, exec }: Terminal, { columns, rows }: TerminalSize, signal: AbortSignal): Promise<void> {
  await engine.json({ method: 'POST', path: `/exec/${exec}/resize`, query: { h: rows, w: columns }, signal })
}

/** The number that the shell says; what it says instead is why there is none. */
async function firstLine(reading: AsyncIterator<Buffer>): Promise<string> {
  let text = ''
  while (text.length < FIRST_LINE) {
    const next = await reading.next().catch((error: unknown) => {
      throw toFailure(error)
    })
    if (next.done === true) break
    text += next.value.toString()
    const [, number] = /^(\d+)\r?\n$/.exec(text) ?? []
    if (number !== undefined) return number
  }
  throw new EngineFailure(text.trim() || 'the engine ended a terminal before it began', { status: 400, sent: true })
}

/** The other half stays open: at its end an engine would end the output too. */
async function type(connection: Duplex, input: AsyncIterable<Uint8Array> | undefined): Promise<void> {
  try {
    for await (const chunk of input ?? []) {
      if (connection.destroyed) return
      if (!connection.write(chunk)) await writable(connection)
    }
    connection.write(END_OF_INPUT)
  } catch {
    // The output ends with the connection and tells.
    connection.destroy()
  }
}
