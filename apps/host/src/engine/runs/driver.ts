/** Drives one run from its record to its end; starts anywhere, so that a restart goes on where the last host was killed. */
import { newId } from '../../store/ids.ts'
import { StoreError } from '../../store/store.ts'
import { EngineError, type LeaseView } from '../api.ts'
import type { RunRecord, RunRequest } from '../model.ts'
import { modeOfSpec } from '../words.ts'
import { deliverInputs } from './artifacts.ts'
import { runByAgent } from './by-agent.ts'
import { runByCommand } from './by-command.ts'
import { isUnknown, runByExec } from './by-exec.ts'
import { hasWorker, illMs, type Job, lasting, logPath, pauseFor, requestOf, type RunDeps } from './deps.ts'
import { finish } from './finish.ts'
import { withMemory } from './memory.ts'
import { endingOfGone } from './gone.ts'
import { leaseRequestOf } from './lease-request.ts'
import { type LogWriter, openLog } from './log-file.ts'
import { cutOff, type Ending, endingUnbegun, endingWithoutWorker, type Stop } from './outcome.ts'
import { withHandedIn, withOutputs, withStored } from './outputs.ts'
import { providerBack, unheard } from './missing.ts'
import { leavingRoom } from './reserve.ts'
import { type Asked, endUnheard, openTold } from './unwritten.ts'
import { watchStops } from './watch.ts'

/** For a pool that is not configured any more. */
const noInputsMs = 3_600_000
/** A defect is not made better by trying for ever. */
const defectTries = 3

/** Settles when the run has ended, or when the host stops. */
export async function driveRun(deps: RunDeps, id: string): Promise<void> {
  const asked: Asked = {}
  let untried = false
  for (let defects = 0; !deps.stopping.aborted;) {
    try {
      const run = deps.records.get(id)
      if (run === undefined) return
      const stretch = workOn(deps, run, { untried, asked })
      // Its worker comes in this stretch: in the next one it was asked for nothing yet.
      untried = run.worker_id === null
      const ending = await stretch
      if (ending === undefined) continue
      await lasting(deps, () => finish(deps, id, ending))
      return
    } catch (error) {
      if (deps.stopping.aborted) return
      if (!(error instanceof StoreError)) {
        defects += 1
        deps.report('a run driver failed', {
          run: id,
          error: error instanceof Error ? (error.stack ?? error.message) : String(error),
        })
        if (defects === defectTries) {
          await finish(deps, id, { outcome: 'unknown', reason: `the host failed: ${(error as Error).message}` }).catch(
            () => undefined,
          )
          return
        }
      }
      await pauseFor(deps, illMs, deps.stopping)
    }
  }
}

/** One stretch of work; undefined when the record has moved on and must be looked at again. */
async function workOn(
  deps: RunDeps,
  run: RunRecord,
  stretch: Pick<Job, 'untried'> & { asked: Asked },
): Promise<Ending | undefined> {
  if (run.state === 'uploading') return awaitInputs(deps, run)
  const request = requestOf(deps, run)
  if (run.worker_id === null) {
    if (run.lease_id === null) return requestLease(deps, { run, request })
    return awaitWorker(deps, run, run.lease_id)
  }
  return inWorker(deps, { run, request, untried: stretch.untried }, stretch.asked)
}

/** Until the last input is stored; the one who stores it moves the record on. */
async function awaitInputs(deps: RunDeps, run: RunRecord): Promise<Ending | undefined> {
  let late = false
  const { queueTimeoutMs } = requestOf(deps, run)
  const patience = queueTimeoutMs ?? deps.engine.pools.get(run.pool)?.config.queueTimeoutMs ?? noInputsMs
  await new Promise<void>((resolve) => {
    const disarm = deps.engine.clock.after(Math.max(0, run.created_at + patience - deps.engine.clock.now()), () => {
      late = true
      done()
    })
    const done = (): void => {
      disarm()
      unwatch()
      deps.stopping.removeEventListener('abort', done)
      resolve()
    }
    const look = (now: RunRecord | undefined): void => {
      if (now === undefined || now.state !== 'uploading' || now.cancel_requested > 0) done()
    }
    const unwatch = deps.records.observe(run.id, look)
    deps.stopping.addEventListener('abort', done)
    look(deps.records.get(run.id))
  })
  if (deps.stopping.aborted) throw deps.stopping.reason
  const now = deps.records.get(run.id)
  if (late && now?.state === 'uploading')
    return { outcome: 'infrastructure', reason: `its inputs did not come within ${Math.round(patience / 1000)} s` }
  return now !== undefined && now.cancel_requested > 0 ? { outcome: 'cancelled', reason: now.reason ?? 'cancelled' } : undefined
}

async function requestLease(
  deps: RunDeps,
  { run, request }: { run: RunRecord; request: RunRequest },
): Promise<Ending | undefined> {
  if (run.cancel_requested > 0) return { outcome: 'cancelled', reason: run.reason ?? 'cancelled' }
  try {
    await deps.engine.leases.request(
      leaseRequestOf(deps, { id: run.id, pool: run.pool, request, principal: run.principal }),
      async (tx, after, lease) => {
        await deps.records.change(run.id, () => ({ lease_id: lease.id, state: 'queued', queued_at: deps.engine.clock.now() }), {
          tx,
          after,
        })
      },
    )
    return undefined
  } catch (error) {
    if (!(error instanceof EngineError) || error.code !== 'refused') throw error
    return { outcome: 'infrastructure', reason: error.message }
  }
}

async function awaitWorker(deps: RunDeps, run: RunRecord, leaseId: string): Promise<Ending | undefined> {
  const { engine, records } = deps
  const cancelled = new AbortController()
  const look = (now: RunRecord | undefined): void => {
    if (now !== undefined && now.cancel_requested > 0) cancelled.abort()
  }
  const unwatch = records.observe(run.id, look)
  look(records.get(run.id))
  let view: LeaseView
  try {
    view = await engine.leases.wait(leaseId, hasWorker, AbortSignal.any([cancelled.signal, deps.stopping]))
  } catch (error) {
    if (deps.stopping.aborted || !cancelled.signal.aborted) throw error
    return { outcome: 'cancelled', reason: records.get(run.id)?.reason ?? 'cancelled' }
  } finally {
    unwatch()
  }
  if (view.lease.state === 'ended') {
    const stop = stopOf(records.get(run.id))
    return endingWithoutWorker(view.lease, { stop })
  }
  const { worker, lease } = view
  if (worker === undefined) throw new Error(`lease ${lease.id} is active and has no worker`)
  // The exec id is durable before it is used: a command is started at most once.
  await records.change(run.id, (one) => ({ state: 'starting', worker_id: worker.id, exec_id: one.exec_id ?? newId('x') }))
  return undefined
}

function stopOf(run: RunRecord | undefined): Stop | undefined {
  return run !== undefined && run.cancel_requested > 0
    ? { kind: 'cancelled', reason: run.reason ?? 'cancelled', force: run.cancel_requested > 1 }
    : undefined
}

async function inWorker(deps: RunDeps, given: Pick<Job, 'run' | 'request' | 'untried'>, asked: Asked): Promise<Ending> {
  const { engine } = deps
  const { run, request } = given
  const lease = run.lease_id === null ? undefined : await engine.leases.find(run.lease_id)
  const worker = engine.workers.get(run.worker_id ?? '')
  const known = endingOfRecord(run)
  if (worker === undefined)
    return known === undefined
      ? cutOff(await endingOfGone(deps, run, { stop: stopOf(run) }), 'its worker was gone')
      : withStored(deps, { run, request, ending: known }, 'its worker was gone')
  const watch = watchStops(deps, { runId: run.id, leaseId: run.lease_id, workerId: worker.id })
  const provider = await providerBack({ ...given, deps, worker, watch }).catch((error: unknown) => {
    watch.close()
    throw error
  })
  if (provider === undefined) {
    watch.close()
    const missing = `no provider '${worker.provider}' is configured any more`
    if (known !== undefined) return withStored(deps, { run, request, ending: known }, missing)
    if (watch.gone()) return cutOff(await endingOfGone(deps, run, { stop: watch.stop() }), 'its worker was gone')
    return unheard({ ...given, watch }, missing)
  }
  const path = logPath(deps, run.id)
  const unheardOf = { ...given, deps, worker, lease, provider, target: engine.workers.target(worker), watch }
  if (run.started_at !== null) watch.started(run.started_at)
  let log: LogWriter
  try {
    log = await openTold(run.id, {
      open: () => openLog(path, () => deps.logGrown(run.id, log.totals().end)),
      told: deps.unwritten,
    })
  } catch (error) {
    watch.close()
    const stop = watch.stop()
    if (stop === undefined || known !== undefined) throw error
    // It has nothing to say: nobody has to wait until that can be written.
    if (run.started_at === null && (await isUnknown(unheardOf))) return { ...endingUnbegun('it never began', stop), unfit: true }
    if (wayOf(unheardOf) === 'exec') await endUnheard(unheardOf, asked)
    throw error
  }
  const writer = leavingRoom(log, deps.reserve)
  const job: Job = { ...unheardOf, writer }
  try {
    return await throughStates(job)
  } finally {
    watch.close()
    await writer.close()
  }
}

async function throughStates(job: Job): Promise<Ending> {
  const { deps, run, watch } = job
  const way = wayOf(job)
  let ending = endingOfRecord(run)
  if (ending === undefined) {
    if (run.started_at === null && way === 'exec') {
      try {
        await deliverInputs(job)
      } catch (error) {
        if (deps.stopping.aborted || error instanceof StoreError) throw error
        if (watch.stop() === undefined && !watch.gone())
          return { outcome: 'infrastructure', reason: `its inputs could not be delivered: ${(error as Error).message}` }
      }
      // Else its command may have begun, by a host that was killed before it could say so.
      if (job.untried && watch.stop() !== undefined) return endingUnbegun('it never began', watch.stop())
    }
    ending = withMemory(job, await ways[way](job))
    deps.killpoint('run-exit-not-stored')
    deps.killpoint('log-end-not-stored')
    await storeExit(job, ending)
  }
  deps.killpoint('run-collecting')
  return way === 'exec' ? withOutputs(job, ending) : withHandedIn(job, ending)
}

/** The exit is durable, with all of the log, before anything is done to the worker. Kept until then: an agent tells it once. */
async function storeExit({ deps, run, writer }: Job, ending: Ending): Promise<void> {
  const end = {
    state: 'collecting',
    outcome: ending.outcome,
    reason: ending.reason,
    exit: ending.exit === undefined ? null : JSON.stringify(ending.exit),
    log_problem: ending.logProblem ?? null,
    log_end: writer.totals().end,
  }
  await lasting(deps, () => deps.records.change(run.id, () => end))
}

/** What a host before this one had stored of the end. */
function endingOfRecord(run: RunRecord): Ending | undefined {
  if (run.state !== 'collecting' || run.outcome === null) return undefined
  return {
    outcome: run.outcome as Ending['outcome'],
    reason: run.reason ?? '',
    ...(run.exit === null ? {} : { exit: JSON.parse(run.exit) as NonNullable<Ending['exit']> }),
    ...(run.log_problem === null ? {} : { logProblem: run.log_problem }),
    // Whether its worker may serve others is not stored: what never began, or has no end, says no.
    ...(run.started_at === null || run.outcome === 'unknown' ? { unfit: true } : {}),
  }
}

const ways = { command: runByCommand, agent: runByAgent, exec: runByExec }

/** A command in somebody's worker goes by exec, whatever that worker does itself; a run goes by what its worker was made for. */
function wayOf({ run, lease, worker }: Pick<Job, 'run' | 'lease' | 'worker'>): keyof typeof ways {
  if (run.kind !== 'run') return 'exec'
  const mode = modeOfSpec(worker.spec)
  if (mode === 'agent') return 'agent'
  return mode === 'command' && lease?.of_run === 1 ? 'command' : 'exec'
}
