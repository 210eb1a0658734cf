/** A run in a worker whose agent takes it: laid down for it, worked on through its calls, ended by its word or without it. */
import type { WorkerExit } from '@muster/core'
import type { Order } from '../agent-api.ts'
import type { Artifact } from '../model.ts'
import { RunError } from '../runs-api.ts'
import { inputContext, setArtifact, storedName, storeFile } from './artifacts.ts'
import { exitOfWorker, started } from './by-exec.ts'
import { cutBy } from './cut.ts'
import { inputPath, type Job, outputPath, pauseFor } from './deps.ts'
import type { Seat } from './desk.ts'
import { bounded, checked } from './exchange.ts'
import { endingOfGone } from './gone.ts'
import { cutOff, type Ending, endingOf, type Stop } from './outcome.ts'
import { artifactsOf } from './records.ts'
import { sparing } from './reserve.ts'
import { readSealed } from './sealed-file.ts'
import { enforceStop } from './watch.ts'

/** An agent that was told to kill its command and does not say that it is dead is given up after this. */
const silentAfterKillMs = 30_000

export async function runByAgent(job: Job): Promise<Ending> {
  const { deps, run, watch, worker, lease } = job
  const over = new AbortController()
  const ended = Promise.withResolvers<Ending>()
  const settle = (ending: Promise<Ending> | Ending): void => void Promise.resolve(ending).then(ended.resolve, ended.reject)
  const seat = seatOf(job, (exit) => settle(endingOf(exit, watch.stop())))
  const takeAway = deps.desk.lay(worker.id, seat)
  const stopper = enforceStop(
    job,
    {
      async gentle() {
        // Nobody has begun with it.
        if (!seat.taken()) settle(endingOf({ reason: 'it was not taken up' }, watch.stop()))
        deps.desk.tell(worker.id)
      },
      async hard() {
        seat.kill()
        deps.desk.tell(worker.id)
        await pauseFor(deps, silentAfterKillMs, over.signal)
        const reason = 'killed, and its agent did not answer'
        settle(cutOff(endingOf({ reason }, watch.stop()), reason))
      },
    },
    over.signal,
  ).catch((error: unknown) => deps.report('a run could not be stopped', { run: run.id, error: String(error) }))
  const lost = (): void => settle(endingOfLost(job))
  const look = (): void => {
    const { exit } = exitOfWorker(job)
    if (exit !== undefined) settle(endingOfAgent(job, exit))
  }
  const unwatch = lease === undefined ? undefined : deps.engine.leases.observe(lease.id, look)
  const stopping = (): void => ended.reject(deps.stopping.reason as Error)
  watch.lost.addEventListener('abort', lost, { once: true })
  deps.stopping.addEventListener('abort', stopping, { once: true })
  if (deps.stopping.aborted) stopping()
  if (watch.gone()) lost()
  look()
  try {
    return await ended.promise
  } finally {
    over.abort()
    // First what is being written; whoever comes later finds that the run is over.
    await seat.close()
    takeAway()
    unwatch?.()
    watch.lost.removeEventListener('abort', lost)
    deps.stopping.removeEventListener('abort', stopping)
    await stopper
  }
}

async function endingOfLost(job: Job): Promise<Ending> {
  const { deps, run, watch } = job
  return cutOff(await endingOfGone(deps, run, { stop: watch.stop(), ...exitOfWorker(job) }), 'its worker was gone')
}

/** The agent is over, and said nothing of the command: its exit is not the command's. */
async function endingOfAgent({ deps, run, watch }: Job, exit: WorkerExit): Promise<Ending> {
  const stop = watch.stop()
  const why = 'its agent ended before the command was done'
  if (stop !== undefined || exit.oomKilled === true) return cutOff(await endingOfGone(deps, run, { stop, exit }), why)
  const how = exit.signal ?? (exit.code === undefined ? exit.reason : `exit ${exit.code}`)
  return { outcome: 'infrastructure', reason: `${why}: ${how}`, logProblem: why }
}

interface AgentSeat extends Seat {
  kill(): void
  /** Takes nothing any more; resolves when what is under way is done. */
  close(): Promise<void>
}

function seatOf(job: Job, finish: (exit: WorkerExit) => void): AgentSeat {
  const { deps, run, request, writer, watch } = job
  let taken = run.started_at !== null || artifactsOf(run).some((one) => one.state === 'delivered')
  let kill = false
  const closed = new AbortController()
  const over = (): RunError => new RunError('ended', `run ${run.id} has ended`)
  const lanes = new Map<string, Promise<unknown>>()

  /** In each lane one piece of work at a time, in the order asked for, and none once the run is over. */
  function inLane<T>(lane: string, work: () => Promise<T>): Promise<T> {
    const result = (lanes.get(lane) ?? Promise.resolve()).then(() => {
      if (closed.signal.aborted) throw over()
      return work()
    })
    lanes.set(
      lane,
      result.catch(() => undefined),
    )
    return result
  }

  const now = (): Artifact[] => artifactsOf(deps.records.get(run.id) ?? run)

  function artifact(direction: 'in' | 'out', name: string): Artifact {
    const found = now().find((one) => one.direction === direction && one.name === name)
    if (found !== undefined) return found
    throw new RunError('not-found', `run ${run.id} names no ${direction === 'in' ? 'input' : 'output'} '${name}'`)
  }

  const begin = async (): Promise<void> => {
    if (deps.records.get(run.id)?.started_at === null) await started(job)
  }

  async function* read(input: Artifact): AsyncGenerator<Uint8Array> {
    const path = inputPath(deps, run.id, storedName(input.name, input.sha256 ?? ''))
    yield* readSealed(path, { sealer: deps.engine.sealer, context: inputContext(run.id, input.name) })
    await setArtifact(deps, run.id, { ...input, state: 'delivered' })
    if (now().every((one) => one.direction === 'out' || one.state === 'delivered')) await inLane('log', begin)
  }

  return {
    runId: run.id,
    taken: () => taken,
    kill: () => (kill = true),
    async take() {
      taken = true
      // What it has to fetch first is no part of the command's time.
      if (request.inputs.length === 0) await inLane('log', begin)
      return order()
    },
    wants() {
      const stop: Stop | undefined = watch.stop()
      if (stop === undefined) return { wants: 'nothing' }
      return { wants: kill || stop.force ? 'kill' : 'stop', reason: stop.reason }
    },
    openInput(name) {
      const input = artifact('in', name)
      return { artifact: input, tar: cutBy(read(input), { signal: closed.signal, error: over }) }
    },
    async putOutput({ name, tar, sha256 }) {
      artifact('out', name)
      return inLane(`output:${name}`, async () => {
        const source = cutBy(sparing(bounded(tar, 'an output'), deps.reserve), { signal: closed.signal, error: over })
        const digest = await storeFile(outputPath(deps, run.id, name), checked(source, sha256))
        const stored: Artifact = { ...artifact('out', name), ...digest, state: 'stored' }
        await setArtifact(deps, run.id, stored)
        return stored
      })
    },
    appendLog: ({ stream, offset, data }) =>
      inLane('log', async () => {
        await begin()
        const have = writer.totals()[stream]
        if (offset > have) throw new RunError('gap', `${stream} is stored up to ${have}`, have)
        const fresh = data.subarray(have - offset)
        if (fresh.length > 0) {
          deps.killpoint('run-output-not-stored')
          await writer.append({ stream, data: fresh })
        }
        return writer.totals()[stream]
      }),
    finish: (exit) =>
      inLane('log', async () => {
        await begin()
        finish(exit)
      }),
    close: async () => {
      closed.abort()
      await Promise.all(lanes.values())
    },
  }

  function order(): Order {
    const { command, env = {}, workdir, files = [], timeoutMs } = request
    return {
      run: run.id,
      command,
      env,
      files,
      graceMs: job.worker.grace_ms,
      inputs: now()
        .filter((one) => one.direction === 'in')
        .map(({ name, path, sha256 = '', bytes = 0 }) => ({ name, path, sha256, bytes })),
      outputs: request.outputs.map(({ name, path, optional = false }) => ({ name, path, optional })),
      ...(workdir === undefined ? {} : { workdir }),
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
    }
  }
}
