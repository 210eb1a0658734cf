/** A run whose worker is its command: the log followed by cursor, the exit as the provider observes it. */
import { type ProviderError, reactions, toProviderError, type WorkerExit } from '@muster/core'
import { StoreError } from '../../store/store.ts'
import { exitOfWorker, started } from './by-exec.ts'
import { awayMs, isPassing, type Job, pauseFor, pauseForProvider, retryDelay, traced } from './deps.ts'
import { endingOfGone, endingSeen } from './gone.ts'
import { cutOff, type Ending } from './outcome.ts'
import { enforceStop } from './watch.ts'

/** Once the exit is known, a log that cannot be had although its provider is there is soon given up. */
const logTries = 5
/** Between the end of the log and the provider's word about the exit. */
const exitPollMs = 200

export async function runByCommand(job: Job): Promise<Ending> {
  const { deps, run, watch, lease } = job
  const over = new AbortController()
  const ended = new AbortController()
  await started(job)
  // The worker is the command: ending it ends both, after the pool's grace; the log is read on meanwhile.
  const terminate = async (force: boolean): Promise<void> => {
    await deps.engine.workers.confirmLogEnd(job.worker.id)
    if (lease !== undefined)
      await deps.engine.leases.release(lease.id, {
        reason: watch.stop()?.reason ?? 'stopped',
        end: 'cancelled',
        force,
        discard: true,
      })
  }
  const stopper = enforceStop(
    job,
    {
      gentle: () => terminate(false),
      async hard() {
        await terminate(true)
        ended.abort()
      },
    },
    over.signal,
  ).catch((error: unknown) => deps.report('a run could not be stopped', { run: run.id, error: String(error) }))
  try {
    return await follow(job, ended.signal)
  } finally {
    over.abort()
    await stopper
  }
}

async function follow(job: Job, giveUp: AbortSignal): Promise<Ending> {
  const { deps, provider, watch } = job
  // A stop ends the lease by itself; what the command says while it ends is still read.
  const cut = AbortSignal.any([deps.stopping, giveUp])
  let logEnded = provider.capabilities.logs === undefined
  let triesLeft = logTries
  /** Why there is nothing more to be read. */
  let problem: string | undefined
  const withLog = (ending: Ending, why = 'it ended before all of it was read'): Ending =>
    logEnded && problem === undefined ? ending : cutOff(ending, problem ?? why)
  /** Until when a provider that is away is waited for, since the exit is known. */
  let until: number | undefined
  const givenUp = (error: ProviderError | undefined): boolean => {
    if (logEnded || giveUp.aborted) return true
    until ??= deps.engine.clock.now() + awayMs
    return isAway(error) ? deps.engine.clock.now() > until : --triesLeft < 0
  }
  let disk = 0
  for (let failures = 0; ;) {
    if (deps.stopping.aborted) throw deps.stopping.reason
    let error: ProviderError | undefined
    if (!logEnded)
      try {
        await readLog(job, cut, () => (failures = 0))
        logEnded = true
      } catch (thrown) {
        // Of this host's own disk, which passes: the log is where it was.
        disk = thrown instanceof StoreError ? disk + 1 : 0
        if (disk > 0 && !watch.gone() && !cut.aborted) {
          await pauseFor(deps, retryDelay(undefined, disk, deps.engine.clock.random()), cut)
          continue
        }
        error = toProviderError(thrown)
      }
    if (deps.stopping.aborted) continue
    const exit = await exitNow(job).catch((thrown: unknown) => {
      error ??= toProviderError(thrown)
      return undefined
    })
    failures = error === undefined ? 0 : failures + 1
    if (exit !== undefined && givenUp(error)) {
      if (!logEnded) deps.report('the end of a log could not be read', { run: job.run.id, error: error?.message })
      deps.killpoint('exit-seen-not-stored')
      return withLog(await endingSeen(job, exit), giveUp.aborted ? undefined : error?.message)
    }
    if (watch.gone() && (giveUp.aborted || exit === undefined))
      return withLog(await endingOfGone(deps, job.run, { stop: watch.stop(), ...exitOfWorker(job) }), 'its worker was gone')
    if (!logEnded && error !== undefined && !isPassing(error) && error.code !== 'not-found') {
      problem = `${error.code}: ${error.message}`
      logEnded = true
    }
    await pauseForProvider(job, error === undefined ? exitPollMs : retryDelay(error, failures, deps.engine.clock.random()), cut)
  }
}

/** As opposed to a log that is not there, or that its plugin falls over. */
function isAway(error: ProviderError | undefined): boolean {
  return error !== undefined && isPassing(error) && !reactions[error.code].pluginFault
}

async function readLog(job: Job, signal: AbortSignal, ok: () => void): Promise<void> {
  const { deps, request, provider, target, writer } = job
  const { cursor, loose: again } = writer.totals()
  const options = { follow: true, ...(cursor === undefined ? {} : { cursor }) }
  for await (const chunk of provider.logs(target, options, { ...traced(request), signal })) {
    ok()
    const { stream } = chunk
    const data = chunk.data.subarray(again[stream])
    again[stream] -= chunk.data.length - data.length
    if (data.length === 0) continue
    deps.killpoint('run-output-not-stored')
    // Only where nothing behind it is stored: reading on from there must bring nothing twice.
    const whole = again.stdout === 0 && again.stderr === 0
    await writer.append({ stream, data, ...(whole ? { cursor: chunk.cursor } : {}) })
  }
}

/** The exit, from what was observed or by asking now; undefined while it runs or when nobody knows. */
async function exitNow(job: Job): Promise<WorkerExit | undefined> {
  const seen = exitOfWorker(job).exit
  if (seen !== undefined) return seen
  const [found] = await job.provider.inspect([job.target])
  if (found === undefined || (found.phase !== 'exited' && found.phase !== 'lost')) return undefined
  return found.exit ?? { reason: 'the provider does not know how it ended' }
}
