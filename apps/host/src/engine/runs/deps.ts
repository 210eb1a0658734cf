/** What the parts of the run driver share, and the small things they all need. */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { ProviderError, WorkerTarget } from '@muster/core'
import type { GuardedProvider } from '../../plugins/api.ts'
import { StoreError } from '../../store/store.ts'
import type { Engine, LeaseView } from '../api.ts'
import type { DiskRoom } from '../disk.ts'
import type { PassKillPoint } from '../killpoint.ts'
import type { LeaseRecord, LiveWorker, RunRecord, RunRequest } from '../model.ts'
import type { Desk } from './desk.ts'
import type { LogWriter } from './log-file.ts'
import type { Stop } from './outcome.ts'
import { type RunRecords, sealContext } from './records.ts'
import type { Reserve } from './reserve.ts'
import type { Spool } from './sealed-file.ts'
import type { Unwritten } from './unwritten.ts'

export interface RunDeps {
  engine: Engine
  records: RunRecords
  /** The host's data folder. */
  dataDir: string
  killpoint: PassKillPoint
  /** Aborts when the host stops; every run is then left as it is. */
  stopping: AbortSignal
  /** The spool of a run's standard input; shared by all who write or read it. */
  spool(runId: string): Promise<Spool>
  /** Where agents find their runs. */
  desk: Desk
  /** Rejects while output must wait for room on the disk. */
  reserve: Reserve
  /** On the disk of what runs leave, which may be another than that of the store. Throws when that cannot be asked. */
  room(): DiskRoom
  /** Told when a log or an output cannot be written, and when it can be again. */
  unwritten: Unwritten
  /** Tells those who follow a log that it has grown. */
  logGrown(runId: string, end: number): void
  report(message: string, data: object): void
}

/** A run that has a worker. */
export interface Job {
  deps: RunDeps
  run: RunRecord
  request: RunRequest
  worker: LiveWorker
  /** Absent for a command in somebody's worker. */
  lease: LeaseRecord | undefined
  provider: GuardedProvider
  target: WorkerTarget
  /** The command was not asked for yet, by nobody. */
  untried: boolean
  writer: LogWriter
  watch: StopWatch
}

/** Follows what ends a run from outside: cancel, time-out, its worker's end. */
export interface StopWatch {
  /** Why the host ends it; undefined while it does not. */
  stop(): Stop | undefined
  /** The worker, or the lease, has gone. */
  gone(): boolean
  /** Resolves when either is so. */
  readonly stopped: Promise<void>
  readonly lost: AbortSignal
  /** The command has started: its time runs. */
  started(at: number): void
  close(): void
}

export const runsDir = (deps: { dataDir: string }): string => join(deps.dataDir, 'runs')
export const runDir = (deps: { dataDir: string }, id: string): string => join(runsDir(deps), id)
export const logPath = (deps: { dataDir: string }, id: string): string => join(runDir(deps, id), 'log')
export const inputPath = (deps: { dataDir: string }, id: string, name: string): string => join(runDir(deps, id), 'in', name)
export const outputPath = (deps: { dataDir: string }, id: string, name: string): string =>
  join(runDir(deps, id), 'out', `${name}.tar`)
export const stdinPath = (deps: { dataDir: string }, id: string): string => join(runDir(deps, id), 'stdin')

/** The whole request of a live run. */
export function requestOf(deps: RunDeps, run: RunRecord): RunRequest {
  if (run.request_sealed === null) throw new Error(`run ${run.id} has ended`)
  return JSON.parse(deps.engine.sealer.open(run.request_sealed, sealContext(run.id))) as RunRequest
}

/** For each call to a provider on behalf of a run. */
export function traced({ traceparent }: RunRequest): { traceparent?: string } {
  return traceparent === undefined ? {} : { traceparent }
}

/** Failures that another try may cure. The rest will be the same again. */
export function isPassing(error: ProviderError): boolean {
  return ['transient', 'deadline', 'throttled', 'internal', 'auth', 'cancelled', 'capacity', 'quota'].includes(error.code)
}

/** What a run needs from a provider that is away is asked for this long: an outage of an hour, and the time to mend it. */
export const awayMs = 7_200_000

/** Failures in a row, about a minute of them, after which a provider is taken for away. */
const shortFault = 24

/**
 * Starting soon after a short fault, and at most every five seconds in its first minute: somebody watches this run. A provider that is
 * away for longer has many runs, and is asked more rarely.
 */
export function retryDelay(error: ProviderError | undefined, failures: number, random: number): number {
  const ceiling = failures > shortFault ? 30_000 : Math.min(5000, 100 * 2 ** Math.min(failures, 10))
  return Math.max(Math.min(error?.retryAfterMs ?? 0, 5000), Math.round(random * ceiling), 20)
}

/** As {@link pauseFor}; at once too when the provider, which was away, is back. */
export async function pauseForProvider({ deps, provider }: Job, ms: number, signal: AbortSignal): Promise<void> {
  const back = new AbortController()
  const stop = deps.engine.plugins.onChange(({ name, state }) => {
    if (name === provider.name && state === 'ready') back.abort()
  })
  await pauseFor(deps, ms, AbortSignal.any([signal, back.signal]))
  stop()
}

/** What the provider, asked for this worker alone, says of it; undefined: nobody answers. */
export async function shownAs({ provider, target }: Job): Promise<'there' | 'gone' | undefined> {
  try {
    const [found] = await provider.inspect([target])
    return found === undefined || found.phase === 'lost' || found.phase === 'exited' ? 'gone' : 'there'
  } catch {
    return undefined
  }
}

/** Resolves after `ms`, or at once when a signal aborts. */
export function pauseFor(deps: RunDeps, ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve()
    const done = (): void => {
      cancel()
      signal.removeEventListener('abort', done)
      resolve()
    }
    const cancel = deps.engine.clock.after(ms, done)
    signal.addEventListener('abort', done, { once: true })
  })
}

/** While the store is ill it is asked again at this pace. */
export const illMs = 500

/** A write of what is known only here: tried again while the store is ill. Errors: the reason of the host's stop, and others of the write. */
export async function lasting<T>(deps: RunDeps, write: () => Promise<T>): Promise<T> {
  for (;;)
    try {
      return await write()
    } catch (error) {
      if (!(error instanceof StoreError)) throw error
      await pauseFor(deps, illMs, deps.stopping)
      deps.stopping.throwIfAborted()
    }
}

/** Is this run's worker ready to take it? */
export function hasWorker(view: LeaseView): boolean {
  return view.lease.state === 'active'
}

/** Also while an upload still puts a file into it: emptied again until nothing comes any more. */
export function removeFolder(path: string): Promise<void> {
  return rm(path, { recursive: true, force: true, maxRetries: 5, retryDelay: 20 })
}
