/** A command in a container, or what runs there already, over one connection: input, output, size, and an end that is known or said to be lost. */
import type { V1Status } from '@kubernetes/client-node/dist/gen/models/V1Status.js'
import { calls, pathOf } from './calls.ts'
import { type Channels, type Limits, openChannels, SEND_SIZE } from './channels.ts'
import { ApiFailure, refusalInside } from './failure.ts'
import type { Transport } from './transport.ts'

export interface StreamTarget {
  namespace: string
  pod: string
  container: string
  /** Absent: attach to the container's own process. */
  command?: readonly string[]
  tty?: boolean
  /** Its end is the end of the command's input. */
  stdin?: AsyncIterable<Uint8Array>
  /** Its abort ends the connection; the command itself, without a terminal, goes on. */
  signal: AbortSignal
  limits?: Partial<Limits>
}

export interface OutputChunk {
  stream: 'stdout' | 'stderr'
  data: Buffer
}

export interface StreamSession {
  /** Ends with the command; rejects when the connection is lost. To be read by one: the command waits for a reader that does not read. */
  output: AsyncIterable<OutputChunk>
  /**
   * The exit code, once the output is read. Rejects with an ApiFailure: the server's refusal (as of a program that does not exist), or `LOST`
   * when the connection ended before the command's end was told, which then nobody here knows.
   */
  exit: Promise<number>
  /** Of the terminal, in characters. */
  resize(size: { columns: number; rows: number }): Promise<void>
  close(): void
}

/** https://kubernetes.io/docs/reference/using-api/websocket/#protocols: the fifth can end the input, the fourth cannot. */
const WITH_END = 'v5.channel.k8s.io'
const WITHOUT_END = 'v4.channel.k8s.io'
const STDIN = 0
const STDOUT = 1
const STDERR = 2
const STATUS = 3
const RESIZE = 4
const END = 255

export async function openStream(transport: Transport, target: StreamTarget): Promise<StreamSession> {
  const { namespace, pod, container, command, tty = false, stdin, signal, limits } = target
  const call = command === undefined ? calls.attach : calls.exec
  const channels = await openChannels(transport, {
    path: pathOf(call, { namespace, name: pod }),
    query: { container, command, tty, stdin: stdin !== undefined, stdout: true, stderr: !tty },
    protocols: [WITH_END, WITHOUT_END],
    signal,
    ...(limits === undefined ? {} : { limits }),
  })
  if (stdin !== undefined && channels.protocol !== WITH_END) {
    channels.close()
    throw new ApiFailure('an input that ends needs Kubernetes 1.30 or newer', { status: 415, sent: true })
  }
  if (stdin !== undefined) void feed(channels, stdin)
  const exit = Promise.withResolvers<number>()
  exit.promise.catch(() => {})
  return {
    output: readOutput(channels, exit),
    exit: exit.promise,
    resize: ({ columns, rows }) => channels.send(RESIZE, Buffer.from(JSON.stringify({ Width: columns, Height: rows }))),
    close() {
      channels.close()
      exit.reject(lost('closed here'))
    },
  }
}

async function* readOutput(channels: Channels, exit: PromiseWithResolvers<number>): AsyncGenerator<OutputChunk> {
  let linger: NodeJS.Timeout | undefined
  let told = false
  try {
    for await (const { channel, data } of channels.frames()) {
      linger?.refresh()
      if (channel === STATUS && data.length > 0) {
        told = true
        settle(data, exit)
        // What a slow reader has not taken yet is still with the socket.
        linger = setTimeout(() => (channels.isHeld() ? linger?.refresh() : channels.close()), channels.limits.lingerMs)
      } else if ((channel === STDOUT || channel === STDERR) && data.length > 0)
        yield { stream: channel === STDOUT ? 'stdout' : 'stderr', data }
    }
    if (!told) throw lost('the connection ended before the command did')
  } catch (error) {
    // Closed by the linger: everything was said.
    if (told && error instanceof ApiFailure && error.code === 'CLOSED') return
    exit.reject(error)
    throw error
  } finally {
    clearTimeout(linger)
    channels.close()
    exit.reject(lost('its output was not read to the end'))
  }
}

function settle(data: Buffer, exit: PromiseWithResolvers<number>): void {
  try {
    const status = JSON.parse(data.toString('utf8')) as V1Status
    const code = codeOf(status)
    if (code === undefined) exit.reject(refusalInside(status))
    else exit.resolve(code)
  } catch {
    exit.reject(new ApiFailure('the end of the command was told in no known words', { code: 'BAD_ANSWER', sent: true }))
  }
}

function codeOf({ status, reason, details }: V1Status): number | undefined {
  if (status === 'Success') return 0
  if (reason !== 'NonZeroExitCode') return undefined
  const code = Number(details?.causes?.find((cause) => cause.reason === 'ExitCode')?.message)
  return Number.isInteger(code) ? code : undefined
}

function lost(message: string): ApiFailure {
  return new ApiFailure(message, { code: 'LOST', sent: true })
}

/** The reader of the output hears of a lost connection; an input that fails ends it, since half of it looks like all of it. */
async function feed(channels: Channels, input: AsyncIterable<Uint8Array>): Promise<void> {
  try {
    for await (const chunk of input) {
      for (let at = 0; at < chunk.length; at += SEND_SIZE) await channels.send(STDIN, chunk.subarray(at, at + SEND_SIZE))
    }
    await channels.send(END, Buffer.of(STDIN))
  } catch {
    channels.close()
  }
}
