/**
 * A way to a port of a worker that can end in one direction alone, which the API server's port-forward cannot: a program of the worker's own image
 * connects to the port from inside, and its input and output are the stream.
 */
import { randomBytes } from 'node:crypto'
import { ProviderError, type RawExec } from '@muster/core'
import { ApiFailure } from './api/failure.ts'
import { toKubernetesError } from './api/verdict.ts'

export interface RelayTo {
  port: number
  input: AsyncIterable<Uint8Array>
}

/** The image has none of the programs; as shells say it. */
const NO_PROGRAM = 127

const NODE = `const s = require("node:net").connect({ host: "127.0.0.1", port: Number(process.argv[1]), allowHalfOpen: true })
s.once("connect", () => { process.stdin.pipe(s); s.pipe(process.stdout); s.once("end", () => process.stdin.destroy()) })
s.once("error", () => process.exit(1))`

const PYTHON = `import os, socket, sys, threading
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
def send():
    while True:
        d = os.read(0, 65536)
        if not d: break
        s.sendall(d)
    s.shutdown(socket.SHUT_WR)
threading.Thread(target=send, daemon=True).start()
while True:
    d = s.recv(65536)
    if not d: break
    while d: d = d[os.write(1, d):]
os._exit(0)`

/** From PORT and MARK to a connection, after a line. BusyBox's nc ends its half after its input; others want a word for that which it does not know. */
const CONNECT = `
export MUSTER_RELAY="$2"
has() { command -v "$1" >/dev/null 2>&1; }
if has nc && nc --help 2>&1 | grep -q BusyBox; then echo +; exec nc 127.0.0.1 "$1"; fi
if has node; then echo +; exec node -e '${NODE}' "$1"; fi
if has python3; then echo +; exec python3 -c '${PYTHON}' "$1"; fi
exit ${NO_PROGRAM}`

/** From MARK: ends what has it in its environment, which may be about to begin. A pid alone may be another program's by then. */
const END = `
n=0
while [ $n -lt 10 ]; do
  for p in /proc/[0-9]*; do
    if grep -q "MUSTER_RELAY=$1" "$p/environ" 2>/dev/null; then kill -KILL "\${p#/proc/}" && n=10; fi
  done
  n=$((n + 1))
  [ $n -ge 10 ] || sleep 0.2 || sleep 1
done`

/** An API server that cannot be asked by then is asked no more: the program ends with its worker. */
const END_MS = 30_000

/** What comes from the port, until it ends. Nothing of the input is taken before the program is there: without one it is `undefined`. */
export async function openRelay(
  raw: RawExec,
  { port, input }: RelayTo,
  signal: AbortSignal,
): Promise<AsyncGenerator<Uint8Array> | undefined> {
  const begun = Promise.withResolvers<void>()
  begun.promise.catch(() => undefined)
  async function* gated(): AsyncGenerator<Uint8Array> {
    await begun.promise
    yield* input
  }
  const over = new AbortController()
  const mark = randomBytes(12).toString('hex')
  const session = await raw({
    argv: ['/bin/sh', '-c', CONNECT, 'sh', String(port), mark],
    stdin: gated(),
    signal: AbortSignal.any([signal, over.signal]),
  })
  session.exit.catch(() => undefined)
  const chunks = session.output[Symbol.asyncIterator]()
  const close = (): void => {
    begun.reject(new Error('it did not begin'))
    over.abort()
  }
  try {
    let first = Buffer.alloc(0)
    while (first.length < 2) {
      const next = await chunks.next()
      if (next.done === true) {
        const { code } = await session.exit
        close()
        if (code === NO_PROGRAM) return undefined
        throw new ProviderError('transient', `the program that reaches port ${port} of the worker ended with code ${code}`)
      }
      if (next.value.stream === 'stdout') first = Buffer.concat([first, next.value.data])
    }
    begun.resolve()
    return relayed(first.subarray(2))
  } catch (error) {
    close()
    if (isShellAbsent(error)) return undefined
    throw error
  }

  async function* relayed(rest: Buffer): AsyncGenerator<Uint8Array> {
    let answered = rest.length > 0
    let ended = false
    try {
      if (answered) yield rest
      for (let next = await chunks.next(); next.done !== true; next = await chunks.next()) {
        if (next.value.stream === 'stderr') continue
        answered = true
        yield next.value.data
      }
      const { code } = await session.exit
      ended = true
      if (code === 0) return
      if (answered) throw new ProviderError('transient', `the connection to port ${port} was lost`)
      throw nothingThere(port)
    } finally {
      close()
      // Nobody waits for that.
      if (!ended) endRelay(raw, mark).catch(() => undefined)
    }
  }
}

/** Without its input it would only end its own half, and the other side may never end. */
async function endRelay(raw: RawExec, mark: string): Promise<void> {
  const session = await raw({ argv: ['/bin/sh', '-c', END, 'sh', mark], signal: AbortSignal.timeout(END_MS) })
  session.exit.catch(() => undefined)
  for await (const _chunk of session.output);
}

export function nothingThere(port: number, cause?: unknown): ProviderError {
  return new ProviderError('transient', `nothing answers at port ${port} of the worker`, {
    effect: 'none',
    hint: 'Start the server first.',
    cause,
  })
}

function isShellAbsent(error: unknown): boolean {
  return error instanceof ApiFailure && toKubernetesError(error, { doing: 'reach it', mutates: false }).code === 'unsupported'
}
