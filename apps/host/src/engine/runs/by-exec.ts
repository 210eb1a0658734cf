/** A run in a worker that holds: its command by exec, attached again after every cut, every byte stored once. */
import { ProviderError, reactions, toProviderError, type WorkerExit } from '@muster/core'
import { StoreError } from '../../store/store.ts'
import { isPassing, type Job, pauseFor, pauseForProvider, retryDelay, shownAs, traced } from './deps.ts'
import { endingOfGone, endingSeen } from './gone.ts'
import { cutOff, type Ending, endingOf, endingUnbegun } from './outcome.ts'
import { patienceFor } from './patience.ts'
import { enforceStop } from './watch.ts'

/** A command that was killed and cannot be heard of any more is given up after this. */
const silentAfterKillMs = 30_000
/** A worker that says it never heard of a command that may have started is asked this often before it is believed. */
const unknownTries = 6
/** A command that was told to end with its worker has no end of its own: its worker goes within its grace, and a provider shows that soon after. */
const endingMs = 30_000
/** Of a command that has not begun: it may be what its plugin falls over, and others share that plugin. */
const pluginFaults = 6
/** For a plugin that fell over it to be there again, and say whether the worker knows of it. */
const backMs = 60_000

/** From the first attach to the command's end. Its exec id is durable by now, so it is started at most once. */
export async function runByExec(job: Job): Promise<Ending> {
  const { deps, run, provider, target, watch } = job
  const id = run.exec_id ?? ''
  const over = new AbortController()
  const giveUp = new AbortController()
  const disk: Disk = { failures: 0, last: -Infinity, stored: -Infinity }
  /** Was it taken in? */
  const kill = async (signal: 'SIGTERM' | 'SIGKILL'): Promise<boolean> => {
    for (let tries = 1; !over.signal.aborted && !watch.gone(); tries++)
      try {
        await provider.execKill(
          target,
          { id, signal },
          {
            ...traced(job.request),
            idempotencyKey: `${id}-${signal}`,
            signal: AbortSignal.any([over.signal, watch.lost]),
          },
        )
        return true
      } catch (error) {
        if (!isPassing(toProviderError(error)) || tries > 10) return false
        await pauseFor(deps, retryDelay(toProviderError(error), tries, deps.engine.clock.random()), over.signal)
      }
    return false
  }
  const stopper = enforceStop(
    job,
    {
      async gentle() {
        await kill('SIGTERM')
      },
      async hard() {
        const killed = await kill('SIGKILL')
        // While nothing of it can be stored here, nobody can say that it is silent. Nor while what it wrote before still comes: of one that was
        // killed that has an end.
        const heard = (): number => Math.max(disk.last, killed ? disk.stored : -Infinity)
        do await pauseFor(deps, silentAfterKillMs, over.signal)
        while (deps.engine.clock.now() - heard() < silentAfterKillMs && !over.signal.aborted)
        giveUp.abort()
      },
    },
    over.signal,
  ).catch((error: unknown) => deps.report('a run could not be stopped', { run: run.id, error: String(error) }))
  try {
    return await attachUntilEnd(job, giveUp.signal, disk)
  } finally {
    over.abort()
    await stopper
  }
}

/** Faults of this host: its store, its disk; and what it could store. */
interface Disk {
  /** In a row. */
  failures: number
  /** When the last one was. */
  last: number
  /** When output was stored last. */
  stored: number
}

async function attachUntilEnd(job: Job, giveUp: AbortSignal, disk: Disk): Promise<Ending> {
  const { deps, watch } = job
  const cut = AbortSignal.any([deps.stopping, watch.lost, giveUp])
  const stopped = new AbortController()
  void watch.stopped.then(() => stopped.abort())
  let [unknown, faults] = [0, 0]
  let endless: { since: number; times: number } | undefined
  const neverBegan = (reason: string): Ending => ({ ...endingUnbegun(reason, watch.stop()), unfit: true })
  const unseen = (reason: string): Ending => ({ ...cutOff(endingOf({ reason }, watch.stop()), reason), unfit: true })
  const begun = (): boolean => deps.records.get(job.run.id)?.started_at !== null
  const goneUnder = async (why: string): Promise<Ending> =>
    cutOff(await endingOfGone(deps, job.run, { stop: watch.stop(), ...exitOfWorker(job) }), why)
  const patience = patienceFor(job)
  // What may have begun is not said to be unbegun: whoever repeats such a run would have its command twice.
  let sent = !job.untried
  let open = false
  const unbegun = async (reason: string): Promise<Ending> =>
    sent && (await hasHeard(job, cut)) !== false ? unseen(reason) : neverBegan(reason)
  /** Its run is to end, and it is known not to have begun: one more try might begin it. */
  const needless = async (): Promise<boolean> =>
    watch.stop() !== undefined && !begun() && (!sent || (!open && (await isUnknown(job))))
  for (let failures = 0; ;) {
    if (deps.stopping.aborted) throw deps.stopping.reason
    if (watch.gone()) return goneUnder('its worker was gone')
    if (giveUp.aborted) return unseen('killed, and its worker did not answer')
    let error: ProviderError
    const known = exitOfWorker(job).exit
    try {
      const exit = await attach(job, cut, {
        began: () => (failures = 0),
        stored: () => (disk.stored = deps.engine.clock.now()),
      })
      disk.failures = 0
      if (isKnown(exit)) return await endingSeen(job, exit)
      // Asked again below: a worker on its way out still looks alive for a moment.
      endless = { since: endless?.since ?? deps.engine.clock.now(), times: (endless?.times ?? 0) + 1 }
      error = new ProviderError('not-found', exit.reason)
    } catch (thrown) {
      if (thrown instanceof StoreError) {
        // It may be what could not be stored that the command has begun.
        sent = true
        disk.failures += 1
        disk.last = deps.engine.clock.now()
        patience.renew()
        await pauseFor(deps, retryDelay(undefined, disk.failures, deps.engine.clock.random()), cut)
        continue
      }
      disk.failures = 0
      error = toProviderError(thrown)
    }
    if (cut.aborted) continue
    failures += 1
    sent ||= error.effect === 'possible'
    // Nobody waited for the end of such a call: what it asked for may come yet.
    open ||= error.code === 'deadline'
    if (await needless()) return neverBegan(error.message)
    // Of a command that runs, a worker that has ended is as one that nobody knows: some say the one, some the other.
    const unknownThere = error.code === 'not-found' || (error.code === 'conflict' && begun())
    const shown = unknownThere ? await shownAs(job) : undefined
    if (shown === 'gone') {
      // Asked once more after its end was known: who keeps exits would have told this one.
      if (known !== undefined && begun()) return goneUnder('its worker had ended')
      // Whether it is gone is the engine's to say, by the rule of absence; then its lease ends, and this wait with it.
      await deps.engine.reconcile(job.worker.provider, 'run').catch(() => undefined)
      // Not where it belongs to what does not run now: nobody can ever say so.
      const over = begun() ? undefined : await patience.spent(strandedAs(job, error))
      if (over !== undefined) return unbegun(over)
    } else if (shown === 'there') {
      unknown += 1
      const mayGo = endless !== undefined && deps.engine.clock.now() - endless.since < job.worker.grace_ms + endingMs
      if (unknown >= unknownTries && !mayGo)
        return begun() ? unseen(`nobody can tell how it ended: ${error.message}`) : neverBegan(error.message)
    } else if (!unknownThere && !isPassing(error)) {
      const never = !begun() && (error.code !== 'conflict' || (!sent && (await shownAs(job)) === 'gone'))
      return never ? endingUnbegun(`${error.code}: ${error.message}`, watch.stop()) : unseen(`${error.code}: ${error.message}`)
    } else if (reactions[error.code].pluginFault && !begun() && ++faults >= pluginFaults) {
      return unbegun(`the plugin failed at it ${faults} times: ${error.message}`)
    } else if (!begun()) {
      const over = await patience.spent(error)
      if (over !== undefined) return unbegun(over)
    }
    const until = watch.stop() === undefined && !begun() ? AbortSignal.any([cut, stopped.signal]) : cut
    // One that has no end of its own begins well each time.
    const times = Math.max(failures, endless?.times ?? 0)
    await pauseForProvider(job, retryDelay(error, times, deps.engine.clock.random()), until)
    if (until !== cut && (await needless())) return neverBegan(error.message)
  }
}

/** A worker that nobody knows, in the words of the engine where it knows why. */
function strandedAs({ deps, worker: { provider } }: Job, error: ProviderError): ProviderError {
  const known = deps.engine.conditions
    .list()
    .find((one) => one.type === 'stranded' && one.scope === 'provider' && one.name === provider)
  return known === undefined
    ? error
    : new ProviderError(error.code, `${error.message}: of provider ${provider}, ${known.message}`)
}

/** Does its worker say that it has never heard of the command? Asked once: the next try asks again. */
export async function isUnknown({ provider, target, run }: Pick<Job, 'provider' | 'target' | 'run'>): Promise<boolean> {
  try {
    return (await provider.execState(target, run.exec_id ?? '')).state === 'unknown'
  } catch {
    return false
  }
}

function isKnown(exit: WorkerExit): boolean {
  return exit.code !== undefined || exit.signal !== undefined
}

/** Does the worker know of the command? Undefined: nobody can tell. */
async function hasHeard(job: Job, cut: AbortSignal): Promise<boolean | undefined> {
  const { deps, provider, target, run } = job
  const { clock } = deps.engine
  const until = clock.now() + backMs
  for (let failures = 1; !cut.aborted; failures++)
    try {
      return (await provider.execState(target, run.exec_id ?? '')).state !== 'unknown'
    } catch (thrown) {
      const error = toProviderError(thrown)
      if (!isPassing(error) || clock.now() >= until) return undefined
      await pauseForProvider(job, retryDelay(error, failures, clock.random()), cut)
    }
  return undefined
}

/** One attach: output from where the log ends, then the exit. */
async function attach(job: Job, signal: AbortSignal, on: { began(): void; stored(): void }): Promise<WorkerExit> {
  const { deps, run, request, provider, target, writer } = job
  const { stdout, stderr } = writer.totals()
  const own = new AbortController()
  const until = AbortSignal.any([signal, own.signal])
  deps.killpoint('run-exec-sent')
  try {
    const session = await provider.exec(
      target,
      {
        id: run.exec_id ?? '',
        command: request.command,
        stdin: request.stdin,
        from: { stdout, stderr },
        ...(request.env === undefined ? {} : { env: request.env }),
        ...(request.workdir === undefined ? {} : { workdir: request.workdir }),
        ...(request.user === undefined ? {} : { user: request.user }),
        ...(request.stdin ? { input: (await deps.spool(run.id)).read(until) } : {}),
      },
      { ...traced(request), idempotencyKey: run.exec_id ?? '', signal: until },
    )
    session.exit.catch(() => undefined)
    await started(job)
    on.began()
    for await (const { stream, offset, data } of session.output) {
      const have = writer.totals()[stream]
      if (offset > have) throw new ProviderError('internal', `output of ${stream} goes on at ${offset}, after ${have}`)
      const fresh = data.subarray(have - offset)
      if (fresh.length === 0) continue
      deps.killpoint('run-output-not-stored')
      await writer.append({ stream, data: fresh })
      on.stored()
    }
    return await session.exit
  } finally {
    own.abort()
  }
}

/** The command runs: its time is counted from here, once. */
export async function started(job: Job): Promise<void> {
  const { deps, run, request, watch } = job
  const now = deps.engine.clock.now()
  await deps.records.change(run.id, (one) =>
    one.started_at === null
      ? { state: 'running', started_at: now, deadline: request.timeoutMs === undefined ? null : now + request.timeoutMs }
      : undefined,
  )
  watch.started(now)
}

/** How the worker itself ended, where the provider has said so. */
export function exitOfWorker(job: Job): { exit?: WorkerExit } {
  const text = job.deps.engine.workers.get(job.worker.id)?.exit
  return text === null || text === undefined ? {} : { exit: JSON.parse(text) as WorkerExit }
}
