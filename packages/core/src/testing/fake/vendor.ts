/**
 * The fake vendor: what exists, as files in one folder, so that two plugin processes and a restart see the same. A worker is there
 * when its `worker.json` is; marks beside it (`stopping`, `suspended`, `lost`, `expired`, `problem`) say more.
 */
import {
  appendFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  rmdirSync,
  rmSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import type { Call, WorkerProblem } from '../../provider.ts'
import type { FileSpec, Mount, OwnerTags, Readiness, ServiceSpec, WorkerId } from '../../spec.ts'
import { processesOf, readText, signalQuietly } from './cell.ts'
import type { Life } from './life.ts'

/** What the vendor was asked for. */
export interface WorkerRecord {
  id: WorkerId
  tags: OwnerTags
  /** Of the whole spec: the same id with another one is a conflict. */
  digest: string
  /** Absent: it only holds. */
  command?: string[]
  /** Its command is an agent, which finds the host here. */
  agent?: { url: string }
  env: Record<string, string>
  workdir: string
  files: FileSpec[]
  mounts: Mount[]
  services: ServiceSpec[]
  readiness?: Readiness
  lifetimeMs?: number
  /** Fields that a process cannot be given: the worker finds them in this file of its own, `$MUSTER_FAKE_MACHINE`. */
  machine: Record<string, unknown>
  part: string
  createdAt: number
}

export type Mark = 'stopping' | 'suspended' | 'idle' | 'lost' | 'expired' | 'problem'

/** One line of the vendor's own log. */
export interface VendorEvent {
  at: number
  pid: number
  /** `call`: a method was called. `effect`: the vendor did something. */
  kind: 'call' | 'effect'
  /** A method's name, or `create`, `start`, `stop`, `remove`, `exec`, … */
  op: string
  worker?: WorkerId
  epoch?: number
  attempt?: number
  key?: string
  traceparent?: string
}

export interface FakeVendor {
  readonly dir: string
  folder(id: WorkerId): string
  /** Atomic: of many at once one is `created`, the others find what it made. */
  create(record: WorkerRecord): 'created' | WorkerRecord
  get(id: WorkerId): WorkerRecord | undefined
  marks(id: WorkerId): Set<Mark>
  mark(id: WorkerId, mark: Mark, text?: string): void
  unmark(id: WorkerId, mark: Mark): void
  problem(id: WorkerId): WorkerProblem | undefined
  /** Ids after this one, in order; all of them, whosoever. */
  ids(after?: WorkerId): WorkerId[]
  /** Folders of all commands it was given: the main one, services, execs. */
  cells(id: WorkerId): string[]
  /** Kills what runs, then takes everything away; the record goes last. */
  remove(id: WorkerId): Promise<void>
  /** Removed workers that lists still show. */
  ghosts(): WorkerRecord[]
  /** Does it answer nothing at all now? */
  stalled(): boolean
  /** Parts that cannot be reached now. */
  outages(): string[]
  /** Remembers the highest epoch of an owner. False: this one is stale. */
  admit(owner: string, epoch: number): boolean
  /** Tells watchers. */
  tell(id: WorkerId): void
  note(event: Pick<VendorEvent, 'kind' | 'op'>, on?: { worker?: WorkerId; call?: Call }): void
}

export interface VendorOptions {
  dir: string
  life: Life
  now(): number
  /** How long lists still show a removed worker. */
  goneMs: number
}

export function openVendor(options: VendorOptions): FakeVendor {
  const { dir, life } = options
  const workers = join(dir, 'workers')
  const ghostDir = join(dir, 'ghosts')
  for (const folder of [workers, ghostDir, join(dir, 'outage'), join(dir, 'pools')]) mkdirSync(folder, { recursive: true })

  const folder = (id: WorkerId): string => join(workers, id)

  function get(id: WorkerId): WorkerRecord | undefined {
    const text = readText(join(folder(id), 'worker.json'))
    return text === undefined ? undefined : (JSON.parse(text) as WorkerRecord)
  }

  function create(record: WorkerRecord): 'created' | WorkerRecord {
    const half = join(folder(record.id), `half.${process.pid}.${Math.random()}`)
    for (;;) {
      try {
        mkdirSync(folder(record.id), { recursive: true })
        writeFileSync(half, JSON.stringify(record))
        linkSync(half, join(folder(record.id), 'worker.json'))
        unlinkSync(half)
        return 'created'
      } catch (error) {
        // ENOENT: it is being removed at this moment, folder and all.
        if (!['EEXIST', 'ENOENT'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error
        rmSync(half, { force: true })
        const other = get(record.id)
        if (other !== undefined) return other
      }
    }
  }

  async function remove(id: WorkerId): Promise<void> {
    const record = get(id)
    const home = folder(id)
    // Without a command ever started there is nothing to look for.
    const ran = ['main', 'services', 'exec'].some((name) => existsSync(join(home, name)))
    for (let found = ran ? processesOf(home) : []; found.length > 0; found = processesOf(home)) {
      await life.step('kill')
      for (const pid of found) signalQuietly(pid, 'SIGKILL')
    }
    if (!existsSync(home)) return
    await life.step('remove')
    empty(home)
    if (record !== undefined && options.goneMs > 0) {
      writeFileSync(join(ghostDir, `${id}.json`), JSON.stringify({ ...record, goneAt: options.now() + options.goneMs }))
    }
    rmSync(join(home, 'worker.json'), { force: true })
    for (;;) {
      try {
        rmdirSync(home)
        return
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException
        if (code === 'ENOENT') return
        if (code !== 'ENOTEMPTY') throw error
        // Begun to be made anew; or another process was just furnishing it, which must not outlast the worker.
        if (get(id) !== undefined) return
        empty(home)
      }
    }
  }

  function empty(home: string): void {
    for (const name of namesIn(home)) if (name !== 'worker.json') rmSync(join(home, name), { recursive: true, force: true })
  }

  function ghosts(): WorkerRecord[] {
    return readdirSync(ghostDir).flatMap((name) => {
      const text = readText(join(ghostDir, name))
      if (text === undefined) return []
      const { goneAt, ...record } = JSON.parse(text) as WorkerRecord & { goneAt: number }
      if (goneAt > options.now()) return [record]
      rmSync(join(ghostDir, name), { force: true })
      return []
    })
  }

  function admit(owner: string, epoch: number): boolean {
    const seen = join(dir, 'epochs', owner)
    mkdirSync(seen, { recursive: true })
    // One empty file for each epoch ever seen: nothing to lock, and no write is lost.
    const path = join(seen, String(epoch))
    if (!existsSync(path)) writeFileSync(path, '')
    return readdirSync(seen).every((name) => Number(name) <= epoch)
  }

  return {
    dir,
    folder,
    create,
    get,
    marks: (id) => new Set(namesIn(folder(id)) as Mark[]),
    mark(id, mark, text = '') {
      // A worker that has just gone needs no mark.
      if (existsSync(folder(id))) writeFileSync(join(folder(id), mark), text)
    },
    unmark: (id, mark) => rmSync(join(folder(id), mark), { force: true }),
    problem(id) {
      const text = readText(join(folder(id), 'problem'))
      return text === undefined ? undefined : (JSON.parse(text) as WorkerProblem)
    },
    ids: (after) =>
      namesIn(workers)
        .filter((id) => after === undefined || id > after)
        .sort(),
    cells: (id) => [
      join(folder(id), 'main'),
      ...['services', 'exec'].flatMap((kind) => namesIn(join(folder(id), kind)).map((name) => join(folder(id), kind, name))),
    ],
    remove,
    ghosts,
    stalled: () => existsSync(join(dir, 'stalled')),
    outages: () => namesIn(join(dir, 'outage')),
    admit,
    tell: (id) => appendFileSync(join(dir, 'events'), `${id}\n`),
    note({ kind, op }, { worker, call } = {}) {
      const event: VendorEvent = { at: options.now(), pid: process.pid, kind, op }
      if (worker !== undefined) event.worker = worker
      if (call !== undefined) {
        const { epoch, attempt, idempotencyKey: key, trace } = call
        Object.assign(event, { epoch, attempt, key, traceparent: trace.traceparent })
      }
      appendFileSync(join(dir, 'calls.log'), `${JSON.stringify(event)}\n`)
    },
  }
}

export function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder)
  } catch {
    return []
  }
}

/** Bytes of a file, 0 when it is not there. */
export function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0
}
