/** A command at a terminal: `application/vnd.muster.terminal`, as the API describes it. */
import type { IncomingMessage } from 'node:http'
import type { Caller } from './call.ts'
import type { MusterClient } from './muster-client.ts'
import { fromProblem, MusterError } from './errors.ts'
import type { ExecRequest, Problem, Run } from './generated/api.ts'

const TYPE = 'application/vnd.muster.terminal'
const HEAD_BYTES = 5
/** The host takes no larger one. */
const FRAME_BYTES = 65_536
/** What the host shows comes in chunks of the contract, and its end is a few sentences. */
const SHOWN_BYTES = 1_048_576

const up = { begin: 0, typed: 1, size: 2, end: 3 } as const
const down = { shown: 1, end: 2 } as const

/** In characters. */
export interface TerminalSize {
  columns: number
  rows: number
}

export interface TerminalRequest extends TerminalSize, Pick<ExecRequest, 'command' | 'env' | 'workdir' | 'user'> {
  /** Is anything typed? Without it the command reads end-of-file. */
  stdin?: boolean
  /** What somebody does at the terminal: bytes that are typed, and other sizes. Its end is the end of the input. */
  input: AsyncIterable<Uint8Array | TerminalSize>
}

export interface Terminal {
  /** What it shows. */
  output: AsyncIterable<Uint8Array>
  /** Once the output has ended. */
  exit(): NonNullable<Run['exit']>
}

/** The daemon lets none last longer. Its beats are not heard while nobody reads what is shown, as behind a pager. */
const LONGEST_MS = 43_200_000
/** The daemon gives up a command that does not begin within a minute. */
const BEGIN_MS = 120_000

export function terminalOf(caller: Caller): Pick<MusterClient['workers'], 'terminal'> {
  return {
    async terminal(id, { input, signal, ...begin }) {
      const answer = await caller.open('openTerminal', {
        params: { id },
        headers: { 'content-type': TYPE, accept: TYPE },
        stream: () => sent(begin, input),
        duplex: true,
        silenceMs: LONGEST_MS,
        headMs: BEGIN_MS,
        ...(signal === undefined ? {} : { signal }),
      })
      return shown(answer, signal)
    },
  }
}

async function* sent(begin: object, input: TerminalRequest['input']): AsyncGenerator<Uint8Array> {
  yield frame(up.begin, Buffer.from(JSON.stringify(begin)))
  for await (const one of input) {
    if (!(one instanceof Uint8Array)) yield frame(up.size, Buffer.from(JSON.stringify(one)))
    else for (let at = 0; at < one.length; at += FRAME_BYTES) yield frame(up.typed, one.subarray(at, at + FRAME_BYTES))
  }
  yield frame(up.end, new Uint8Array(0))
}

function frame(kind: number, data: Uint8Array): Uint8Array {
  const head = Buffer.alloc(HEAD_BYTES)
  head.writeUInt8(kind)
  head.writeUInt32BE(data.length, 1)
  return Buffer.concat([head, data])
}

function shown(answer: IncomingMessage, signal?: AbortSignal): Terminal {
  let exit: NonNullable<Run['exit']> | undefined

  async function* output(): AsyncGenerator<Uint8Array, void, undefined> {
    let rest = Buffer.alloc(0)
    for await (const chunk of whileOpen(answer, signal)) {
      rest = Buffer.concat([rest, chunk])
      while (rest.length >= HEAD_BYTES) {
        const length = rest.readUInt32BE(1)
        if (length > SHOWN_BYTES) throw new MusterError('protocol', 'the terminal is not in the form of this API')
        if (rest.length < HEAD_BYTES + length) break
        const kind = rest.readUInt8()
        const data = rest.subarray(HEAD_BYTES, HEAD_BYTES + length)
        rest = rest.subarray(HEAD_BYTES + length)
        if (kind === down.shown) yield data
        if (kind === down.end) exit = exitIn(data.toString())
      }
    }
    if (exit === undefined) throw cutOff()
  }

  return {
    output: output(),
    exit() {
      if (exit === undefined) throw new MusterError('protocol', 'the terminal has not ended')
      return exit
    },
  }
}

async function* whileOpen(answer: IncomingMessage, signal?: AbortSignal): AsyncGenerator<Buffer, void, undefined> {
  try {
    yield* answer as AsyncIterable<Buffer>
  } catch (cause) {
    // Who gives up by himself hears his own reason.
    signal?.throwIfAborted()
    throw cutOff({ cause })
  }
}

function cutOff(why?: { cause: unknown }): MusterError {
  return new MusterError('unreachable', 'the connection to the terminal was cut off', {
    hint: 'What ran there has ended with it. The daemon was stopped, or the token was revoked or ran out.',
    ...why,
  })
}

function exitIn(text: string): NonNullable<Run['exit']> {
  let end: { exit?: NonNullable<Run['exit']>; problem?: Problem }
  try {
    end = JSON.parse(text) as typeof end
  } catch (cause) {
    throw new MusterError('protocol', 'the terminal ends in another form than that of this API', { cause })
  }
  if (end.problem !== undefined) throw fromProblem(end.problem.status, JSON.stringify(end.problem), undefined)
  return end.exit ?? { reason: 'nothing was told' }
}
