/** How many may come in at once: a connection is an open file, and so is the log that a stream reads. What is beyond is told so. */
import { readFileSync } from 'node:fs'
import type { Server } from 'node:http'
import { Server as TlsServer } from 'node:https'
import type { Socket } from 'node:net'
import { networkOf } from './limits.ts'

/** Why a connection gets no more than a word: there are too many, or too many from where it comes. */
export type Crowd = 'all' | 'address'

export interface DoorLimits {
  /** Over TCP at once; never more than the open files allow. */
  connections?: number
  /** Of these from one address; of IPv6 from one network of 2^64. */
  connectionsPerAddress?: number
}

export interface StreamPlaces {
  /** Over TCP. */
  most: number
  /** Beside them, for the unix socket alone. */
  kept: number
}

export interface Doors {
  /** Answers that may stream at once. */
  readonly streams: StreamPlaces
  /** Counts the connections of the TCP server from now on. */
  watch(server: Server): void
  /** Counts those of the unix socket. It is the operator's way in: callers over TCP never have all places. */
  watchLocal(server: Server): void
  /** Did this connection come when its places were taken? Its requests are answered with a word, and that is all. */
  crowdOf(socket: Socket): Crowd | undefined
}

/** For the store, plugins, logs that are written, and what Node itself has open. */
const OWN_FILES = 96
/** Each holds a socket and a few buffers; more at once than any real use of one daemon. */
const MOST_STREAMS = 2000
/** An operator follows a few runs, and often more in a pipeline of his own. */
const KEPT_STREAMS = 250
/** Twice what one token may have under way: with what is read and written for each, some hundred MiB. */
const MOST_CONNECTIONS = 10_000
/** Told at once that there is no room. A word is soon said: more of them is a flood, and is closed unread. */
const MOST_WORDS = 1000
/** Of these to one address. */
const MOST_WORDS_EACH = 64
/** Where nobody says how many files may be open. */
const USUAL_FILES = 1024

export function doorsOf(files: number = openFileLimit(), given: DoorLimits = {}): Doors {
  const room = Math.max(40, files - OWN_FILES)
  // An eighth at either door is for telling the others that there is no room; of the rest each may open a file at the same time.
  const eighth = Math.floor(room / 8)
  const words = Math.min(MOST_WORDS, eighth)
  const places = Math.floor((room - 2 * eighth) / 2)
  const remote = Math.floor(places * 0.8)
  const all = Math.min(given.connections ?? MOST_CONNECTIONS, remote)
  // One that takes all it can get leaves some to the others, and many may stand behind one address.
  const each = Math.min(given.connectionsPerAddress ?? Math.max(1, Math.floor(all * 0.75)), all)
  const wordsEach = Math.min(MOST_WORDS_EACH, words)
  const crowded = new WeakMap<Socket, Crowd>()
  const held = new Map<string, number>()
  const open = { remote: 0, local: 0 }

  /** From the first byte on: who shakes no hands holds a connection as well. */
  function hold(socket: Socket): void {
    const from = networkOf(socket.remoteAddress ?? '')
    const count = (held.get(from) ?? 0) + 1
    if (count > each + wordsEach) {
      socket.destroy()
      return
    }
    held.set(from, count)
    socket.once('close', () => {
      const left = (held.get(from) ?? 1) - 1
      if (left > 0) held.set(from, left)
      else held.delete(from)
    })
  }

  function greet(socket: Socket, door: keyof typeof open): void {
    if (socket.destroyed) return
    const full = open.remote + open.local >= places || (door === 'remote' && open.remote >= all)
    const often = door === 'remote' && (held.get(networkOf(socket.remoteAddress ?? '')) ?? 0) > each
    if (full || often) {
      crowded.set(socket, often ? 'address' : 'all')
      return
    }
    open[door] += 1
    socket.once('close', () => (open[door] -= 1))
  }

  return {
    streams: {
      most: Math.min(MOST_STREAMS, Math.floor(remote * 0.8)),
      kept: Math.min(KEPT_STREAMS, Math.floor((places - remote) * 0.8)),
    },
    crowdOf: (socket) => crowded.get(socket),
    watch: (server) => {
      server.maxConnections = all + words
      server.on('connection', hold)
      // Over TLS the request has the socket that is inside the other one.
      server.on(server instanceof TlsServer ? 'secureConnection' : 'connection', (socket: Socket) => greet(socket, 'remote'))
    },
    watchLocal: (server) => {
      server.maxConnections = places + words
      server.on('connection', (socket) => greet(socket, 'local'))
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
