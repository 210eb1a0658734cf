/** What goes into a job's run and comes out of it. Digests are compared wherever bytes change hands. */
import { createHash } from 'node:crypto'
import { rm } from 'node:fs/promises'
import { join, posix } from 'node:path'
import { isMusterError } from '@muster/client'
import { workspaceInput } from './file/expand.ts'
import type { PlannedJob } from './file/plan.ts'
import type { Workshop } from './shop.ts'
import type { Run } from './muster.ts'
import { type PackedTar, renameTree, saveStream } from './transfer/pack.ts'
import type { WorkspaceError } from './transfer/scan.ts'

/** An artifact is not what Muster announced, or cannot be used as the file wants it. */
export class ArtifactError extends Error {
  override readonly name = 'ArtifactError'
  readonly hint: string | undefined = undefined
}

/** Uploads the workspace and the artifacts of other jobs. A run that ends meanwhile needs no more of them. */
export async function uploadInputs(
  shop: Workshop,
  job: PlannedJob,
  { run, signal }: { run: string; signal: AbortSignal },
): Promise<void> {
  const put = async (artifact: string, tar: PackedTar, from?: string): Promise<void> => {
    await shop.muster.putInput(run, artifact, { file: tar.file, signal })
    await shop.emit({
      type: 'input',
      job: job.id,
      artifact,
      sha256: tar.sha256,
      bytes: tar.bytes,
      ...(from === undefined ? {} : { from }),
    })
  }
  try {
    await put(workspaceInput, shop.workspace)
    for (const input of job.inputs) {
      const made = shop.artifacts.get(input.artifact)
      if (made === undefined || signal.aborted) return
      await put(input.artifact, await forPath(shop, made, input), input.from)
    }
  } catch (error) {
    // As by a cancel: how it ended, its record says.
    if (!(isMusterError(error) && error.code === 'ended')) throw error
  }
}

/** The artifact with the name that its place in this job asks for. */
async function forPath(
  { folder }: Workshop,
  made: PackedTar & { path: string },
  { artifact, path }: { artifact: string; path: string },
): Promise<PackedTar> {
  const name = posix.basename(posix.normalize(path))
  if (name === posix.basename(posix.normalize(made.path))) return made
  const unique = createHash('sha256').update(`${made.file}\0${name}\0${Math.random()}`).digest('hex').slice(0, 16)
  return renameTree(made, { name, to: join(folder, `${artifact}.${unique}.tar`) }).catch((error: unknown) => {
    throw new ArtifactError(`the artifact ${artifact} cannot go to ${path}: ${(error as WorkspaceError).message}`, {
      cause: error,
    })
  })
}

/** Fetches what the run left. */
export async function fetchOutputs(shop: Workshop, job: PlannedJob, run: Run): Promise<void> {
  for (const { artifact, path } of job.outputs) {
    const stored = run.artifacts.some((one) => one.direction === 'out' && one.name === artifact && one.state === 'stored')
    if (!stored) continue
    const tar = await fetchOutput(shop, { run: run.id, artifact })
    shop.artifacts.set(artifact, { ...tar, path })
    await shop.emit({ type: 'output', job: job.id, artifact, sha256: tar.sha256, bytes: tar.bytes, file: tar.file })
  }
}

/** A transfer that was cut is done again from its start; what fails more often than this does not fail by accident. */
const TRANSFERS = 5

async function fetchOutput(
  { muster, folder }: Workshop,
  { run, artifact }: { run: string; artifact: string },
): Promise<PackedTar> {
  const file = join(folder, `${artifact}.${run}.tar`)
  for (let transfer = 1; ; transfer++) {
    const { sha256, tar } = await muster.getOutput(run, artifact)
    const saved = await saveStream(tar, file).catch((error: unknown) => error as Error)
    if (!(saved instanceof Error) && (sha256 === undefined || sha256 === saved.sha256)) return saved
    await rm(file, { force: true })
    const reason = saved instanceof Error ? saved.message : `sha256 ${saved.sha256} arrived, and ${sha256} was sent`
    if (transfer === TRANSFERS) throw new ArtifactError(`the artifact ${artifact} cannot be fetched: ${reason}`, { cause: saved })
  }
}
