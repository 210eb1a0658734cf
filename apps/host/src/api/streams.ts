/** Answers that last: paced by their reader, ended with their connection or its token, and never more than a few at once. */
import { Readable } from 'node:stream'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { worthless } from './access.ts'
import type { StreamPlaces } from './doors.ts'
import { ApiProblem } from './problems.ts'
import type { TokenEnds } from './token-ends.ts'

/** A proxy or a NAT forgets a silent connection after about a minute; a client that hears nothing for longer connects anew. */
const BEAT_MS = 15_000
/** What waits in memory for a slow reader, beside the socket's own buffers. */
const BUFFER_BYTES = 65_536

export interface Streams {
  /** Aborts when the client is gone, when the answer has been sent, when its token is worthless, or when the server stops. */
  signalOf(reply: FastifyReply): AbortSignal
  /** Sends what `source` gives, as slowly as the client takes it. `source` ends early when its signal aborts. */
  send(reply: FastifyReply, stream: Outgoing): FastifyReply
  /** A place for what must have one before it is begun: to be given to `send`, or back. Error: `rate-limited`. */
  take(reply: FastifyReply): () => void
  /** Ends all: what follows them gets no orderly end, so that a client knows that it was cut off. */
  stop(): void
  count(): number
}

export interface Outgoing {
  type: string
  source(signal: AbortSignal): AsyncIterable<Uint8Array>
  headers?: Record<string, string>
  /** Absent: one is taken now. */
  place?: () => void
}

export interface StreamOptions extends StreamPlaces {
  ends: TokenEnds
  /** Did the request come through the unix socket? */
  isLocal(request: FastifyRequest): boolean
}

export function streams({ most, kept, ends, isLocal }: StreamOptions): Streams {
  const stopping = new AbortController()
  /** Of those over TCP, by caller. */
  const held = new Map<string, number>()
  const open = { remote: 0, local: 0 }
  const count = (): number => open.remote + open.local

  /** Takes a place, or throws `rate-limited`; returns what gives it back. */
  function enter(request: FastifyRequest): () => void {
    const left = most + kept - count()
    if (isLocal(request)) {
      if (left <= 0) throw noRoom(`${count()} streams are open already`)
      open.local += 1
      return () => (open.local -= 1)
    }
    const who = request.principal?.name ?? `worker ${request.agent?.id ?? ''}`
    const own = held.get(who) ?? 0
    // As many as are free (Choudhury and Hahne, dynamic queue length thresholds): one alone has half of them, and whoever comes
    // always finds some.
    const free = Math.min(left, most - open.remote)
    if (own >= free)
      throw noRoom(
        free <= 0 ? `${count()} streams are open already` : `${who} has ${own} streams open, and ${free} are left for all others`,
      )
    held.set(who, own + 1)
    open.remote += 1
    return () => {
      open.remote -= 1
      const rest = (held.get(who) ?? 1) - 1
      if (rest > 0) held.set(who, rest)
      else held.delete(who)
    }
  }

  function signalOf(reply: FastifyReply): AbortSignal {
    const gone = new AbortController()
    const token = reply.request.principal?.token
    const leave = token === undefined ? undefined : ends.follow(token, () => gone.abort(worthless()))
    const end = (): void => {
      leave?.()
      gone.abort(new ApiProblem('stopping', 'the client is gone'))
    }
    if (reply.raw.destroyed) end()
    else reply.raw.once('close', end)
    return AbortSignal.any([gone.signal, stopping.signal])
  }

  return {
    signalOf,
    take: (reply) => enter(reply.request),
    send(reply, { type, source, headers = {}, place }) {
      const leave = place ?? enter(reply.request)
      const done = new AbortController()
      const signal = AbortSignal.any([signalOf(reply), done.signal])
      const body = Readable.from(whole(source(signal), signal), { objectMode: false, highWaterMark: BUFFER_BYTES })
      body.once('close', () => {
        leave()
        done.abort(new Error('the answer has ended'))
      })
      // Also while the source waits for something: the connection's end must not wait for that.
      signal.addEventListener('abort', () => body.destroy(), { once: true })
      return reply.header('cache-control', 'no-store').header('x-accel-buffering', 'no').headers(headers).type(type).send(body)
    },
    // As a problem: what waits for a change answers it, and the client asks again.
    stop: () => stopping.abort(new ApiProblem('stopping', 'the daemon is stopping', { retryAfterMs: 1000 })),
    count,
  }
}

function noRoom(message: string): ApiProblem {
  return new ApiProblem('rate-limited', message, {
    hint: 'Close some, or give each machine a token of its own; the unix socket has places of its own.',
    retryAfterMs: 1000,
  })
}

/** A source that returned because its signal aborted has not come to its end, and must not look so. */
async function* whole(source: AsyncIterable<Uint8Array>, signal: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
  yield* source
  signal.throwIfAborted()
}

/** What `items` gives, and `beat` whenever it was silent for {@link BEAT_MS}. Takes the next item only when the last was taken. */
export async function* withBeats<T>(
  items: AsyncIterable<T>,
  beat: T,
  everyMs: number = BEAT_MS,
): AsyncGenerator<T, void, undefined> {
  const iterator = items[Symbol.asyncIterator]()
  try {
    for (;;) {
      const next = iterator.next()
      next.catch(() => undefined)
      for (;;) {
        const silent = Promise.withResolvers<undefined>()
        const timer = setTimeout(() => silent.resolve(undefined), everyMs)
        const first = await Promise.race([next, silent.promise]).finally(() => clearTimeout(timer))
        if (first === undefined) {
          yield beat
          continue
        }
        if (first.done === true) return
        yield first.value
        break
      }
    }
  } finally {
    // Not awaited: a source that hangs must not hold its reader.
    void iterator.return?.()?.catch(() => undefined)
  }
}
