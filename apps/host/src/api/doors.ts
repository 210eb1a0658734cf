/** How many may come in at once: a connection is an open file, and so is the log that a stream reads. What is beyond is told so. */
import { readFileSync } from 'node:fs'
import type { Server } from 'node:http'
import { Server as TlsServer } from 'node:https'
import type { Socket } from 'node:net'

export interface Doors {
  /** Answers that may stream at once. */
  readonly streams: number
  /** Counts the connections of a server from now on. */
  watch(server: Server): void
  /** Did this connection come when all others were taken? Its requests are answered with a word, and that is all. */
  isCrowded(socket: Socket): boolean
}

/** For the store, plugins, logs that are written, and what Node itself has open. */
const OWN_FILES = 96
/** Each holds a socket and a few buffers; more at once than any real use of one daemon. */
const MOST_STREAMS = 2000
/** Where nobody says how many files may be open. */
const USUAL_FILES = 1024

export function doorsOf(files: number = openFileLimit()): Doors {
  const room = Math.max(40, files - OWN_FILES)
  // A fifth is for telling the others that there is no room; of the rest each may open a file at the same time.
  const words = Math.floor(room / 5)
  const places = Math.floor((room - words) / 2)
  const crowded = new WeakSet<Socket>()
  let open = 0
  return {
    streams: Math.min(MOST_STREAMS, Math.floor(places * 0.8)),
    isCrowded: (socket) => crowded.has(socket),
    watch: (server) => {
      server.maxConnections = places + words
      // Over TLS the request has the socket that is inside the other one.
      server.on(server instanceof TlsServer ? 'secureConnection' : 'connection', (socket: Socket) => {
        open += 1
        if (open > places) crowded.add(socket)
        socket.once('close', () => (open -= 1))
      })
    },
  }
}

/** The soft limit of this process; Node has raised it to the hard one by itself. */
export function openFileLimit(): number {
  try {
    const found = /^Max open files\s+(\d+|unlimited)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1]
    return found === 'unlimited' ? 1_048_576 : Number(found ?? USUAL_FILES)
  } catch {
    return USUAL_FILES
  }
}
