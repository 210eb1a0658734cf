/** One job: a run of Muster from its making to its last byte, again when its worker failed. */
import { createHash } from 'node:crypto'
import { posix } from 'node:path'
import { isMusterError } from '@muster/client'
import { ArtifactError, fetchOutputs, uploadInputs } from './artifacts.ts'
import type { JobResult } from './events.ts'
import { workspaceInput } from './file/expand.ts'
import type { PlannedJob } from './file/plan.ts'
import { followRun } from './follow.ts'
import { createTail } from './lines.ts'
import type { Run, RunRequest } from './muster.ts'
import type { Workshop } from './shop.ts'
import { tellWaiting } from './waiting.ts'

/** What is shown of a failed job's output: a screen, with room for the summary. */
const TAIL_LINES = 30

/** A client that is away for this long is not coming back: its runs end. A restart of daemon or network is shorter. */
const DETACH_MS = 120_000

/** Runs a job to its end. Never rejects for what happens to the job; only for a fault of the listener. */
export async function runJob(shop: Workshop, job: PlannedJob, pool: string): Promise<JobResult> {
  for (let attempt = 1; ; attempt++) {
    const result = await tryJob(shop, job, { pool, attempt })
    if (result.outcome !== 'infrastructure' || attempt > job.retries || shop.cancel.aborted) return result
    await shop.emit({ type: 'retry', job: job.id, reason: result.reason ?? 'its worker failed', attempt: attempt + 1 })
  }
}

async function tryJob(shop: Workshop, job: PlannedJob, { pool, attempt }: { pool: string; attempt: number }): Promise<JobResult> {
  const { muster, emit } = shop
  const result: JobResult = { job: job.id, outcome: 'infrastructure', pool, attempts: attempt, tail: [] }
  const missing = job.inputs.find((input) => !shop.artifacts.has(input.artifact))
  if (missing !== undefined) return { ...result, outcome: 'failed', reason: `'${missing.from}' made no '${missing.artifact}'` }
  const tail = createTail(TAIL_LINES)
  const given = new AbortController()
  let run: Run | undefined
  try {
    run = await muster.createRun(requestOf(shop, job, pool), keyOf(shop, job, attempt))
    const { id } = run
    result.run = id
    await emit({ type: 'job-begin', job: job.id, run: id, pool, attempt })
    using _cancel = passOnCancel(shop, id)
    using waiting = tellWaiting(
      () => muster.waitingOf(pool),
      (reason) => emit({ type: 'job-waits', job: job.id, reason }),
    )
    const follow = followRun(
      {
        muster,
        run,
        state: async (now) => {
          waiting.note(now)
          await tellState(shop, job, now)
        },
        log: async (stream, data) => {
          tail.push(stream, data)
          await emit({ type: 'log', job: job.id, stream, data })
        },
      },
      given.signal,
    )
    const [ended] = await Promise.all([follow, uploadInputs(shop, job, { run: id, signal: given.signal })])
    run = ended
    await describe(result, shop, ended)
    if (result.outcome === 'passed' || shop.keepAll) await fetchOutputs(shop, job, ended)
  } catch (error) {
    // Nobody follows it any more, and it must not go on alone.
    if (run !== undefined && run.state !== 'ended')
      await muster.cancelRun(run.id, { reason: 'the pipeline lost it', force: false }).catch(() => undefined)
    if (!isMusterError(error) && !(error instanceof ArtifactError)) throw error
    result.outcome = 'infrastructure'
    result.reason = error.hint === undefined ? error.message : `${error.message}. ${error.hint}`
  } finally {
    given.abort()
  }
  if (result.outcome !== 'passed') result.tail = tail.lines()
  return result
}

function requestOf(shop: Workshop, job: PlannedJob, pool: string): RunRequest {
  const { image, resources, workdir, timeoutMs, queueTimeoutMs } = job
  return {
    pool,
    command: ['sh', '-ec', job.run],
    env: job.env,
    inputs: [
      { name: workspaceInput, path: '.' },
      // The tar of an artifact holds one tree under its own name: it is unpacked beside where the tree is to stand.
      ...job.inputs.map(({ artifact, path }) => ({ name: artifact, path: posix.dirname(posix.normalize(path)) })),
    ],
    outputs: job.outputs.map(({ artifact, path, optional }) => ({ name: artifact, path, ...(optional ? { optional } : {}) })),
    labels: { pipeline: cut(shop.name), job: cut(job.id), 'pipeline-run': shop.id },
    detachMs: DETACH_MS,
    ...(image === undefined ? {} : { image }),
    ...(resources === undefined ? {} : { resources }),
    ...(workdir === undefined ? {} : { workdir }),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
    ...(queueTimeoutMs === undefined ? {} : { queueTimeoutMs }),
  }
}

/** The API's limit for the value of a label. */
function cut(text: string): string {
  return text.slice(0, 255)
}

function keyOf(shop: Workshop, job: PlannedJob, attempt: number): string {
  return createHash('sha256').update(`${shop.id}\0${job.id}\0${attempt}`).digest('hex').slice(0, 40)
}

/** Hands a cancel of the pipeline on to the run, and a force after it too. */
function passOnCancel({ muster, cancel, force }: Workshop, run: string): Disposable {
  const end = (hard: boolean): void =>
    // One that cannot be reached any more fails where it is followed.
    void muster.cancelRun(run, { reason: 'the pipeline was cancelled', force: hard }).catch(() => undefined)
  const soft = (): void => end(false)
  const hard = (): void => end(true)
  cancel.addEventListener('abort', soft, { once: true })
  force.addEventListener('abort', hard, { once: true })
  if (cancel.aborted) end(force.aborted)
  return {
    [Symbol.dispose]() {
      cancel.removeEventListener('abort', soft)
      force.removeEventListener('abort', hard)
    },
  }
}

async function tellState({ muster, emit }: Workshop, job: PlannedJob, { state, worker }: Run): Promise<void> {
  const record = worker === undefined ? undefined : await muster.findWorker(worker)
  await emit({
    type: 'job-state',
    job: job.id,
    state,
    ...(worker === undefined ? {} : { worker }),
    ...(record === undefined ? {} : { provider: record.provider }),
  })
}

/** Puts what the run's record, its lease and its worker say into the result. */
async function describe(result: JobResult, { muster }: Workshop, run: Run): Promise<void> {
  const { exit, lease, worker } = run
  const reason = run.reason ?? exit?.reason
  result.outcome = run.outcome ?? 'unknown'
  if (result.outcome !== 'passed' && reason !== undefined) result.reason = reason
  if (exit?.code !== undefined) result.exitCode = exit.code
  if (exit?.signal !== undefined) result.signal = exit.signal
  // By the clock of the worker's machine, some to the second: not after it was seen here.
  const [end] = [exit?.at, run.endedAt].filter((at) => at !== undefined).sort()
  const runMs = between(run.startedAt, end)
  if (runMs !== undefined) result.runMs = runMs
  const queueMs = between(run.queuedAt, lease === undefined ? undefined : (await muster.findLease(lease))?.assignedAt)
  if (queueMs !== undefined) result.queueMs = queueMs
  if (worker === undefined) return
  result.worker = worker
  const record = await muster.findWorker(worker)
  if (record === undefined) return
  result.provider = record.provider
  const launchMs = between(record.createdAt, record.readyAt)
  if (launchMs !== undefined) result.launchMs = launchMs
  if (record.readyAt !== undefined && run.queuedAt !== undefined) result.warm = record.readyAt < run.queuedAt
}

/** Milliseconds; times of one clock, which may have been set back. */
function between(from: string | undefined, to: string | undefined): number | undefined {
  if (from === undefined || to === undefined) return undefined
  return Math.max(0, Date.parse(to) - Date.parse(from))
}
