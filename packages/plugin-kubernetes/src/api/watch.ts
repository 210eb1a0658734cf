/** One watch of a cluster: its events as they come, and an end when it has been silent for too long. */
import type { ApiCall, Place } from './calls.ts'
import { ApiFailure, refusalInside, toFailure } from './failure.ts'
import { readLines } from './lines.ts'
import type { ApiObject, Requests } from './requests.ts'

export interface WatchEvent<T> {
  type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK'
  object: T
}

export interface WatchWhat {
  call: ApiCall
  place: Place
  labelSelector?: string | undefined
  fieldSelector?: string | undefined
}

export interface WatchHow {
  resourceVersion: string
  /** The server ends it after that, which is no failure. */
  timeoutSeconds: number
  /** Silent for so long, bookmarks included: it counts as dead. */
  silenceMs: number
  signal: AbortSignal
}

/** An object is 1.5 MB at most, etcd's own bound; JSON escapes may double it. */
const MAX_EVENT = 4 * 1024 * 1024

const TYPES = new Set(['ADDED', 'MODIFIED', 'DELETED', 'BOOKMARK'])

/** Ends when the server does; rejects with an ApiFailure for a lost connection, silence, an ERROR event or what is no event. */
export async function* watchOnce<T extends ApiObject>(
  requests: Requests,
  what: WatchWhat,
  how: WatchHow,
): AsyncGenerator<WatchEvent<T>> {
  const { resourceVersion, timeoutSeconds, silenceMs, signal } = how
  const { call, place, labelSelector, fieldSelector } = what
  const query = { watch: true, allowWatchBookmarks: true, resourceVersion, timeoutSeconds, labelSelector, fieldSelector }
  const body = await requests.open(call, place, { signal, query })
  const timer = setTimeout(() => body.destroy(silenceError(silenceMs)), silenceMs)
  try {
    for await (const { bytes, whole } of readLines(body, MAX_EVENT)) {
      timer.refresh()
      // A server that goes in the middle of an event may end its answer in order; the event comes again.
      if (!whole) throw new ApiFailure('the watch ended inside an event', { code: 'BAD_ANSWER', sent: true })
      if (bytes.length > 0) yield read<T>(bytes)
    }
  } catch (error) {
    signal.throwIfAborted()
    throw toFailure(error)
  } finally {
    clearTimeout(timer)
    body.destroy()
  }
}

function silenceError(ms: number): ApiFailure {
  return new ApiFailure(`the watch was silent for ${ms / 1000} s`, { code: 'SILENT', sent: true })
}

function read<T>(bytes: Buffer): WatchEvent<T> {
  let event: { type?: unknown; object?: unknown }
  try {
    event = JSON.parse(bytes.toString('utf8')) as typeof event
  } catch (error) {
    throw new ApiFailure('an event that is not JSON', { code: 'BAD_ANSWER', sent: true, cause: error })
  }
  if (event?.type === 'ERROR') throw refusalInside(event.object)
  if (!TYPES.has(event?.type as string) || typeof event.object !== 'object' || event.object === null)
    throw new ApiFailure('an event of no known type', { code: 'BAD_ANSWER', sent: true })
  return event as WatchEvent<T>
}
