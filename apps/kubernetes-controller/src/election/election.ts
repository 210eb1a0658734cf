/** Of several processes one works at a time, by a Lease that they share: {@link whileElected}. */
import { abortReason, pause } from '@muster/provider-parts/waiting'
import type { Leases, LeaseObject } from './leases.ts'

/** A time in which this process is the one that works. */
export interface Term {
  /** Aborts with {@link TermOver}, or as the caller's own. */
  readonly signal: AbortSignal
  /** Throws once the term is over by the clock, also where a process that was frozen has not heard of it yet. */
  check(): void
}

export class TermOver extends Error {
  override readonly name = 'TermOver'
}

export interface Times {
  /** Nobody else begins sooner after the last renewal that he has seen. */
  leaseMs: number
  /** Who has not renewed for so long stops. Less than the lease, for what is on its way still. */
  deadlineMs: number
  retryMs: number
}

/** client-go's: a process that dies is followed within a quarter of a minute, and 30 requests a minute cost little. */
const TIMES: Times = { leaseMs: 15_000, deadlineMs: 10_000, retryMs: 2_000 }

export interface ElectionOptions {
  leases: Leases
  /** Tells this process from all others, those before it too. */
  identity: string
  signal: AbortSignal
  onFailure: (error: unknown) => void
  times?: Times
  /** Milliseconds of a clock that never goes back. */
  clock?: () => number
}

/**
 * Waits until nobody else has the lease, then works; the term ends with the work, with the signal, or when it cannot be renewed in time: then
 * this rejects with {@link TermOver}, once the work has ended. Clocks of other machines are not compared: what counts is how long the lease
 * was seen unchanged. The scheme is that of client-go: https://pkg.go.dev/k8s.io/client-go/tools/leaderelection
 */
export async function whileElected(options: ElectionOptions, work: (term: Term) => Promise<void>): Promise<void> {
  const { leases, identity, signal, onFailure, times = TIMES, clock = () => performance.now() } = options
  let mine = await acquire()
  const over = new AbortController()
  const either = AbortSignal.any([signal, over.signal])
  /** From before the request on: the others count from when they see it. */
  let until = mine.began + times.deadlineMs
  const term: Term = {
    signal: either,
    check() {
      either.throwIfAborted()
      if (clock() < until) return
      end()
      throw abortReason(over.signal)
    },
  }
  const renewing = renew()
  try {
    await work(term)
    either.throwIfAborted()
  } catch (error) {
    // What ended with the term has failed of nothing else.
    either.throwIfAborted()
    throw error
  } finally {
    end()
    await renewing
    // Who is late leaves it: it may be another's by now.
    if (clock() < until) await release().catch(() => {})
  }

  function end(): void {
    over.abort(new TermOver('the lease could not be renewed in time: another one may work now'))
  }

  async function acquire(): Promise<{ lease: LeaseObject; began: number }> {
    let seen: { version: string | undefined; at: number } | undefined
    for (;;) {
      signal.throwIfAborted()
      const began = clock()
      try {
        const lease = await leases.read(signal)
        const version = lease?.metadata.resourceVersion
        if (seen === undefined || seen.version !== version) seen = { version, at: began }
        const free = (lease?.spec.holderIdentity ?? '') === '' || clock() - seen.at >= times.leaseMs
        if (free) return { lease: await leases.take(lease, { identity, seconds: times.leaseMs / 1000 }, signal), began }
      } catch (error) {
        signal.throwIfAborted()
        onFailure(error)
      }
      await pause(times.retryMs, signal)
    }
  }

  async function renew(): Promise<void> {
    let timer = setTimeout(end, until - clock())
    try {
      for (;;) {
        await pause(times.retryMs, either)
        const began = clock()
        try {
          mine = { lease: await leases.renew(mine.lease, either), began }
          until = began + times.deadlineMs
          clearTimeout(timer)
          timer = setTimeout(end, until - clock())
        } catch (error) {
          either.throwIfAborted()
          onFailure(error)
          // Somebody wrote it: what is in it now says whether it is still ours.
          const now = await leases.read(either).catch(() => undefined)
          if (now !== undefined && now.spec.holderIdentity !== identity) return end()
          if (now !== undefined) mine.lease = now
        }
      }
    } catch {
      // The term is over.
    } finally {
      clearTimeout(timer)
    }
  }

  async function release(): Promise<void> {
    await leases.release(mine.lease, AbortSignal.timeout(times.retryMs))
  }
}
