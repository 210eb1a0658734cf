/** Brings an image to the engine: once for all who wait for it, given up when nobody waits any more. */
import type { CallLog } from '@muster/core'
import type { Engine } from './client.ts'
import { EngineFailure } from './errors.ts'
import { jsonLines } from './lines.ts'
import { pullQuery } from './translate.ts'
import { raceAbort } from './waiting.ts'

export interface ImageRequest {
  image: string
  /** As `linux/arm64`; absent: the engine's own. */
  platform?: string | undefined
}

export interface Puller {
  /** Resolves when the engine has the image. Rejects with an EngineFailure, or with the signal's reason. */
  pull(request: ImageRequest, waiter: { signal: AbortSignal; log: CallLog }): Promise<void>
}

/** Progress comes several times a second for each layer; a line every two seconds is what people read. */
const PROGRESS_EVERY_MS = 2_000

interface Flight {
  done: Promise<void>
  abort: AbortController
  waiting: number
}

export function createPuller(engine: Engine, now: () => number): Puller {
  const flights = new Map<string, Flight>()

  function start(request: ImageRequest, log: CallLog): Flight {
    const abort = new AbortController()
    const done = transfer(request, abort.signal, log)
    // Those who wait hear of a failure; with nobody waiting there is nobody to tell.
    done.catch(() => {})
    return { done, abort, waiting: 0 }
  }

  async function transfer({ image, platform }: ImageRequest, signal: AbortSignal, log: CallLog): Promise<void> {
    const query = { ...pullQuery(image), platform }
    const reply = await engine.stream({ method: 'POST', path: '/images/create', query, signal })
    const progress = createProgress()
    let told = now()
    try {
      for await (const message of messages(reply)) {
        progress.add(message)
        if (now() - told < PROGRESS_EVERY_MS) continue
        told = now()
        log.info('pulling an image', { image, ...progress.sum() })
      }
    } finally {
      reply.destroy()
    }
  }

  return {
    async pull(request, { signal, log }) {
      signal.throwIfAborted()
      const key = `${request.platform ?? ''} ${request.image}`
      const flight = flights.get(key) ?? start(request, log)
      flights.set(key, flight)
      flight.waiting++
      try {
        await raceAbort(flight.done, signal)
      } finally {
        flight.waiting--
        if (flight.waiting === 0) {
          if (flights.get(key) === flight) flights.delete(key)
          flight.abort.abort()
        }
      }
    },
  }
}

/** One message of a pull. */
export interface PullMessage {
  id?: string
  status?: string
  progressDetail?: { current?: number; total?: number }
  error?: string
  errorDetail?: { message?: string }
}

/** The lines of a pull's answer. A pull that fails on the way has status 200 and says so in a line: that is thrown. */
export async function* messages(reply: AsyncIterable<Uint8Array>): AsyncGenerator<PullMessage> {
  for await (const message of jsonLines<PullMessage>(reply)) {
    const failure = message.errorDetail?.message ?? message.error
    if (failure !== undefined) throw new EngineFailure(failure, { status: 200, sent: true })
    yield message
  }
}

/** Adds up the layers' progress. */
export function createProgress(): {
  add(message: PullMessage): void
  sum(): { bytes: number; totalBytes: number; layers: number }
} {
  const layers = new Map<string, { current: number; total: number }>()
  return {
    add({ id, status, progressDetail }) {
      if (id === undefined || status !== 'Downloading' || progressDetail?.total === undefined) return
      layers.set(id, { current: progressDetail.current ?? 0, total: progressDetail.total })
    },
    sum() {
      let [bytes, totalBytes] = [0, 0]
      for (const { current, total } of layers.values()) [bytes, totalBytes] = [bytes + current, totalBytes + total]
      return { bytes, totalBytes, layers: layers.size }
    },
  }
}
