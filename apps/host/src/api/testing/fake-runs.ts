/** Runs in memory that do what a test tells them: for the API and the client, which do not care how a command runs. */
import { createHash } from 'node:crypto'
import type { Artifact, RunRecord, RunRequest } from '../../engine/model.ts'
import { type LogPiece, RunError, type Runs } from '../../engine/runs-api.ts'
import { newId } from '../../store/ids.ts'
import type { Store } from '../../store/store.ts'

interface Life {
  run: RunRecord
  log: LogPiece[]
  complete: boolean
  stdin: { data: Buffer[]; offset: number; ended: boolean }
  files: Map<string, Buffer>
  changed: PromiseWithResolvers<void>
}

export interface FakeRuns extends Runs {
  /** Requests as they arrived, newest last. */
  readonly requests: RunRequest[]
  /** Pieces given to readers so far, of all runs. */
  readonly given: { pieces: number; open: number; clients: number }
  change(id: string, next: Partial<RunRecord>): void
  output(id: string, stream: LogPiece['stream'], data: string | Uint8Array): void
  /** The log is complete; the run has ended with this. */
  end(id: string, next?: Partial<RunRecord>): void
  setOutput(id: string, name: string, tar: Buffer): void
  stdinOf(id: string): Buffer
  /** Every log read from now on fails after so many pieces. */
  cutAfter(pieces: number | undefined): void
}

export function fakeRuns(store: () => Store): FakeRuns {
  const lives = new Map<string, Life>()
  const requests: RunRequest[] = []
  const given = { pieces: 0, open: 0, clients: 0 }
  let cut: number | undefined

  const life = (id: string): Life => {
    const found = lives.get(id)
    if (found === undefined) throw new RunError('not-found', `no run ${id}`)
    return found
  }
  const tell = (one: Life): void => {
    one.changed.resolve()
    one.changed = Promise.withResolvers()
  }
  const change = (id: string, next: Partial<RunRecord>): RunRecord => {
    const one = life(id)
    one.run = { ...one.run, ...next, rev: one.run.rev + 1 }
    tell(one)
    return one.run
  }
  const artifactsOf = (run: RunRecord): Artifact[] => JSON.parse(run.artifacts) as Artifact[]
  const setArtifact = (id: string, next: Artifact): void => {
    const same = (one: Artifact): boolean => one.name === next.name && one.direction === next.direction
    change(id, { artifacts: JSON.stringify(artifactsOf(life(id).run).map((one) => (same(one) ? next : one))) })
  }
  const artifact = (id: string, direction: 'in' | 'out', name: string): Artifact => {
    const found = artifactsOf(life(id).run).find((one) => one.direction === direction && one.name === name)
    if (found === undefined) throw new RunError('not-found', `run ${id} names no ${name}`)
    return found
  }
  const alive = (id: string): Life => {
    const one = life(id)
    if (one.run.ended_at !== null) throw new RunError('ended', `run ${id} has ended`)
    return one
  }
  const withStdin = (id: string): Life => {
    const one = alive(id)
    if (!(JSON.parse(one.run.request) as RunRequest).stdin) throw new RunError('no-stdin', `run ${id} reads no standard input`)
    return one
  }

  const create: Runs['create'] = async (request, { principal }, also) => {
    const run = recordOf(request, principal)
    await store().write(async (tx, after) => {
      await also?.(tx, after, run)
      after(() => {
        requests.push(request)
        lives.set(run.id, {
          run,
          log: [],
          complete: false,
          stdin: { data: [], offset: 0, ended: false },
          files: new Map(),
          changed: Promise.withResolvers(),
        })
      })
    })
    return run
  }

  return {
    agent: noAgents,
    requests,
    given,
    create,
    change,
    output: (id, stream, data) => {
      const one = life(id)
      const bytes = Buffer.from(data as string)
      one.log.push({ stream, data: bytes, next: (one.log.at(-1)?.next ?? 0) + bytes.length + 10 })
      tell(one)
    },
    end: (id, next = { outcome: 'passed', exit: JSON.stringify({ code: 0, reason: 'exited with 0' }) }) => {
      life(id).complete = true
      change(id, { state: 'ended', ended_at: Date.now(), ...next })
    },
    setOutput: (id, name, tar) => {
      life(id).files.set(name, tar)
      setArtifact(id, { ...artifact(id, 'out', name), state: 'stored', sha256: sha256(tar), bytes: tar.length })
    },
    stdinOf: (id) => Buffer.concat(life(id).stdin.data),
    cutAfter: (pieces) => (cut = pieces),
    exec: async (workerId, request, { principal, also }) => {
      const run = await create({ ...request, requirements: {}, inputs: [], outputs: [] }, { principal }, also)
      return change(run.id, { kind: 'exec', worker_id: workerId })
    },
    get: (id) => (lives.get(id)?.run.ended_at === null ? lives.get(id)?.run : undefined),
    find: async (id) => lives.get(id)?.run,
    list: async ({ ended = false, limit = 100, before, pool }) =>
      [...lives.values()]
        .map((one) => one.run)
        .filter(
          (run) =>
            (ended || run.ended_at === null) && (pool ?? run.pool) === run.pool && (before === undefined || run.id < before),
        )
        .sort((a, b) => (a.id < b.id ? 1 : -1))
        .slice(0, limit),
    cancel: async (id, { force, reason }) => {
      const { run } = life(id)
      return run.ended_at === null ? change(id, { cancel_requested: force === true ? 2 : 1, reason }) : run
    },
    wait: async (id, until, signal) => {
      for (;;) {
        signal?.throwIfAborted()
        const one = life(id)
        if (one.run.ended_at !== null || until(one.run)) return one.run
        await Promise.race([one.changed.promise, aborted(signal)])
      }
    },
    attach: () => {
      given.clients += 1
      return () => (given.clients -= 1)
    },
    putInput: async (id, { name, tar, sha256: wanted }) => {
      const known = artifact(alive(id).run.id, 'in', name)
      const chunks: Uint8Array[] = []
      for await (const chunk of tar) chunks.push(chunk)
      const bytes = Buffer.concat(chunks)
      if (wanted !== undefined && wanted !== sha256(bytes)) throw new RunError('digest', 'other bytes than announced')
      if (known.state !== 'awaited' && known.sha256 !== sha256(bytes)) throw new RunError('conflict', 'other bytes than stored')
      const next: Artifact = { ...known, state: 'stored', sha256: sha256(bytes), bytes: bytes.length }
      setArtifact(id, next)
      return next
    },
    openOutput: async (id, name) => {
      const found = artifact(id, 'out', name)
      if (found.state === 'awaited') throw new RunError('not-ready', `output ${name} is not collected yet`)
      if (found.state === 'dropped') throw new RunError('gone', `output ${name} was dropped`)
      return { artifact: found, tar: slices(life(id).files.get(name) ?? Buffer.alloc(0)) }
    },
    writeStdin: async (id, { offset, data, end }) => {
      const { stdin } = withStdin(id)
      if (offset > stdin.offset) throw new RunError('gap', `stored up to ${stdin.offset}`, stdin.offset)
      const fresh = Buffer.from(data.subarray(stdin.offset - offset))
      stdin.data.push(fresh)
      stdin.offset += fresh.length
      stdin.ended ||= end
      return { offset: stdin.offset, ended: stdin.ended }
    },
    stdinState: async (id) => {
      const { stdin } = withStdin(id)
      return { offset: stdin.offset, ended: stdin.ended }
    },
    async *readLog(id, { from, follow, signal }) {
      const one = life(id)
      if (from > (one.log.at(-1)?.next ?? 0)) throw new RunError('bad-offset', 'beyond the end')
      let at = one.log.findIndex((piece) => piece.next > from)
      if (at < 0) at = one.log.length
      given.open += 1
      try {
        for (let count = 0; ;) {
          const { promise } = one.changed
          for (let piece = one.log[at]; piece !== undefined; piece = one.log[++at]) {
            if (signal?.aborted === true) return
            if (cut !== undefined && count++ >= cut) throw new Error('cut by the test')
            given.pieces += 1
            yield piece
          }
          if (one.complete || !follow || signal?.aborted === true) return
          await Promise.race([promise, aborted(signal).catch(() => undefined)])
        }
      } finally {
        given.open -= 1
      }
    },
    logState: async (id) => {
      const { log, complete } = life(id)
      const total = (stream: string): number =>
        log.filter((piece) => piece.stream === stream).reduce((sum, { data }) => sum + data.length, 0)
      return { end: log.at(-1)?.next ?? 0, stdoutBytes: total('stdout'), stderrBytes: total('stderr'), complete }
    },
    why: async () => [],
    whyDroppedBefore: async () => undefined,
    stop: async () => undefined,
  }
}

function recordOf(request: RunRequest, principal: string): RunRecord {
  const awaited = (direction: 'in' | 'out', list: { name: string; path: string }[]): Artifact[] =>
    list.map(({ name, path }) => ({ name, path, direction, state: 'awaited' }))
  const { env: _env, files: _files, ...open } = request
  return {
    id: newId('r'),
    kind: 'run',
    pool: request.pool ?? '',
    lease_id: null,
    worker_id: null,
    state: request.inputs.length > 0 ? 'uploading' : 'queued',
    rev: 1,
    request: JSON.stringify(open),
    request_sealed: null,
    principal,
    exec_id: null,
    created_at: Date.now(),
    queued_at: null,
    started_at: null,
    ended_at: null,
    deadline: null,
    cancel_requested: 0,
    outcome: null,
    exit: null,
    reason: null,
    log_problem: null,
    log_end: null,
    ahead: null,
    artifacts: JSON.stringify([...awaited('in', request.inputs), ...awaited('out', request.outputs)]),
  }
}

async function* slices(bytes: Buffer): AsyncGenerator<Uint8Array, void, undefined> {
  for (let at = 0; at < bytes.length; at += 65_536) yield bytes.subarray(at, at + 65_536)
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

function aborted(signal: AbortSignal | undefined): Promise<never> {
  return new Promise((_resolve, reject) => {
    signal?.addEventListener('abort', () => reject(signal.reason as Error), { once: true })
  })
}

/** None of them has a run here. */
const noAgents: Runs['agent'] = {
  next: async () => undefined,
  wants: () => noRun(),
  openInput: () => noRun(),
  putOutput: () => noRun(),
  appendLog: () => noRun(),
  done: () => noRun(),
}

function noRun(): Promise<never> {
  return Promise.reject(new RunError('not-found', 'this worker has no such run'))
}
