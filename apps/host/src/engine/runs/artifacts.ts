/** Inputs into the worker before the command, outputs out of it afterwards. */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdir, open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { type FileSpec, ProviderError, toProviderError } from '@muster/core'
import { pack } from 'tar-stream'
import { StoreError } from '../../store/store.ts'
import type { Artifact } from '../model.ts'
import {
  awayMs,
  inputPath,
  isPassing,
  type Job,
  lasting,
  outputPath,
  pauseForProvider,
  retryDelay,
  type RunDeps,
  traced,
} from './deps.ts'
import { onDisk } from './on-disk.ts'
import { artifactsOf, sealContext } from './records.ts'
import { type Digest, readSealed } from './sealed-file.ts'

/** An output larger than this is refused: it would fill the host's disk. */
export const maxArtifactBytes: number = 16 * 2 ** 30

export function inputContext(runId: string, name: string): string {
  return `${sealContext(runId)}:in:${name}`
}

/** The file of a stored input: by its content, so that no other upload can take its place. */
export function storedName(name: string, sha256: string): string {
  return `${name}.${sha256}`
}

/** Puts every input and inline file into the worker. Repeating it is harmless: the command has not started. */
export async function deliverInputs(job: Job): Promise<void> {
  const { deps, run, request, provider, target, watch } = job
  const stopped = new AbortController()
  void watch.stopped.then(() => stopped.abort())
  const cut = AbortSignal.any([deps.stopping, watch.lost, stopped.signal])
  const until = deps.engine.clock.now() + awayMs
  const call = { ...traced(request), idempotencyKey: `${run.id}-in`, signal: cut }
  const copyIn = (path: string, tar: () => AsyncIterable<Uint8Array>): Promise<void> =>
    persistently(job, () => provider.copyIn(target, { path, tar: tar() }, call), { cut, until })
  for (const file of filesByFolder(request.files ?? [])) await copyIn(file.path, () => tarOf(file.files))
  for (const artifact of artifactsOf(run)) {
    if (artifact.direction !== 'in') continue
    const path = inputPath(deps, run.id, storedName(artifact.name, artifact.sha256 ?? ''))
    await copyIn(artifact.path, () =>
      readSealed(path, { sealer: deps.engine.sealer, context: inputContext(run.id, artifact.name) }),
    )
    await lasting(deps, () => setArtifact(deps, run.id, { ...artifact, state: 'delivered' }))
  }
}

/** Tries again while the fault may pass and somebody still wants it, `until` then at the latest. */
export async function persistently<T>(
  job: Job,
  work: () => Promise<T>,
  { cut, until }: { cut: AbortSignal; until: number },
): Promise<T> {
  const { clock } = job.deps.engine
  for (let failures = 1; ; failures++)
    try {
      cut.throwIfAborted()
      return await work()
    } catch (thrown) {
      const error = toProviderError(thrown)
      if (cut.aborted || !isPassing(error) || clock.now() >= until) throw thrown instanceof StoreError ? thrown : error
      await pauseForProvider(job, retryDelay(error, failures, clock.random()), cut)
    }
}

/** Changes one artifact of a run; the others stay as they are now. */
export async function setArtifact(deps: RunDeps, runId: string, next: Artifact): Promise<void> {
  await deps.records.change(runId, (run) => ({
    artifacts: JSON.stringify(
      artifactsOf(run).map((one) => (one.name === next.name && one.direction === next.direction ? next : one)),
    ),
  }))
}

/** Stores a stream whole or not at all, and says what it was. Errors: StoreError of the disk, and what `source` throws. */
export async function storeFile(path: string, source: AsyncIterable<Uint8Array>): Promise<Digest> {
  const part = `${path}.part`
  const file = await onDisk(async () => {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 })
    return open(part, 'w', 0o600)
  })
  const hash = createHash('sha256')
  let bytes = 0
  try {
    for await (const chunk of source) {
      hash.update(chunk)
      bytes += chunk.length
      if (bytes > maxArtifactBytes) throw new ProviderError('invalid-spec', `an output of more than ${maxArtifactBytes} bytes`)
      await onDisk(async () => {
        for (let at = 0; at < chunk.length;) at += (await file.write(chunk, at)).bytesWritten
      })
    }
    await onDisk(() => file.sync())
  } catch (error) {
    await rm(part, { force: true })
    throw error
  } finally {
    await file.close()
  }
  await onDisk(() => rename(part, path))
  return { sha256: hash.digest('hex'), bytes }
}

/** Opened by the first who reads: one that nobody reads holds no file open. */
export async function* readOutput(deps: RunDeps, runId: string, name: string): AsyncGenerator<Uint8Array, void, undefined> {
  yield* createReadStream(outputPath(deps, runId, name), { highWaterMark: 262_144 }) as AsyncIterable<Uint8Array>
}

/** Absolute files from the root, the others from the worker's own folder. */
function filesByFolder(files: readonly FileSpec[]): { path: string; files: FileSpec[] }[] {
  const folders = Map.groupBy(files, ({ path }) => (path.startsWith('/') ? '/' : '.'))
  return (['/', '.'] as const).flatMap((path) => {
    const own = folders.get(path)
    return own === undefined ? [] : [{ path, files: own }]
  })
}

function tarOf(files: readonly FileSpec[]): AsyncIterable<Uint8Array> {
  const tar = pack()
  // Private by default, as in the contract.
  for (const file of files)
    tar.entry({ name: file.path.replace(/^\/+/, ''), mode: file.mode ?? 0o600 }, Buffer.from(file.base64, 'base64'))
  tar.finalize()
  return tar as AsyncIterable<Uint8Array>
}
