/** A Muster in memory for unit tests: runs are scripted, and every call is seen. */
import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { MusterError } from '@muster/client'
import { pack } from 'tar-stream'
import type { Muster, Run, RunRequest } from './muster.ts'

export interface FakeRun {
  id: string
  request: RunRequest
  inputs: Map<string, Buffer>
  /** Aborted by a cancel. */
  cancelled: AbortSignal
  print(stream: 'stdout' | 'stderr', text: string | Uint8Array): void
}

/** How the command of a run behaves: its exit code, or another end. Outputs by name. */
export type Script = (run: FakeRun) => Promise<ScriptEnd | number> | ScriptEnd | number

export interface ScriptEnd {
  code?: number
  outcome?: NonNullable<Run['outcome']>
  reason?: string
  outputs?: Record<string, Buffer>
}

export interface FakeMuster extends Muster {
  readonly runs: readonly FakeRun[]
  /** The runs of one job, by its label. */
  of(job: string): FakeRun[]
  /** Cancels that were asked for, as `job` or `job!` with force. */
  readonly cancels: string[]
  /** Most runs at once that were neither uploading nor ended. */
  readonly peak: number
  /** Phase of every worker; default `terminated`. */
  phase: string
  /** Changes bytes of outputs on their way so often. */
  spoil: number
}

interface Entry extends FakeRun {
  record: Run
  chunks: { stream: 'stdout' | 'stderr'; data: Uint8Array }[]
  outputs: Record<string, Buffer>
  abort: AbortController
  changed: () => void
  waiters: (() => void)[]
}

/** `scripts` by the text of the job's line; one that is missing passes at once. */
export function fakeMuster(scripts: Record<string, Script> = {}): FakeMuster {
  const entries = new Map<string, Entry>()
  const keys = new Map<string, string>()
  const cancels: string[] = []
  let live = 0
  let peak = 0
  const find = (id: string): Entry => {
    const entry = entries.get(id)
    if (entry === undefined) throw new MusterError('not-found', `there is no run ${id}`)
    return entry
  }
  const change = (entry: Entry, values: Partial<Run>): void => {
    Object.assign(entry.record, values)
    entry.changed()
  }

  async function execute(entry: Entry): Promise<void> {
    live += 1
    peak = Math.max(peak, live)
    const worker = entry.id.replace('r', 'w')
    change(entry, { state: 'starting', worker, lease: entry.id.replace('r', 'l'), queuedAt: at(100) })
    change(entry, { state: 'running', startedAt: at(500) })
    const line = entry.request.command[2] ?? ''
    const given = await (scripts[line] ?? (() => 0))(entry)
    const end: ScriptEnd = typeof given === 'number' ? { code: given } : given
    entry.outputs = end.outputs ?? {}
    live -= 1
    finish(entry, end)
  }

  function finish(entry: Entry, { code, outcome, reason }: ScriptEnd): void {
    if (entry.record.state === 'ended') return
    const cut = entry.abort.signal.aborted
    change(entry, {
      state: 'ended',
      endedAt: at(900),
      outcome: outcome ?? (cut ? 'cancelled' : code === 0 ? 'passed' : 'failed'),
      ...(reason === undefined ? {} : { reason }),
      ...(code === undefined ? {} : { exit: { code, reason: `exited with ${code}` } }),
      artifacts: entry.record.artifacts.map((one) =>
        one.direction === 'in' ? one : { ...one, state: entry.outputs[one.name] === undefined ? 'missing' : 'stored' },
      ),
    })
  }

  const fake: FakeMuster = {
    phase: 'terminated',
    spoil: 0,
    get peak() {
      return peak
    },
    cancels,
    get runs() {
      return [...entries.values()]
    },
    of: (job: string) => [...entries.values()].filter((entry) => entry.request.labels?.['job'] === job),

    async createRun(request: RunRequest, key: string) {
      const known = keys.get(key)
      if (known !== undefined) return find(known).record
      if (request.pool === 'narrow')
        throw new MusterError('refused', 'no worker of pool narrow can be this', { hint: 'Ask for less.' })
      const id = `r${entries.size + 1}`
      const abort = new AbortController()
      const inputs = request.inputs ?? []
      const waiters: (() => void)[] = []
      const entry: Entry = {
        id,
        request,
        inputs: new Map(),
        abort,
        cancelled: abort.signal,
        chunks: [],
        outputs: {},
        waiters,
        changed: () => waiters.splice(0).forEach((wake) => wake()),
        print(stream, text) {
          entry.chunks.push({ stream, data: typeof text === 'string' ? Buffer.from(text) : text })
          entry.changed()
        },
        record: {
          id,
          kind: 'run',
          pool: request.pool ?? '',
          state: 'uploading',
          command: request.command,
          stdin: false,
          principal: 'test',
          labels: request.labels ?? {},
          cancelRequested: false,
          createdAt: at(0),
          artifacts: [
            ...inputs.map((one) => ({ ...one, direction: 'in' as const, state: 'awaited' as const })),
            ...(request.outputs ?? []).map(({ name, path }) => ({
              name,
              path,
              direction: 'out' as const,
              state: 'awaited' as const,
            })),
          ],
        },
      }
      entries.set(id, entry)
      keys.set(key, id)
      return structuredClone(entry.record)
    },

    async putInput(id: string, name: string, { file }: { file: string }) {
      const entry = find(id)
      if (entry.record.state === 'ended') throw new MusterError('ended', 'the run has ended')
      entry.inputs.set(name, await readFile(file))
      if (entry.inputs.size === (entry.request.inputs ?? []).length) void execute(entry)
    },

    async waitRun(id: string, { until, signal }: { until: Run['state']; signal?: AbortSignal }) {
      const entry = find(id)
      const order = ['uploading', 'queued', 'starting', 'running', 'collecting', 'ended']
      while (order.indexOf(entry.record.state) < order.indexOf(until)) await woken(entry, signal)
      return structuredClone(entry.record)
    },

    async *followLog(id: string, { signal }: { signal?: AbortSignal }) {
      const entry = find(id)
      for (let next = 0; ; next++) {
        while (next >= entry.chunks.length) {
          if (entry.record.state === 'ended') return
          await woken(entry, signal)
        }
        const chunk = entry.chunks[next]
        if (chunk !== undefined) yield { ...chunk, next }
      }
    },

    async cancelRun(id: string, { force }: { force: boolean }) {
      const entry = find(id)
      cancels.push(`${entry.request.labels?.['job'] ?? ''}${force ? '!' : ''}`)
      entry.abort.abort()
      if (entry.record.state === 'uploading') finish(entry, {})
    },

    async getOutput(id: string, name: string) {
      const bytes = find(id).outputs[name]
      if (bytes === undefined) throw new MusterError('not-found', `no output ${name}`)
      const sent = fake.spoil > 0 ? Buffer.from(bytes).fill(1, 0, 1) : bytes
      fake.spoil -= 1
      return { sha256: createHash('sha256').update(bytes).digest('hex'), tar: inPieces(sent) }
    },

    async waitingOf(pool: string) {
      if (pool === 'none') throw new MusterError('not-found', 'there is no pool none', { hint: 'Pools: local.' })
      return ''
    },

    async findLease() {
      return { assignedAt: at(350) } as never
    },

    async findWorker(id: string) {
      return { id, provider: 'fake', phase: fake.phase, createdAt: at(120), launchedAt: at(200), readyAt: at(300) } as never
    },
  }
  return fake
}

/** Milliseconds after a fixed moment. */
function at(ms: number): string {
  return new Date(1_800_000_000_000 + ms).toISOString()
}

async function woken(entry: Entry, signal: AbortSignal | undefined): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    entry.waiters.push(resolve)
    signal?.addEventListener('abort', () => reject(signal.reason as Error), { once: true })
  })
}

async function* inPieces(bytes: Buffer): AsyncGenerator<Uint8Array, void, undefined> {
  for (let from = 0; from < bytes.length; from += 1000) yield bytes.subarray(from, from + 1000)
}

/** A tar as a worker gives it: one tree under its own name. */
export async function tarOf(files: Record<string, string>): Promise<Buffer> {
  const tar = pack()
  for (const [name, text] of Object.entries(files)) tar.entry({ name }, text)
  tar.finalize()
  const chunks: Buffer[] = []
  for await (const chunk of tar as AsyncIterable<Buffer>) chunks.push(chunk)
  return Buffer.concat(chunks)
}
