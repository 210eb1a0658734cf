/**
 * A way to a port of a worker where each side may end first: a program of the worker's own image connects to the port from inside, and its input and
 * output are the stream.
 *
 * The input goes in pieces, each behind a line with its length, up to a piece of none. An input that ends before that was cut off: by a client that is
 * gone, or by a node, which may end a program's input before all of it has come through.
 */
import { randomBytes } from 'node:crypto'
import { ProviderError, type RawChunk, type RawExec, type RawExecSession } from '@muster/core'

export interface RelayTo {
  /** As the worker reaches it. */
  host: string
  port: number
  input: AsyncIterable<Uint8Array>
}

/** The image has none of the programs, or no shell; as shells and engines say it. */
const NO_PROGRAM: readonly (number | undefined)[] = [126, 127]
/** Nobody listens: none of the programs' own. */
const REFUSED = 61

/** A piece is a program's start where a shell takes them. */
const PIECE_BYTES = 65_536
const LAST_PIECE = '0\n'

/** Words: HOST, PORT. What was cut off is no end for the port: it is told by a reset. */
const NODE = `const { once } = require("node:events")
const s = require("node:net").connect({ host: process.argv[1], port: Number(process.argv[2]), allowHalfOpen: true })
let begun = false, over = false
const lost = () => {
  if (over) return
  if (s.resetAndDestroy) s.resetAndDestroy()
  process.exit(1)
}
const send = async () => {
  let line = "", left = 0
  for await (let d of process.stdin)
    while (d.length > 0)
      if (left > 0) {
        const part = d.subarray(0, left)
        d = d.subarray(part.length)
        left -= part.length
        if (!s.write(part)) await once(s, "drain")
      } else {
        const end = d.indexOf(10) + 1
        line += d.toString("latin1", 0, end || d.length)
        d = d.subarray(end || d.length)
        if (line === "0\\n") return s.end()
        if (end > 0) { left = Number(line); line = "" }
      }
  lost()
}
s.once("connect", () => {
  begun = true
  process.stdout.write("+\\n")
  send().catch(lost)
  s.pipe(process.stdout)
  s.once("end", () => { over = true; process.stdin.destroy(); s.destroy() })
})
s.on("error", () => over || process.exit(begun ? 1 : ${REFUSED}))`

/** As {@link NODE}. */
const PYTHON = `import os, socket, struct, sys, threading
try: s = socket.create_connection((sys.argv[1], int(sys.argv[2])))
except OSError: os._exit(${REFUSED})
os.write(1, b"+\\n")
def send():
    i = os.fdopen(0, "rb")
    while True:
        n = i.readline()
        if n == b"0\\n": break
        d = i.read(int(n or 0))
        if not n.endswith(b"\\n") or len(d) < int(n):
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os._exit(1)
        s.sendall(d)
    s.shutdown(socket.SHUT_WR)
threading.Thread(target=send, daemon=True).start()
try:
    while True:
        d = s.recv(65536)
        if not d: break
        while d: d = d[os.write(1, d):]
except OSError: os._exit(1)
os._exit(0)`

/** From MARK: ends what has it in its environment. A pid alone may be another program's by then. */
const END = `
for p in /proc/[0-9]*; do
  if grep -q "MUSTER_RELAY=$1" "$p/environ" 2>/dev/null; then kill -s KILL "\${p#/proc/}"; fi
done`

/**
 * Whether somebody listens at a port of the worker itself, asked before anything is sent. A node may keep to itself the end of a program that is over
 * in its first moment, with what it was sent meanwhile: one that finds nobody looks once more, and takes a second for it.
 */
const LISTENS = `
listens() {
  [ "$1" = 127.0.0.1 ] && [ -r /proc/net/tcp ] || return 0
  cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep -q ":$(printf %04X "$2") 0*:0000 0A "
}
listens "$1" "$2" || { sleep 1; listens "$1" "$2"; } || exit ${REFUSED}`

/**
 * From HOST, PORT and MARK to a connection, behind a line. BusyBox's nc ends its half with its input; others want a word for that which it does not
 * know. What takes the pieces for it says its own number first, and lives on until it is killed by that: without nc it would wait for more. Once there
 * is no more it ends nc, which would take what was cut off for a whole.
 */
const CONNECT = `
export MUSTER_RELAY="$3"
has() { command -v "$1" >/dev/null 2>&1; }
if has dd && has nc && nc --help 2>&1 | grep -q BusyBox; then
  end() { ${END}
  }
  take() {
    /bin/sh -c 'echo "$PPID"'
    while IFS= read -r _n; do
      if [ "$_n" = 0 ]; then exec >/dev/null; cat; break; fi
      dd bs="$_n" count=1 iflag=fullblock || break
    done
    while end "$1"; sleep 1; do :; done
  }
${LISTENS}
  echo +
  { exec 2>/dev/null; take "$3"; } | {
    IFS= read -r _t
    nc "$1" "$2"
    _c=$?
    kill -s KILL "$_t"
    [ $_c != 1 ] || exit ${REFUSED}
    exit $_c
  }
  exit
fi
if has node; then exec node -e '${NODE}' "$1" "$2"; fi
if has python3; then exec python3 -c '${PYTHON}' "$1" "$2"; fi
exit 127`

/** What cannot be asked by then is asked no more: the program ends with its worker. */
const END_MS = 30_000

/** What comes from the port, until it ends. Nothing of the input is taken before the program is there: without one it is `undefined`. */
export async function openRelay(
  raw: RawExec,
  { host, port, input }: RelayTo,
  signal: AbortSignal,
): Promise<AsyncGenerator<Uint8Array> | undefined> {
  const begun = Promise.withResolvers<void>()
  begun.promise.catch(() => undefined)
  const over = Promise.withResolvers<void>()
  const cut = new AbortController()
  async function* content(): AsyncGenerator<Uint8Array> {
    await begun.promise
    yield* inPieces(input)
    // The program ends by what it has read, and knows no other end.
    await over.promise
  }
  const close = (): void => {
    begun.reject(new Error('it did not begin'))
    over.resolve()
    cut.abort()
  }
  const mark = randomBytes(12).toString('hex')
  try {
    const session = await raw({
      argv: ['/bin/sh', '-c', CONNECT, 'sh', host, String(port), mark],
      stdin: content(),
      signal: AbortSignal.any([signal, cut.signal]),
    })
    session.exit.catch(() => undefined)
    const chunks = session.output[Symbol.asyncIterator]()
    const rest = await firstLine(chunks)
    if (rest !== undefined) {
      begun.resolve()
      return relayed({ chunks, rest, exit: session.exit })
    }
    const { code } = await session.exit
    if (NO_PROGRAM.includes(code)) {
      close()
      return undefined
    }
    if (code === REFUSED) throw nothingThere(port)
    throw new ProviderError('transient', `the program that reaches port ${port} of the worker ended with code ${code}`)
  } catch (error) {
    close()
    throw error
  }

  async function* relayed({ chunks, rest, exit }: Begun): AsyncGenerator<Uint8Array> {
    let answered = rest.length > 0
    let ended = false
    try {
      if (answered) yield rest
      for (let next = await chunks.next(); next.done !== true; next = await chunks.next()) {
        if (next.value.stream === 'stderr') continue
        answered = true
        yield next.value.data
      }
      const { code } = await exit
      ended = true
      if (code === 0) return
      if (code === REFUSED && !answered) throw nothingThere(port)
      throw new ProviderError('transient', `the connection to port ${port} was lost`)
    } finally {
      close()
      // Nobody waits for that. Most end with their input.
      if (!ended) endRelay(raw, mark).catch(() => undefined)
    }
  }
}

interface Begun {
  chunks: AsyncIterator<RawChunk>
  rest: Uint8Array
  exit: RawExecSession['exit']
}

async function* inPieces(input: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const chunk of input)
    for (let at = 0; at < chunk.length; at += PIECE_BYTES) {
      const piece = chunk.subarray(at, at + PIECE_BYTES)
      yield Buffer.concat([Buffer.from(`${piece.length}\n`), piece])
    }
  yield Buffer.from(LAST_PIECE)
}

/** What comes behind the line of a program that has begun; undefined: there is none, and the output has ended. */
async function firstLine(chunks: AsyncIterator<RawChunk>): Promise<Uint8Array | undefined> {
  let said = Buffer.alloc(0)
  for (let next = await chunks.next(); next.done !== true; next = await chunks.next()) {
    if (next.value.stream === 'stderr') continue
    // An engine's own words are not kept.
    said = Buffer.concat([said, next.value.data])
    if (said.toString('latin1', 0, 2) === '+\n') return said.subarray(2)
    if (said.length >= 2) said = said.subarray(0, 2)
  }
  return undefined
}

/** One that waits for a port which takes no more does not see that its input has ended. */
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
