/**
 * How much one caller may ask: requests in a second and at once for each principal and for the agent of each worker, and failures to say
 * who one is for each address. Token buckets: a burst is free, then as many as flow in.
 */
import { isIPv6 } from 'node:net'
import { ApiProblem } from './problems.ts'

interface Share {
  /** Requests: so many at once from rest, and so many in each second after that. */
  burst: number
  perSecond: number
  /** Requests that have no whole answer yet; long polls and streams too. */
  inFlight: number
}

/** With the share of one principal. */
export interface LimitOptions extends Share {
  /** Of the agent in one worker. */
  workers: Share
  /** In which a body that is held in memory must come. */
  bodyMs: number
  /** Of one address, for requests with no valid token. */
  failures: { burst: number; perSecond: number }
  now: () => number
}

/**
 * For a thousand clients behind one token: `muster run` makes about six requests, two of which last, and all thousand may start in the same
 * second. More than the rate is a client in a loop. Failures: enough for a person and a misconfigured farm, and a guesser of 256 bits gets
 * nowhere. An agent asks for a run, beats, and sends pieces of output one after the other; it runs code of anybody, and each of its bodies
 * may take a MiB here. A minute for that MiB is a line of 140 kbit/s.
 */
const defaults: LimitOptions = {
  burst: 10_000,
  perSecond: 2000,
  inFlight: 5000,
  workers: { burst: 500, perSecond: 50, inFlight: 16 },
  bodyMs: 60_000,
  failures: { burst: 100, perSecond: 1 },
  now: () => performance.now(),
}
/** Callers that are remembered; those at rest are forgotten first. */
const MOST_CALLERS = 10_000

export interface Limits {
  /** Counts a request of a principal. Returns what to call when its answer is over. Throws `rate-limited`. */
  enter(principal: string): () => void
  /** As enter, for the agent in a worker. */
  enterWorker(id: string): () => void
  /** Throws `rate-limited` when too many failures came from there. */
  checkAddress(address: string): void
  /** Counts a failure. */
  failed(address: string): void
  /** In which a body that is held in memory must come. */
  readonly bodyMs: number
}

export function limits(given: Partial<LimitOptions> = {}): Limits {
  const options = { ...defaults, ...given }
  const { now } = options
  const failures = buckets(options.failures, now)
  const enter = callers(options, { now, hint: 'Ask less often: wait for a run instead of polling it.' })
  const enterWorker = callers(options.workers, { now, hint: 'Send output in larger pieces, and let a heartbeat wait.' })

  return {
    bodyMs: options.bodyMs,
    enter,
    enterWorker: (id) => enterWorker(`worker:${id}`),
    checkAddress(address) {
      const waitMs = failures.wait(networkOf(address))
      if (waitMs > 0)
        throw new ApiProblem('rate-limited', 'too many requests without a valid token came from this address', {
          hint: 'Mend the token of whoever asks from there.',
          retryAfterMs: waitMs,
        })
    },
    failed(address) {
      failures.take(networkOf(address))
    },
  }
}

/** Counts requests by who makes them. */
function callers(options: Share, { now, hint }: { now: () => number; hint: string }): Limits['enter'] {
  const requests = buckets(options, now)
  const inFlight = new Map<string, number>()

  return (principal) => {
    const waitMs = requests.take(principal)
    if (waitMs > 0)
      throw new ApiProblem('rate-limited', `${principal} asks more than ${options.perSecond} times in a second`, {
        hint,
        retryAfterMs: waitMs,
      })
    const before = inFlight.get(principal) ?? 0
    if (before >= options.inFlight)
      throw new ApiProblem('rate-limited', `${principal} waits for ${before} answers already`, { retryAfterMs: 1000 })
    inFlight.set(principal, before + 1)
    let over = false
    return () => {
      if (over) return
      over = true
      const left = (inFlight.get(principal) ?? 1) - 1
      if (left > 0) inFlight.set(principal, left)
      else inFlight.delete(principal)
    }
  }
}

interface Buckets {
  /** Takes one; 0, or milliseconds until there is one. */
  take(key: string): number
  /** As take, and leaves it there. */
  wait(key: string): number
}

/** By the generic cell rate algorithm (ITU-T I.371): of each caller only the instant at which its bucket is full again. */
function buckets({ burst, perSecond }: { burst: number; perSecond: number }, now: () => number): Buckets {
  const fullAt = new Map<string, number>()
  const everyMs = 1000 / perSecond

  function wait(key: string): number {
    return Math.max(0, Math.ceil((fullAt.get(key) ?? 0) - now() - (burst - 1) * everyMs))
  }

  return {
    wait,
    take(key) {
      const waitMs = wait(key)
      if (waitMs > 0) return waitMs
      const next = Math.max(fullAt.get(key) ?? 0, now()) + everyMs
      // Anew, so that the least recent stands first: most of those are full again, and a full one says nothing.
      fullAt.delete(key)
      fullAt.set(key, next)
      if (fullAt.size > MOST_CALLERS) fullAt.delete(fullAt.keys().next().value ?? '')
      return 0
    },
  }
}

/** Whoever has one address of IPv6 has the 2^64 beside it as well. */
export function networkOf(address: string): string {
  const plain = address.replace(/^::ffff:(?=\d+\.)/, '')
  if (!isIPv6(plain)) return plain
  const [head = '', tail] = plain.split('::')
  const front = head.split(':')
  const back = tail === undefined || tail === '' ? [] : tail.split(':')
  const zeros = tail === undefined ? 0 : 8 - front.length - back.length
  return [...front, ...Array<string>(Math.max(0, zeros)).fill('0'), ...back].slice(0, 4).join(':')
}
