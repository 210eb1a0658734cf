/** Logs and outputs of runs that the disk does not take. Their commands go on and may end; nobody would know why the runs do not. */
import { StoreError } from '../../store/store.ts'
import type { Conditions } from '../api.ts'
import { type Job, traced } from './deps.ts'
import type { LogWriter } from './log-file.ts'

type Step = 'open' | 'append' | 'output'

export interface Unwritten {
  failed(run: string, step: Step, error: StoreError): void
  /** What can be opened may be on a full disk: only what was appended shows that there is room. */
  done(run: string, step: Step): void
  /** The run has ended, or is left as it is. */
  forget(run: string): void
}

const key = { scope: 'host', name: 'runs', type: 'output-waits' } as const

/** Of the condition `output-waits`; one that a daemon before this one left is over. */
export function tellUnwritten(conditions: Pick<Conditions, 'raise' | 'clear'>): Unwritten {
  const failing = new Map<string, { step: Step; error: StoreError }>()
  let named: string | undefined
  conditions.clear(key)
  /** One at a time; the next when that is over. */
  const tell = (): void => {
    if (named !== undefined && failing.has(named)) return
    const [next] = failing
    named = next?.[0]
    if (next === undefined) return conditions.clear(key)
    const [run, { error }] = next
    conditions.raise({
      ...key,
      message: `${error.message} (run ${run}); output of runs waits, and so do their ends`,
      hint: error.hint,
    })
  }
  const forget = (run: string): void => {
    if (failing.delete(run)) tell()
  }
  return {
    failed(run, step, error) {
      failing.set(run, { step, error })
      tell()
    },
    done(run, step) {
      if (step !== 'open' || failing.get(run)?.step === 'open') forget(run)
    },
    forget,
  }
}

/** Opens the log of a run, and tells whether it can be opened and written. */
export async function openTold(run: string, { open, told }: { open(): Promise<LogWriter>; told: Unwritten }): Promise<LogWriter> {
  async function telling<T>(step: Step, work: () => Promise<T>): Promise<T> {
    try {
      const made = await work()
      told.done(run, step)
      return made
    } catch (error) {
      if (error instanceof StoreError) told.failed(run, step, error)
      throw error
    }
  }
  const writer = await telling('open', open)
  return { ...writer, append: (piece) => telling('append', () => writer.append(piece)) }
}

/** When a command was told to end whose output cannot be stored. */
export interface Asked {
  at?: number
}

/** Ends a command though nothing of it can be stored: gently once, and by force after its grace. Its output is read when it can be. */
export async function endUnheard(job: Omit<Job, 'writer'>, asked: Asked): Promise<void> {
  const { deps, provider, target, run, request, worker, watch } = job
  const now = deps.engine.clock.now()
  const force = watch.stop()?.force === true || now - (asked.at ?? now) > worker.grace_ms
  if (!force && asked.at !== undefined) return
  const signal = force ? 'SIGKILL' : 'SIGTERM'
  const id = run.exec_id ?? ''
  try {
    await provider.execKill(
      target,
      { id, signal },
      { ...traced(request), idempotencyKey: `${id}-${signal}`, signal: deps.stopping },
    )
    asked.at ??= now
  } catch {
    // Tried again with the log.
  }
}
