/**
 * Commands with a terminal. A node makes the terminal and keeps nothing of it, so that such a command is this process's own: its connection is
 * the terminal's other end, and without it the terminal hangs up.
 *
 * The command goes into the worker first, as a file that only its user may read: what is asked of an API server by address is in its audit log.
 * A shell then reads that file at the terminal, gives it its size, says its own number, which is that of the session, waits for a line, and becomes
 * the command: what ends before a node has taken hold of its output has said nothing.
 */
import { randomBytes } from 'node:crypto'
import {
  type Call,
  type ExecId,
  type ExecInput,
  type ExecSession,
  ProviderError,
  type RawExec,
  type TerminalSize,
} from '@muster/core'
import { terminalSession } from '@muster/provider-parts/terminal-session'
import { openStream, type StreamSession } from '../api/exec.ts'
import { toKubernetesError } from '../api/verdict.ts'
import type { Cluster } from '../client.ts'
import { rawExecOf } from './exec.ts'
import { quote } from '@muster/provider-parts/quote'
import { hangUp, signalSession } from './terminal-end.ts'
import { workerContainer } from '../translate.ts'
import { stateRoot } from '../pod/volumes.ts'

export interface Terminals {
  /** Starts a command with a terminal in a worker. */
  open(pod: string, command: ExecInput & { tty: TerminalSize }, call: Pick<Call, 'signal' | 'log'>): Promise<ExecSession>
  /** Is it one of a terminal that is open here? */
  has(id: ExecId): boolean
  /** Gives it another size; nothing when it is none of these. */
  resize(id: ExecId, size: TerminalSize): Promise<void>
  /** Signals all of its session. False: it is none of these. */
  kill(id: ExecId, name: string, signal: AbortSignal): Promise<boolean>
}

interface Terminal {
  pod: string
  /** By the number it has in the worker; absent until it is known. */
  session?: string
  stream?: StreamSession
}

/** The first line is a number; what cannot begin says why in its place. */
const FIRST_LINE = 2048
/** Ctrl-D: the end of the input, as a person types it (termios(3), VEOF). */
const END_OF_INPUT = '\u0004'
/** In place of the number. */
const NO_FOLDER = 'muster: no such folder'

/**
 * Takes lines up to END, and fails without it. Words: file, END. A node may close a program's input before all of it has come through, so that the
 * end of an input is no sign that it is whole.
 */
const PUT = `umask 077
while IFS= read -r _l; do [ "$_l" != "$2" ] || exit 0; printf '%s\\n' "$_l"; done >"$1"
exit 1`
/** A loss is one packet late; the next is another connection. */
const PUT_TRIES = 3

export function createTerminals(cluster: Cluster): Terminals {
  const opened = new Map<ExecId, Terminal>()

  return {
    has: (id) => opened.has(id),

    async open(pod, command, { signal, log }) {
      const { id, tty, input } = command
      if (opened.has(id) || command.from.stdout > 0)
        throw new ProviderError('conflict', 'nobody attaches to a terminal', { effect: 'none', path: 'id' })
      const file = `${stateRoot}/terminal-${id}`
      const text = textOf(command, file)
      const terminal: Terminal = { pod }
      opened.set(id, terminal)
      const typed = Promise.withResolvers<void>()
      const ready = Promise.withResolvers<void>()
      let begun = false
      const over = (ended: boolean): void => {
        terminal.stream?.close()
        typed.resolve()
        ready.resolve()
        if (!opened.delete(id) || ended || !begun) return
        // Nobody waits for it: a call that is given up has settled by then.
        hangUp(rawExecOf(cluster, pod), { id, session: terminal.session }).catch((error: unknown) =>
          log.warn('a terminal could not be hung up', { command: id, error: String(error) }),
        )
      }
      try {
        await put(rawExecOf(cluster, pod), { file, text }, signal)
        begun = true
        terminal.stream = await openStream(cluster.client.transport, {
          ...{ namespace: cluster.namespace, pod, container: workerContainer, tty: true, signal },
          command: ['/bin/sh', '-c', '. "$1"', `muster-terminal-${id}`, file],
          stdin: keysOf(input, { ready: ready.promise, over: typed.promise }),
        })
        const { stream } = terminal
        const reading = bytesOf(stream)
        await stream.resize(tty).catch(() => undefined)
        const first = await firstLine(reading)
        terminal.session = first.session
        ready.resolve()
        return terminalSession({ shown: behind(first.rest, reading), exitCode: () => stream.exit, signal }, over)
      } catch (error) {
        over(false)
        throw error
      }
    },

    async resize(id, size) {
      await opened
        .get(id)
        ?.stream?.resize(size)
        .catch((error: unknown) => {
          // It has ended meanwhile.
          if (opened.has(id)) throw error
        })
    },

    async kill(id, name, signal) {
      const terminal = opened.get(id)
      if (terminal === undefined) return false
      await signalSession(rawExecOf(cluster, terminal.pod), { id, session: terminal.session, name }, signal)
      return true
    },
  }
}

/**
 * Writes the file. A node that cannot begin a program ends the connection while its input is still on the way, by which the words of the refusal may
 * be lost: nothing has begun, and the same again says them.
 */
async function put(raw: RawExec, { file, text }: { file: string; text: string }, signal: AbortSignal): Promise<void> {
  for (let left = PUT_TRIES - 1; ; left--)
    try {
      return await putOnce(raw, { file, text }, signal)
    } catch (error) {
      const judged = toKubernetesError(error, { doing: 'begin a terminal', mutates: false })
      if (signal.aborted || left === 0 || judged.code !== 'transient') throw judged
    }
}

async function putOnce(raw: RawExec, { file, text }: { file: string; text: string }, signal: AbortSignal): Promise<void> {
  // No line of a command has it.
  const end = `muster-end-${randomBytes(16).toString('hex')}`
  const taken = Promise.withResolvers<void>()
  async function* content(): AsyncGenerator<Uint8Array> {
    yield Buffer.from(`${text}${end}\n`)
    await taken.promise
  }
  try {
    const { output, exit } = await raw({ argv: ['/bin/sh', '-c', PUT, 'sh', file, end], stdin: content(), signal })
    exit.catch(() => undefined)
    let noise = ''
    for await (const { data } of output) noise += Buffer.from(data).toString()
    const { code } = await exit
    if (code === 0) return
    throw new ProviderError('transient', `cannot begin a terminal: ${noise.trim() || `code ${code}`}`, { effect: 'none' })
  } finally {
    taken.resolve()
  }
}

/** What the shell at the terminal reads. A size has a way of its own through the kubelet, and may come late: hence `stty`, where the image has it. */
function textOf({ command, env = {}, workdir, user, tty }: ExecInput & { tty: TerminalSize }, file: string): string {
  if (user !== undefined)
    throw new ProviderError('unsupported', 'commands cannot run as another user here', { effect: 'none', path: 'user' })
  const wrong = (path: string, message: string): ProviderError =>
    new ProviderError('invalid-spec', message, { effect: 'none', path })
  const words = (text: string, path: string): string => {
    if (text.includes('\0')) throw wrong(path, 'a NUL byte cannot be passed to a process')
    return quote(text)
  }
  const variables = Object.entries(env).map(([name, value]) => {
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) throw wrong(`env.${name}`, 'a shell cannot pass on a variable of this name')
    return `export ${name}=${words(value, `env.${name}`)}`
  })
  return [
    `rm -f -- ${quote(file)}`,
    `stty rows ${tty.rows} cols ${tty.columns} 2>/dev/null`,
    ...(workdir === undefined
      ? []
      : [`cd -- ${words(workdir, 'workdir')} 2>/dev/null || { echo '${NO_FOLDER}'; read -r _m; exit 126; }`]),
    `printf '%s\\n' "$$"; read -r _m`,
    ...variables,
    `exec ${command.map((word, index) => words(word, `command.${index}`)).join(' ')}`,
    '',
  ].join('\n')
}

/** What is typed. The input itself stays open: at its end a node would end the output too. */
async function* keysOf(
  input: AsyncIterable<Uint8Array> | undefined,
  { ready, over }: { ready: Promise<void>; over: Promise<void> },
): AsyncGenerator<Uint8Array> {
  await ready
  yield Buffer.from('\n')
  yield* input ?? []
  yield Buffer.from(END_OF_INPUT)
  await over
}

async function* bytesOf({ output }: StreamSession): AsyncGenerator<Buffer> {
  for await (const { data } of output) yield data
}

/** The number that the shell says, and what came behind it; what it says instead is why there is none. */
async function firstLine(reading: AsyncIterator<Buffer>): Promise<{ session: string; rest: Buffer }> {
  let said = Buffer.alloc(0)
  while (said.length < FIRST_LINE) {
    const next = await reading.next()
    if (next.done === true) break
    said = Buffer.concat([said, next.value])
    const [line, session] = /^(\d+)\r?\n/.exec(said.toString('latin1')) ?? []
    if (line !== undefined && session !== undefined) return { session, rest: said.subarray(line.length) }
    // Behind this line it waits.
    if (said.toString().startsWith(`${NO_FOLDER}\r\n`)) break
  }
  const text = said.toString().trim()
  if (text.startsWith(NO_FOLDER))
    throw new ProviderError('invalid-spec', 'the working directory is not there', { effect: 'none', path: 'workdir' })
  throw new ProviderError('transient', `a terminal did not begin: ${text || 'its shell said nothing'}`)
}

async function* behind(line: Buffer, reading: AsyncGenerator<Buffer>): AsyncGenerator<Buffer> {
  if (line.length > 0) yield line
  yield* reading
}
