/** A container's log, followed over cut connections, restarts and rotations, until the container has ended and all of it was read. */
import type { V1Pod } from '@kubernetes/client-node/dist/gen/models/V1Pod.js'
import { calls } from './calls.ts'
import { ApiFailure, isStatus } from './failure.ts'
import { type LogPiece, readLog } from './log-lines.ts'
import { type LogPart, type LogPosition, type Resumption, resumeFrom, startOf } from './log-position.ts'
import type { Requests } from './requests.ts'
import { pause, raceAbort } from '@muster/provider-parts/waiting'
import { createBackOff } from './back-off.ts'

/** What a container is at. */
interface ContainerLook {
  /** `between`: ended, and not started again yet. */
  state: 'waiting' | 'running' | 'ended' | 'between'
  /** How often it was started again. */
  instance: number
  /** Nobody starts it again. */
  final: boolean
}

export interface LogTarget {
  namespace: string
  pod: string
  container: string
}

export interface FollowOptions {
  from?: LogPosition
  /** False: what there is now. */
  follow: boolean
  signal: AbortSignal
  /** Told each sight of the pod: what it throws ends the reading. */
  check?: (pod: V1Pod) => void
  quietMs?: number
  backOff?: { firstMs: number; mostMs: number }
}

/** A connection without a line for so long is opened again, which costs one call and loses nothing: no other sign tells a dead one. */
const QUIET_MS = 120_000
/** What a file holds already comes without pause. */
const SETTLE_MS = 2_000
/** The end of a container shows in its pod a moment after its log has ended. */
const LOOK_MS = 500
/** An ended container's log that cannot be read so often in a row will not come back. */
const MOST_FAILURES = 6

/** Rejects with an ApiFailure when the pod is gone (404), nobody may read it, or its ended log cannot be read any more. */
export async function* followLog(requests: Requests, target: LogTarget, options: FollowOptions): AsyncGenerator<LogPart> {
  const { follow, signal, quietMs = QUIET_MS } = options
  const backOff = createBackOff(options.backOff)
  let position = options.from
  let failures = 0
  let lost = false
  /** The start whose log was read after its end. */
  let whole: number | undefined
  /** Where a new start began. */
  let carried: LogPosition | undefined
  for (;;) {
    let look: ContainerLook | undefined
    try {
      look = await lookAt(requests, target, options)
      position ??= startOf(Math.max(0, look.instance - 1))
      if (look.instance > position.instance + 1) {
        // Only one earlier start is kept.
        position = startOf(look.instance - 1)
        lost = true
      }
      const previous = look.instance > position.instance
      const live = look.state === 'running'
      if (previous) {
        const unread = whole !== position.instance
        // Between two starts the log that just ended answers for the one before it too.
        if (unread && look.state !== 'between') yield* read({ previous, follow: false, maybeOther: false })
        else lost ||= unread
        position = carried = carryTo(position, look.instance)
        continue
      }
      const same =
        look.state !== 'waiting' && (yield* read({ previous, follow: follow && live, maybeOther: !live && !look.final }))
      if (!live && (look.final || same)) whole = look.instance
      failures = 0
      if (!follow || (look.state === 'ended' && look.final)) return
      await pause(LOOK_MS, signal)
    } catch (error) {
      signal.throwIfAborted()
      if (isForgotten(error) && look !== undefined && position !== undefined && look.instance > position.instance) {
        lost ||= whole !== position.instance
        position = carried = carryTo(position, look.instance)
      } else if (isNotYet(error)) {
        // It never began, and never will.
        if (look?.final === true) return
      } else {
        if (isFinal(error) || (look?.final === true && ++failures >= MOST_FAILURES)) throw error
      }
      const silent = error instanceof ApiFailure && error.code === 'SILENT'
      if (!silent) await pause(backOff.next(error instanceof ApiFailure ? error.retryAfterMs : undefined), signal)
    }
  }

  async function* read(how: Reading): AsyncGenerator<LogPart, boolean> {
    const unmatched = how.maybeOther ? 'other' : position === carried ? 'new' : 'rotated'
    const resumption = resumeFrom(position ?? startOf(0), unmatched)
    for await (const parts of readOnce(resumption, how))
      for (const part of joined(parts)) {
        position = part.position
        backOff.reset()
        yield lost ? { ...part, gap: true } : part
        lost = false
      }
    return resumption.matched
  }

  async function* readOnce(resumption: Resumption, how: Reading): AsyncGenerator<LogPart[]> {
    const { namespace, pod, container } = target
    const since = position?.since === undefined ? undefined : new Date(position.since * 1000).toISOString().replace('.000', '')
    const query = { container, timestamps: true, follow: how.follow, previous: how.previous, sinceTime: since }
    const body = await requests.open(calls.readLog, { namespace, name: pod }, { signal, query })
    const quiet = setTimeout(() => {
      body.destroy(new ApiFailure(`the log was silent for ${quietMs / 1000} s`, { code: 'SILENT', sent: true }))
    }, quietMs)
    const pieces = readLog(body)
    try {
      for (;;) {
        const coming = pieces.next()
        if (resumption.holding && !(await isThere(coming))) yield resumption.settle()
        const next: IteratorResult<LogPiece[], unknown> = await coming
        if (next.done === true) break
        quiet.refresh()
        const parts = next.value.flatMap((piece) => resumption.take(piece))
        if (parts.length > 0) {
          yield parts
          // A slow reader is no silence.
          quiet.refresh()
        }
      }
      yield resumption.settle()
    } finally {
      clearTimeout(quiet)
      body.destroy()
    }
  }

  /** False once nothing has come for a while. */
  async function isThere(coming: Promise<unknown>): Promise<boolean> {
    const enough = new AbortController()
    try {
      return await Promise.race([coming.then(() => true), raceAbort(pause(SETTLE_MS, enough.signal), signal).then(() => false)])
    } finally {
      enough.abort()
    }
  }
}

/** A message of the contract holds 64 KiB. */
const MOST_JOINED = 65_536

/** What came at once goes on at once, up to a gap: a line alone would be a message of its own to whoever reads. */
function joined(parts: readonly LogPart[]): LogPart[] {
  let bytes = 0
  const from = parts.flatMap((part, at) => {
    bytes += part.bytes.length
    if (at > 0 && !part.gap && bytes <= MOST_JOINED) return []
    bytes = part.bytes.length
    return [at]
  })
  return from.flatMap((begin, at) => {
    const together = parts.slice(begin, from[at + 1])
    const [first, last] = [together[0], together.at(-1)]
    if (first === undefined || last === undefined) return []
    return [{ bytes: Buffer.concat(together.map(({ bytes }) => bytes)), position: last.position, gap: first.gap }]
  })
}

interface Reading {
  previous: boolean
  follow: boolean
  /** It was started again meanwhile, perhaps: then this is the log of that start. */
  maybeOther: boolean
}

/** A log that was asked for just as its container started again may have been that of the new start: what was read is not read again. */
function carryTo(position: LogPosition, instance: number): LogPosition {
  return position.seen === 0 ? startOf(instance) : { ...position, instance }
}

async function lookAt(
  requests: Requests,
  { namespace, pod, container }: LogTarget,
  { signal, check }: Pick<FollowOptions, 'signal' | 'check'>,
): Promise<ContainerLook> {
  const seen = await requests.get<V1Pod>(calls.getPod, { namespace, name: pod }, { signal })
  check?.(seen)
  return lookOf(seen, container)
}

/** Pure: what a pod says of one of its containers. */
function lookOf({ spec, status }: V1Pod, container: string): ContainerLook {
  const all = [
    ...(status?.containerStatuses ?? []),
    ...(status?.initContainerStatuses ?? []),
    ...(status?.ephemeralContainerStatuses ?? []),
  ]
  const of = all.find(({ name }) => name === container)
  const over = status?.phase === 'Succeeded' || status?.phase === 'Failed'
  const instance = of?.restartCount ?? 0
  if (of?.state?.terminated !== undefined) {
    const again = spec?.restartPolicy !== 'Never' && (spec?.restartPolicy !== 'OnFailure' || of.state.terminated.exitCode !== 0)
    return { state: 'ended', instance, final: over || !again }
  }
  if (of?.state?.running !== undefined) return { state: 'running', instance, final: false }
  if (over) return { state: 'ended', instance, final: true }
  return { state: of?.lastState?.terminated === undefined ? 'waiting' : 'between', instance, final: false }
}

/** The container has not begun, or an image is still on its way. */
function isNotYet(error: unknown): boolean {
  return (
    isStatus(error, 400) && /waiting to start|is not available|ContainerCreating|PodInitializing/i.test((error as Error).message)
  )
}

/** The log of the earlier start was removed; a kubelet that has just done it says so in place of the log. */
function isForgotten(error: unknown): boolean {
  if (!(error instanceof ApiFailure)) return false
  if (error.code === 'NO_LOG') return /unable to retrieve container logs/i.test(error.message)
  return error.status === 400 && /previous terminated container .* not found/i.test(error.message)
}

function isFinal(error: unknown): boolean {
  return (
    !(error instanceof ApiFailure) || [400, 401, 403, 404, 405].includes(error.status ?? 0) || error.code === 'BAD_KUBECONFIG'
  )
}
