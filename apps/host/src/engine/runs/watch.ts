/** The outside ends of one run, watched from its first worker on: {@link StopWatch}. */
import type { Job, RunDeps, StopWatch } from './deps.ts'
import type { Stop } from './outcome.ts'

export function watchStops(
  deps: RunDeps,
  { runId, leaseId, workerId }: { runId: string; leaseId: string | null; workerId: string },
): StopWatch {
  const { engine, records } = deps
  const stopped = Promise.withResolvers<void>()
  const lost = new AbortController()
  let stop: Stop | undefined
  let cancelTimer: (() => void) | undefined

  function end(why: Stop): void {
    if (stop === undefined || (why.force && !stop.force)) stop = { ...(stop ?? why), force: why.force }
    stopped.resolve()
  }
  function lose(): void {
    lost.abort(new DOMException('the worker is gone', 'AbortError'))
    stopped.resolve()
  }
  function look(): void {
    const run = records.get(runId)
    if (run === undefined) return
    if (run.cancel_requested > 0) end({ kind: 'cancelled', reason: run.reason ?? 'cancelled', force: run.cancel_requested > 1 })
  }
  function lookWorker(): void {
    if (leaseId !== null && engine.leases.get(leaseId) === undefined) lose()
    else if (leaseId === null && engine.workers.get(workerId) === undefined) lose()
  }

  const unwatch = [records.observe(runId, look), leaseId === null ? undefined : engine.leases.observe(leaseId, lookWorker)]
  // A worker without a lease of ours has no watcher of its own; a look now and then is enough for an operator's command.
  const timer = leaseId === null ? setInterval(lookWorker, 1000) : undefined
  look()
  lookWorker()
  return {
    stop: () => stop,
    gone: () => lost.signal.aborted,
    stopped: stopped.promise,
    lost: lost.signal,
    started() {
      const deadline = records.get(runId)?.deadline
      if (deadline === null || deadline === undefined || cancelTimer !== undefined) return
      const arm = (): void => {
        const left = deadline - engine.clock.now()
        if (left <= 0) end({ kind: 'timeout', reason: 'it ran longer than its time-out', force: false })
        else cancelTimer = engine.clock.after(left, arm)
      }
      arm()
    },
    close() {
      for (const one of unwatch) one?.()
      clearInterval(timer)
      cancelTimer?.()
    },
  }
}

/** Waits for a stop, and calls what it asks for: first the gentle way, after the worker's grace the hard one. */
export async function enforceStop(
  job: Job,
  { gentle, hard }: { gentle(): Promise<void>; hard(): Promise<void> },
  over: AbortSignal,
): Promise<void> {
  const { watch, deps } = job
  await Promise.race([watch.stopped, aborted(over)])
  if (over.aborted || watch.gone()) return
  // The worker's own: its pool may have another by now, or be gone.
  const grace = job.worker.grace_ms
  if (watch.stop()?.force !== true) {
    await gentle()
    const forced = untilForced(job, over)
    const waited = waitFor(deps, grace, over)
    await Promise.race([forced, waited])
  }
  if (!over.aborted) await hard()
}

/** A second, forced cancel cuts the grace short. */
function untilForced(job: Job, over: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const unwatch = job.deps.records.observe(job.run.id, (run) => {
      if (run.cancel_requested > 1) done()
    })
    const done = (): void => {
      unwatch()
      over.removeEventListener('abort', done)
      resolve()
    }
    over.addEventListener('abort', done, { once: true })
    if (job.watch.stop()?.force === true || over.aborted) done()
  })
}

function waitFor(deps: RunDeps, ms: number, over: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const cancel = deps.engine.clock.after(ms, resolve)
    over.addEventListener(
      'abort',
      () => {
        cancel()
        resolve()
      },
      { once: true },
    )
  })
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
}
