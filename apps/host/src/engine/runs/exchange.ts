/** What goes into a run and comes out of it through the API: inputs, outputs, standard input. */
import { createHash, randomUUID } from 'node:crypto'
import { rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { Artifact, RunRecord } from '../model.ts'
import { RunError, type Runs } from '../runs-api.ts'
import { inputContext, maxArtifactBytes, readOutput, storedName } from './artifacts.ts'
import { inputPath, removeFolder, type RunDeps } from './deps.ts'
import { artifactsOf } from './records.ts'
import { sparing } from './reserve.ts'
import { writeSealed } from './sealed-file.ts'

/** What the host keeps of input that the command has not asked for: a client that sends faster waits. */
const maxPieceBytes = 1 << 20

export function inputsAndOutputs(deps: RunDeps): Pick<Runs, 'putInput' | 'openOutput' | 'writeStdin' | 'stdinState'> {
  const { records, engine } = deps

  async function live(id: string): Promise<RunRecord> {
    const run = await records.find(id)
    if (run === undefined) throw new RunError('not-found', `no run ${id}`)
    if (run.ended_at !== null) throw new RunError('ended', `run ${id} has ended`)
    return run
  }

  function artifact(run: RunRecord, direction: 'in' | 'out', name: string): Artifact {
    const found = artifactsOf(run).find((one) => one.direction === direction && one.name === name)
    if (found === undefined)
      throw new RunError('not-found', `run ${run.id} names no ${direction === 'in' ? 'input' : 'output'} '${name}'`)
    return found
  }

  async function stdinOf(id: string): Promise<RunRecord> {
    const run = await live(id)
    if (!(JSON.parse(run.request) as { stdin: boolean }).stdin)
      throw new RunError('no-stdin', `run ${id} reads no standard input`)
    return run
  }

  /** The first whole upload is the input; the same bytes again are fine. */
  async function store(id: string, { name, sha256, bytes }: { name: string; sha256: string; bytes: number }): Promise<Artifact> {
    let kept: Artifact | undefined
    await records.change(id, (run) => {
      const known = artifact(run, 'in', name)
      kept = known.state === 'awaited' ? { ...known, sha256, bytes, state: 'stored' } : known
      if (known.state !== 'awaited') return undefined
      const all = artifactsOf(run).map((one) => (one.direction === 'in' && one.name === name && kept !== undefined ? kept : one))
      const whole = run.state === 'uploading' && all.every((one) => one.direction === 'out' || one.state !== 'awaited')
      return { artifacts: JSON.stringify(all), ...(whole ? { state: 'queued', queued_at: engine.clock.now() } : {}) }
    })
    if (kept === undefined) throw new RunError('ended', `run ${id} has ended`)
    if (kept.sha256 === sha256) return kept
    await rm(inputPath(deps, id, storedName(name, sha256)), { force: true })
    throw new RunError('conflict', `input '${name}' is stored already, with other bytes`)
  }

  return {
    async putInput(id, { name, tar, sha256 }) {
      artifact(await live(id), 'in', name)
      // Two uploads at once each have a file of their own; the record decides which one counts.
      const draft = inputPath(deps, id, `${name}.${randomUUID()}`)
      try {
        const source = checked(sparing(bounded(tar, 'an input'), deps.reserve), sha256)
        const digest = await writeSealed(draft, source, { sealer: engine.sealer, context: inputContext(id, name) })
        // Named by its content: another upload never takes this one's place.
        await rename(draft, inputPath(deps, id, storedName(name, digest.sha256)))
        return await store(id, { name, ...digest })
      } catch (error) {
        await rm(draft, { force: true })
        if (records.get(id) !== undefined) throw error
        // The run ended meanwhile, and what it had was removed, perhaps while this was being written.
        await removeFolder(dirname(draft))
        throw new RunError('ended', `run ${id} has ended`)
      }
    },

    async openOutput(id, name) {
      const run = await records.find(id)
      if (run === undefined) throw new RunError('not-found', `no run ${id}`)
      const found = artifact(run, 'out', name)
      if (found.state === 'awaited' && run.ended_at === null)
        throw new RunError('not-ready', `output '${name}' is not collected yet`)
      if (found.state === 'dropped') throw new RunError('gone', `output '${name}' was dropped`)
      if (found.state !== 'stored') throw new RunError('not-found', `the command left nothing at '${found.path}'`)
      return { artifact: found, tar: readOutput(deps, id, name) }
    },

    async writeStdin(id, { offset, data, end, signal }) {
      await stdinOf(id)
      if (data.length > maxPieceBytes) throw new RunError('too-large', `a piece has at most ${maxPieceBytes} bytes`)
      signal?.throwIfAborted()
      const spool = await deps.spool(id)
      return spool.exclusive(async () => {
        if (spool.closed) throw new RunError('ended', `run ${id} has ended`)
        const have = spool.state()
        if (offset > have.offset) throw new RunError('gap', `the input is stored up to ${have.offset}`, have.offset)
        if (have.ended) return have
        await spool.room(signal)
        if (spool.closed) throw new RunError('ended', `run ${id} has ended`)
        deps.reserve()
        await spool.append(data.subarray(Math.min(data.length, have.offset - offset)), end)
        return spool.state()
      })
    },

    async stdinState(id) {
      await stdinOf(id)
      return (await deps.spool(id)).state()
    },
  }
}

export async function* bounded(source: AsyncIterable<Uint8Array>, what: string): AsyncGenerator<Uint8Array> {
  let total = 0
  for await (const chunk of source) {
    total += chunk.length
    if (total > maxArtifactBytes) throw new RunError('too-large', `${what} has at most ${maxArtifactBytes} bytes`)
    yield chunk
  }
}

/** Fails at the end of bytes that are not those that were announced. */
export async function* checked(source: AsyncIterable<Uint8Array>, sha256: string | undefined): AsyncGenerator<Uint8Array> {
  const hash = createHash('sha256')
  for await (const chunk of source) {
    hash.update(chunk)
    yield chunk
  }
  const found = hash.digest('hex')
  if (sha256 !== undefined && sha256 !== found) throw new RunError('digest', `the bytes have sha256 ${found}, not ${sha256}`)
}
