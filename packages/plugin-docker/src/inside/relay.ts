/**
 * A way to a port of a worker where nobody here reaches the engine's bridge: a program of the worker's own image connects to the port from inside,
 * and its input and output are the stream. An engine's connection ends in one direction alone, so that each side may end first.
 */
import { randomBytes } from 'node:crypto'
import type { WorkerId } from '@muster/core'
import { ProviderError } from '@muster/core'
import { type Engine, toFailure } from '../client.ts'
import { containerPath } from '../labels.ts'
import { feed } from './exec.ts'
import { createFrameReader } from '../engine/frames.ts'
import { exitCodeOf, programState, runProgram } from '../engine/programs.ts'
import { pause } from '@muster/provider-parts/waiting'

export interface Relay {
  engine: Engine
  id: WorkerId
}

export interface RelayTo {
  host: string
  port: number
  input: AsyncIterable<Uint8Array>
}

/** The image has none of the programs; as shells say it. */
const NO_PROGRAM = 127

const NODE = `const s = require("node:net").connect({ host: process.argv[1], port: Number(process.argv[2]), allowHalfOpen: true })
s.once("connect", () => { process.stdin.pipe(s); s.pipe(process.stdout); s.once("end", () => process.stdin.destroy()) })
s.once("error", () => process.exit(1))`

const PYTHON = `import os, socket, sys, threading
s = socket.create_connection((sys.argv[1], int(sys.argv[2])))
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

/** From HOST and PORT to a connection. BusyBox's nc ends its half after its input; others want a word for that which it does not know. */
const CONNECT = `
has() { command -v "$1" >/dev/null 2>&1; }
if has nc && nc --help 2>&1 | grep -q BusyBox; then exec nc "$1" "$2"; fi
if has node; then exec node -e '${NODE}' "$1" "$2"; fi
if has python3; then exec python3 -c '${PYTHON}' "$1" "$2"; fi
exit ${NO_PROGRAM}`

/** From MARK: ends whatever has it in its environment. A pid alone may be another program's by then. */
const END = `
for p in /proc/[0-9]*; do
  if grep -q "$1" "$p/environ" 2>/dev/null; then kill -KILL "\${p#/proc/}"; fi
done`

/** An engine may still be about to start it; one that is too busy for that by then is asked no more. */
const END_MS = 20_000
const END_AGAIN_MS = 200

/** What comes from the port, until it ends. */
export async function* relayPort(
  { engine, id }: Relay,
  { host, port, input }: RelayTo,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const mark = `MUSTER_RELAY=${randomBytes(12).toString('hex')}`
  const body = {
    Cmd: ['/bin/sh', '-c', CONNECT, 'sh', host, String(port)],
    Env: [mark],
    ...{ AttachStdin: true, AttachStdout: true, AttachStderr: true, Tty: false },
  }
  const { Id: exec } = await engine.json<{ Id: string }>({ method: 'POST', path: `${containerPath(id)}/exec`, body, signal })
  const start = { Detach: false, Tty: false }
  const connection = await engine.hijack({ method: 'POST', path: `/exec/${exec}/start`, body: start, signal })
  void feed(connection, input)
  const reader = createFrameReader()
  let answered = false
  let ended = false
  try {
    for await (const chunk of connection)
      for (const { stream, data } of reader.push(chunk as Buffer)) {
        if (stream === 'stderr') continue
        answered = true
        yield data
      }
    reader.end()
    ended = true
  } catch (error) {
    throw toFailure(error)
  } finally {
    connection.destroy()
    // Nobody waits for that, and with its worker it ends anyway.
    if (!ended) endRelay({ engine, id }, { exec, mark }).catch(() => {})
  }
  const code = await exitCodeOf(engine, exec, signal)
  if (code === 0) return
  if (answered) throw new ProviderError('transient', `the connection to port ${port} was lost`)
  // The engine's own word for an image without a shell is the same.
  if (code === NO_PROGRAM || code === 126)
    throw new ProviderError('unsupported', 'over TLS a port is reached by a program of the image: it has none', {
      ...{ effect: 'none', path: 'port' },
      hint: 'Use an image with /bin/sh and one of node, python3 or BusyBox, or reach the engine by `ssh`.',
    })
  throw new ProviderError('transient', `nothing answers at port ${port} of the worker`, {
    effect: 'none',
    hint: 'Start the server first.',
  })
}

/** Without its input it would only end its own half, and the other side may never end. */
async function endRelay({ engine, id }: Relay, { exec, mark }: { exec: string; mark: string }): Promise<void> {
  const signal = AbortSignal.timeout(END_MS)
  for (;;) {
    const { ExitCode, Running } = await programState(engine, exec, signal)
    if (!Running && ExitCode !== null) return
    // A worker that stands still, or is full of programs, takes no other now.
    await runProgram({ engine, path: containerPath(id), argv: ['/bin/sh', '-c', END, 'sh', mark], signal }).catch(() => {})
    await pause(END_AGAIN_MS, signal)
  }
}
