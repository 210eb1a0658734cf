/** The outputs of a run once its command has ended: taken out of its worker, and what the run is without those that are not there. */
import { toProviderError } from '@muster/core'
import { StoreError } from '../../store/store.ts'
import type { RunRecord, RunRequest } from '../model.ts'
import { modeOfSpec } from '../words.ts'
import { maxArtifactBytes, persistently, setArtifact, storeFile } from './artifacts.ts'
import { awayMs, type Job, lasting, outputPath, type RunDeps, traced } from './deps.ts'
import { type Ending, endingOfOutputs, type MissingOutput } from './outcome.ts'
import { artifactsOf } from './records.ts'
import { sparing } from './reserve.ts'
import { fitting } from './tar-room.ts'

/** Why an output is not there, by its name; of one without an entry the command left nothing. */
type Faults = ReadonlyMap<string, Omit<MissingOutput, 'name'>>

/** Takes every output out. How the run ends with that: what the command was, unless it passed and something that it had to leave is not there. */
export async function withOutputs(job: Job, ending: Ending): Promise<Ending> {
  const { deps, run, request } = job
  return endingOfOutputs(ending, missingOf(deps, { run, request }, await collect(job, ending)))
}

/** What an agent has not handed in before it was done is not there. */
export function withHandedIn({ deps, run, request }: Job, ending: Ending): Ending {
  return endingOfOutputs(ending, missingOf(deps, { run, request }, new Map()))
}

/** Nobody can take anything out of the worker any more: `why`. */
export async function withStored(
  deps: RunDeps,
  { run, request, ending }: { run: RunRecord; request: RunRequest; ending: Ending },
  why: string,
): Promise<Ending> {
  const worker = run.worker_id === null ? undefined : await deps.engine.workers.find(run.worker_id)
  const handedIn = worker !== undefined && modeOfSpec(worker.spec) === 'agent'
  const faults = awaited(deps, run).map(({ name }) => [name, { fault: 'host' as const, reason: why }] as const)
  return endingOfOutputs(ending, missingOf(deps, { run, request }, new Map(handedIn ? [] : faults)))
}

const awaited = (deps: RunDeps, run: RunRecord): ReturnType<typeof artifactsOf> =>
  artifactsOf(deps.records.get(run.id) ?? run).filter((one) => one.direction === 'out' && one.state === 'awaited')

/** Those that the run cannot do without. */
function missingOf(deps: RunDeps, { run, request }: { run: RunRecord; request: RunRequest }, faults: Faults): MissingOutput[] {
  const optional = new Set(request.outputs.filter((one) => one.optional === true).map((one) => one.name))
  return awaited(deps, run)
    .filter(({ name }) => !optional.has(name))
    .map(({ name }) => ({ name, fault: 'command' as const, ...faults.get(name) }))
}

/** All of them together are waited for as long as a provider may be away; what the host itself has ended is asked for once. */
async function collect(job: Job, ending: Ending): Promise<Faults> {
  const { deps, run, request, provider, target, watch } = job
  const faults = new Map<string, Omit<MissingOutput, 'name'>>()
  const until = deps.engine.clock.now() + (isStopped(ending) ? 0 : awayMs)
  const cancel = lateCancel(job, ending)
  const cut = AbortSignal.any([deps.stopping, watch.lost, cancel.signal])
  try {
    for (const artifact of awaited(deps, run))
      try {
        const copy = (): AsyncIterable<Uint8Array> => provider.copyOut(target, artifact.path, { ...traced(request), signal: cut })
        const store = (): ReturnType<typeof storeFile> =>
          storeFile(
            outputPath(deps, run.id, artifact.name),
            sparing(fitting(copy(), { most: maxArtifactBytes, room: deps.room }), deps.reserve),
          )
        const digest = await persistently(job, telling(job, artifact.name, store), { cut, until })
        await lasting(deps, () => setArtifact(deps, run.id, { ...artifact, ...digest, state: 'stored' }))
      } catch (thrown) {
        if (deps.stopping.aborted) throw thrown
        const { code, message } = thrown instanceof StoreError ? thrown : toProviderError(thrown)
        if (watch.gone()) faults.set(artifact.name, { fault: 'host', reason: 'its worker was gone' })
        else if (cut.aborted) faults.set(artifact.name, { fault: 'cancel' })
        else if (code === 'invalid-spec') faults.set(artifact.name, { fault: 'command', reason: message })
        else if (code !== 'not-found') faults.set(artifact.name, { fault: 'host', reason: message })
      }
  } finally {
    cancel.close()
  }
  return faults
}

/** What the disk does not take is told, by a row for the first reason and a condition for as long as it is so. */
function telling<T>({ deps, run, worker }: Job, name: string, store: () => Promise<T>): () => Promise<T> {
  const { journal, store: rows } = deps.engine
  let told = false
  return async () => {
    try {
      const stored = await store()
      deps.unwritten.done(run.id, 'output')
      return stored
    } catch (error) {
      if (!(error instanceof StoreError)) throw error
      deps.unwritten.failed(run.id, 'output', error)
      const row = {
        rule: 'output-retry' as const,
        decision: `its output ${name} could not be stored: ${error.message}; taken out again`,
        pool: run.pool,
        provider: worker.provider,
        runId: run.id,
        workerId: worker.id,
        inputs: { output: name, reason: error.message },
        change: `It ends when that is stored, or without it after ${awayMs / 1000} s.`,
      }
      // A store that is ill as well is told with the next try.
      if (!told)
        told = await rows
          .write((tx, after) => journal.append(tx, after, row))
          .then(
            () => true,
            () => false,
          )
      throw error
    }
  }
}

const isStopped = ({ outcome }: Ending): boolean => outcome === 'cancelled' || outcome === 'timeout'

/** A cancel that came after the command's end. One that ended the command is not meant, but when it is said again, harder. */
function lateCancel({ deps, run }: Job, ending: Ending): { signal: AbortSignal; close(): void } {
  const late = new AbortController()
  const now = deps.records.get(run.id) ?? run
  const known = isStopped(ending) ? now.cancel_requested : 0
  const look = (one: RunRecord): void => {
    if (one.cancel_requested > known) late.abort()
  }
  const close = deps.records.observe(run.id, look)
  look(now)
  return { signal: late.signal, close }
}
