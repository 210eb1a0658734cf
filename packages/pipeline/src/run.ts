/** A pipeline from its first job to what is left: order, parallel jobs, cancellation, the result. */
import { randomUUID } from 'node:crypto'
import { copyFile, mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { isMusterError } from '@muster/client'
import type { JobResult, PipelineEvent, PipelineResult } from './events.ts'
import { type PipelinePlan, type PlannedJob, withNeeds } from './file/plan.ts'
import { runJob } from './job.ts'
import { findLeft } from './left.ts'
import type { Muster } from './muster.ts'
import { packWorkspace } from './transfer/pack.ts'
import type { Emit, Workshop } from './shop.ts'

export interface RunOptions {
  muster: Muster
  /** For jobs that name none; wins over the file's own. */
  pool?: string
  /** Ids or keys of jobs: only these, and what they need. */
  only?: readonly string[]
  /** After a failure go on with every job that does not need the failed one. */
  keepGoing?: boolean
  /** Jobs at once. Default 32: more uploads than that only share one disk. */
  parallel?: number
  /** Keep the artifacts here, as `<artifact>.tar`, those of failed jobs too. */
  artifacts?: string
  /** Hears of everything, one event after the other; what produces much waits for it. */
  onEvent?: (event: PipelineEvent) => void | Promise<void>
  /** Aborted: all runs are cancelled, their ends awaited. */
  cancel?: AbortSignal
  /** Aborted: killed, not asked. */
  force?: AbortSignal
}

/** No pool is named for a job, or one that there is not. */
export class PoolMissingError extends Error {
  override readonly name = 'PoolMissingError'
}

const PARALLEL = 32

/**
 * Runs a plan. Resolves with the result however the jobs end. Rejects, after all runs have ended, with WorkspaceError when the workspace
 * cannot be packed, RangeError for an unknown name in `only`, PoolMissingError, MusterError when
 * nobody can say what pools there are, or what `onEvent` throws.
 */
export async function runPlan(plan: PipelinePlan, options: RunOptions): Promise<PipelineResult> {
  const jobs = withNeeds(plan, options.only ?? [])
  const named = new Map(jobs.map((job) => [job.id, poolOf(job, plan, options)]))
  const pools = new Map([...named].map(([id, { pool }]) => [id, pool]))
  const begun = performance.now()
  const stop = new AbortController()
  const cancel = AbortSignal.any([stop.signal, ...(options.cancel === undefined ? [] : [options.cancel])])
  const force = options.force ?? new AbortController().signal
  const emit = emitter(options.onEvent)
  const folder = await mkdtemp(join(tmpdir(), 'muster-pipeline-'))
  try {
    await emit({
      type: 'begin',
      name: plan.name,
      file: plan.file,
      pools: [...new Set(pools.values())],
      jobs: jobs.map(({ id, needs }) => ({ id, needs })),
    })
    await refuseUnknown(options.muster, [...named.values()])
    using _told = tellCancel(emit, { cancel, force })
    const packed = await packWorkspace(plan.workspace, { ignored: plan.ignore, to: join(folder, 'workspace.tar') })
    const { files, sha256, bytes } = packed
    await emit({ type: 'workspace', files, sha256, bytes, ms: performance.now() - begun })
    const shop: Workshop = {
      muster: options.muster,
      emit,
      id: randomUUID(),
      name: plan.name,
      folder,
      workspace: packed,
      artifacts: new Map(),
      cancel,
      force,
      keepAll: options.artifacts !== undefined,
    }
    const results = await runJobs(shop, jobs, {
      pools,
      keepGoing: options.keepGoing === true,
      parallel: options.parallel ?? PARALLEL,
      stop,
    })
    if (options.artifacts !== undefined) await keepArtifacts(shop, options.artifacts)
    const { left, unknown } = await findLeft(options.muster, results)
    const outcome = outcomeOf(results, cancel.aborted)
    const result: PipelineResult = {
      name: plan.name,
      outcome,
      exitCode: exitCodes[outcome],
      ms: performance.now() - begun,
      jobs: results,
      left,
      ...(unknown === undefined ? {} : { leftUnknown: unknown }),
    }
    await emit({ type: 'end', result })
    return result
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

interface NamedPool {
  pool: string
  /** Where it is named. */
  by: string
}

function poolOf(job: PlannedJob, plan: PipelinePlan, options: RunOptions): NamedPool {
  if (job.pool !== undefined) return { pool: job.pool, by: `${plan.file}: 'jobs.${job.job}.pool'` }
  if (options.pool !== undefined) return { pool: options.pool, by: '--pool' }
  if (plan.pool !== undefined) return { pool: plan.pool, by: `${plan.file}: 'pool'` }
  throw new PoolMissingError(`no pool is named for job '${job.id}': write 'pool:' into the file, or use --pool`)
}

/** Before anything runs: a pool that is misspelt in the last job would be known only after all the others. */
async function refuseUnknown(muster: Muster, named: readonly NamedPool[]): Promise<void> {
  const places = new Map(named.map(({ pool, by }) => [pool, by]))
  const wrong: string[] = []
  for (const [pool, by] of places)
    await muster.waitingOf(pool).catch((error: unknown) => {
      if (!isMusterError(error) || error.code !== 'not-found') throw error
      wrong.push(`${by}: ${error.message}${error.hint === undefined ? '' : `. ${error.hint}`}`)
    })
  if (wrong.length > 0) throw new PoolMissingError(wrong.join('\n'))
}

/** One event after the other, in the order of the calls. */
function emitter(onEvent: RunOptions['onEvent']): Emit {
  let last: Promise<void> = Promise.resolve()
  return (event) => {
    const told: PipelineEvent = { at: Date.now(), ...event }
    const next = last.then(() => onEvent?.(told))
    // One that failed rejects for its own caller; the others are told nevertheless.
    last = next.catch(() => undefined)
    return next
  }
}

function tellCancel(emit: Emit, { cancel, force }: { cancel: AbortSignal; force: AbortSignal }): Disposable {
  const tell = (hard: boolean) => (): void =>
    void emit({ type: 'cancel', reason: textOf((hard ? force : cancel).reason), force: hard }).catch(() => undefined)
  const [soft, hard] = [tell(false), tell(true)]
  cancel.addEventListener('abort', soft, { once: true })
  force.addEventListener('abort', hard, { once: true })
  return {
    [Symbol.dispose]() {
      cancel.removeEventListener('abort', soft)
      force.removeEventListener('abort', hard)
    },
  }
}

function textOf(reason: unknown): string {
  return reason instanceof Error ? reason.message : String(reason)
}

interface Schedule {
  pools: ReadonlyMap<string, string>
  keepGoing: boolean
  parallel: number
  /** Aborted here when the listener fails. */
  stop: AbortController
}

/** Starts every job once what it needs has passed. Results in the order of the file. */
async function runJobs(
  shop: Workshop,
  jobs: readonly PlannedJob[],
  { pools, keepGoing, parallel, stop }: Schedule,
): Promise<JobResult[]> {
  const results = new Map<string, JobResult>()
  const running = new Map<string, Promise<void>>()
  const waiting = new Set(jobs)
  let fault: { error: unknown } | undefined
  const fail = (error: unknown): void => {
    fault ??= { error }
    stop.abort(error)
  }
  const finish = async (result: JobResult): Promise<void> => {
    results.set(result.job, result)
    await shop.emit({ type: 'job-end', job: result.job, result })
  }
  const skip = async (job: PlannedJob, reason: string): Promise<void> => {
    waiting.delete(job)
    await finish({ job: job.id, outcome: 'skipped', reason, attempts: 0, tail: [] }).catch(fail)
  }
  const begin = (job: PlannedJob): void => {
    waiting.delete(job)
    const done = runJob(shop, job, pools.get(job.id) ?? '')
      .then(finish)
      .catch(fail)
      .then(() => void running.delete(job.id))
    running.set(job.id, done)
  }
  const failed = (): string | undefined =>
    [...results.values()].find((result) => !['passed', 'skipped'].includes(result.outcome))?.job
  while (waiting.size > 0 || running.size > 0) {
    for (const job of [...waiting]) {
      const unmet = job.needs.filter((id) => results.get(id)?.outcome !== 'passed')
      const dead = unmet.find((id) => results.has(id))
      if (dead !== undefined) await skip(job, `it needs '${dead}'`)
      else if (shop.cancel.aborted) await skip(job, 'the pipeline was cancelled')
      else if (!keepGoing && failed() !== undefined) await skip(job, `'${failed()}' did not pass`)
      else if (unmet.length === 0 && running.size < parallel) begin(job)
    }
    if (running.size > 0) await Promise.race(running.values())
  }
  if (fault !== undefined) throw fault.error
  return jobs.flatMap((job) => results.get(job.id) ?? [])
}

const exitCodes = { passed: 0, failed: 1, infrastructure: 125, cancelled: 130 } as const

/** What counts most: a wish to end, then a failed command, then failed workers. */
function outcomeOf(results: readonly JobResult[], cancelled: boolean): PipelineResult['outcome'] {
  const has = (...outcomes: JobResult['outcome'][]): boolean => results.some((result) => outcomes.includes(result.outcome))
  if (results.every((result) => result.outcome === 'passed')) return 'passed'
  if (cancelled) return 'cancelled'
  if (has('failed', 'timeout', 'oom')) return 'failed'
  if (has('infrastructure', 'unknown')) return 'infrastructure'
  return 'cancelled'
}

async function keepArtifacts(shop: Workshop, folder: string): Promise<void> {
  await mkdir(folder, { recursive: true })
  for (const [artifact, { file }] of shop.artifacts) await copyFile(file, join(folder, `${artifact}.tar`))
}
