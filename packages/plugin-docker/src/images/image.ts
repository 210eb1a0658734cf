/** Brings an image to the engine: once for all who wait for it, with the registry's login, from its mirror, within a time of its own. */
import { type CallLog, ProviderError } from '@muster/core'
import type { Engine } from '../client.ts'
import { currentSecret } from '../engine/current.ts'
import { EngineFailure, isAbort, isStatus, toDockerError } from '../errors.ts'
import type { ImageLedger } from './ledger.ts'
import { loginHeader } from './login.ts'
import { canonical, isImageName, mirrored, nameHere, partsOf, pullQuery, registryOf } from './name.ts'
import type { ImageRules } from './image-rules.ts'
import { jsonLines } from '../engine/lines.ts'
import { refuse } from '../settings.ts'
import { raceAbort } from '@muster/provider-parts/waiting'

export interface ImageRequest {
  image: string
  /** As `linux/arm64`; absent: the engine's own. */
  platform?: string | undefined
}

export interface Puller {
  /**
   * Resolves when the engine has the image. Rejects with an EngineFailure, a ProviderError, or the signal's reason. One whose time is up
   * leaves the pull at work, for the next one to join; given up by the last who waited, it ends.
   */
  pull(request: ImageRequest, waiter: Waiter): Promise<void>
  /** The name that the engine has it under. */
  nameHere(image: string): string
  /** Does the engine have it? */
  has(image: string, signal: AbortSignal): Promise<boolean>
  /** A container was made of it. */
  used(image: string): Promise<void>
}

export interface Waiter {
  signal: AbortSignal
  log: CallLog
}

export interface PullerParts {
  engine: Engine
  ledger: ImageLedger
  rules: ImageRules
  now: () => number
}

/** Progress comes several times a second for each layer; a line every two seconds is what people read. */
const PROGRESS_EVERY_MS = 2_000

interface Flight {
  done: Promise<void>
  abort: AbortController
  waiting: Set<Waiter>
}

export function createPuller({ engine, ledger, rules, now }: PullerParts): Puller {
  const flights = new Map<string, Flight>()

  function start(request: ImageRequest): Flight {
    const abort = new AbortController()
    const waiting = new Set<Waiter>()
    const tell = (data: Record<string, unknown>): void => {
      for (const { log } of waiting) log.info('pulling an image', { image: request.image, ...data })
    }
    const done = bring(request, abort.signal, tell)
    return { done, abort, waiting }
  }

  /** The pull of this image that is under way, or a new one. */
  function flightOf(request: ImageRequest): { flight: Flight; end: () => void } {
    const key = `${request.platform ?? ''} ${request.image}`
    const under = flights.get(key)
    const flight = under ?? start(request)
    const end = (): void => {
      if (flights.get(key) === flight) flights.delete(key)
    }
    if (under === undefined) {
      flights.set(key, flight)
      // Those who wait hear of a failure; with nobody waiting there is nobody to tell.
      flight.done.then(end, end)
    }
    return { flight, end }
  }

  async function bring(request: ImageRequest, given: AbortSignal, tell: (data: Record<string, unknown>) => void): Promise<void> {
    const limit = AbortSignal.timeout(rules.pullWithinMs)
    const signal = AbortSignal.any([given, limit])
    const name = nameHere(request.image, rules.mirrors)
    const from = mirrored(request.image, rules.mirrors)
    try {
      const source = canonical(from)
      const [before, there] = await Promise.all([name, ...(from === name ? [] : [source])].map((one) => idOf(one, signal)))
      await transfer({ ...request, image: from }, signal, tell)
      if (from !== name) await rename(source, name, signal)
      // A name that was there, or that we pulled as such, is somebody's.
      if (from !== name && there === undefined && !(await ledger.all()).has(source)) await untag(source, signal)
      await note(name, before, signal)
    } catch (error) {
      if (!limit.aborted || given.aborted) throw error
      const seconds = Math.round(rules.pullWithinMs / 1000)
      throw new ProviderError('deadline', `the image ${request.image} was not pulled within ${seconds} s`, {
        effect: 'none',
        path: 'image',
        hint: 'A registry nearer to the engine, or a longer `images.pullWithin`.',
        cause: error,
      })
    }
  }

  /** With the login; one that is refused is read anew, once: it may have been changed since. */
  async function transfer(
    request: ImageRequest,
    signal: AbortSignal,
    tell: (data: Record<string, unknown>) => void,
  ): Promise<void> {
    const secret = currentSecret()
    if (!rules.logins.includes(registryOf(request.image))) return stream(request, { signal, tell })
    const login = await secret('registry-logins')
    try {
      await stream(request, { signal, tell, login: login.value })
    } catch (error) {
      if (isAbort(error) || toDockerError(error, { doing: 'pull', mutates: false }).code !== 'auth') throw error
      const next = await secret('registry-logins', { refused: login.version }).catch(() => login)
      if (next.version === login.version) throw error
      await stream(request, { signal, tell, login: next.value })
    }
  }

  async function stream(
    { image, platform }: ImageRequest,
    { signal, tell, login }: { signal: AbortSignal; tell: (data: Record<string, unknown>) => void; login?: string },
  ): Promise<void> {
    const query = { ...pullQuery(image), platform }
    const headers = login === undefined ? {} : { 'X-Registry-Auth': loginHeader(login, image) }
    const reply = await engine.stream({ method: 'POST', path: '/images/create', query, headers, signal })
    const progress = createProgress()
    let told = now()
    try {
      for await (const message of messages(reply)) {
        progress.add(message)
        if (now() - told < PROGRESS_EVERY_MS) continue
        told = now()
        tell(progress.sum())
      }
    } finally {
      reply.destroy()
    }
  }

  /** What came from a mirror gets the name that was asked for. */
  async function rename(source: string, name: string, signal: AbortSignal): Promise<void> {
    const { name: repo, tag = 'latest' } = partsOf(name)
    try {
      await engine.json({ method: 'POST', path: `/images/${source}/tag`, query: { repo, tag }, signal })
    } catch (error) {
      // Another process that pulled it too has given it the name, and taken away the mirror's.
      if (!isStatus(error, 404) || (await idOf(name, signal)) === undefined) throw error
    }
  }

  /** Takes the mirror's own name away. */
  async function untag(source: string, signal: AbortSignal): Promise<void> {
    try {
      await engine.json({ method: 'DELETE', path: `/images/${source}`, query: { noprune: true }, signal })
    } catch (error) {
      if (!isStatus(error, 404)) throw error
    }
  }

  /** Ours is what was not there before, and what was ours. */
  async function note(name: string, before: string | undefined, signal: AbortSignal): Promise<void> {
    const key = canonical(name)
    const own = (await ledger.all()).get(key)
    if (before !== undefined && own?.id !== before) return
    const id = await idOf(name, signal)
    if (id !== undefined) await ledger.add(key, { id, usedAt: now() })
  }

  async function idOf(name: string, signal: AbortSignal): Promise<string | undefined> {
    try {
      return (await engine.json<{ Id: string }>({ method: 'GET', path: `/images/${name}/json`, signal })).Id
    } catch (error) {
      if (isStatus(error, 404)) return undefined
      throw error
    }
  }

  return {
    nameHere: (image) => nameHere(image, rules.mirrors),
    has: async (image, signal) => isImageName(image) && (await idOf(nameHere(image, rules.mirrors), signal)) !== undefined,
    used: (image) => ledger.used(canonical(nameHere(image, rules.mirrors)), now()),
    async pull(request, waiter) {
      const { signal } = waiter
      signal.throwIfAborted()
      if (!isImageName(request.image)) throw refuse('invalid-spec', 'image', 'it is no name of an image')
      const { flight, end } = flightOf(request)
      flight.waiting.add(waiter)
      try {
        await raceAbort(flight.done, signal)
      } finally {
        flight.waiting.delete(waiter)
        // Only who gives up takes the pull along: a launch whose time is up is tried again.
        const late = signal.reason instanceof Error && signal.reason.name === 'TimeoutError'
        if (flight.waiting.size === 0 && !late) {
          end()
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
