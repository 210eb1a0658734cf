/** Run rows: written by compare-and-set, the live ones kept in memory, their watchers told after the commit. */
import type { Engine } from '../api.ts'
import type { Artifact, RunRecord, RunRequest } from '../model.ts'
import type { AfterCommit, Tx } from '../../store/store.ts'
import { noteAhead } from '../times.ts'
import { RunError } from '../runs-api.ts'

export type RunChange = Partial<Omit<RunRecord, 'id' | 'rev' | 'pool' | 'kind' | 'ahead'>>

export interface RunRecords {
  /** Reads the live rows; once, at start. */
  load(): Promise<RunRecord[]>
  live(): Iterable<RunRecord>
  get(id: string): RunRecord | undefined
  find(id: string): Promise<RunRecord | undefined>
  insert(tx: Tx, after: AfterCommit, run: RunRecord): Promise<void>
  /**
   * Changes a live run in a write of its own, or in one that is under way. `work` sees the newest record and returns the change, or
   * undefined to leave it. Returns the record afterwards.
   */
  change(id: string, work: (run: RunRecord) => RunChange | undefined, within?: Within): Promise<RunRecord>
  observe(id: string, listener: (run: RunRecord) => void): () => void
}

/** A write under way, and what else belongs into the same transaction. */
export interface Within {
  tx: Tx
  after: AfterCommit
}

export function createRecords(
  engine: Pick<Engine, 'store' | 'clock'>,
  onEnded: (run: RunRecord) => void = () => undefined,
): RunRecords {
  const live = new Map<string, RunRecord>()
  const listeners = new Map<string, Set<(run: RunRecord) => void>>()

  function set(run: RunRecord): void {
    const before = live.get(run.id)
    // Commits of one group come in order; an older one must not win over a newer.
    if (before !== undefined && before.rev > run.rev) return
    if (run.ended_at === null) live.set(run.id, run)
    else {
      live.delete(run.id)
      onEnded(run)
    }
    for (const listener of listeners.get(run.id) ?? []) listener(run)
  }

  async function changeIn(
    id: string,
    work: (run: RunRecord) => RunChange | undefined,
    { tx, after }: Within,
  ): Promise<RunRecord> {
    const run = await tx.selectFrom('runs').selectAll().where('id', '=', id).executeTakeFirst()
    if (run === undefined) throw new RunError('not-found', `no run ${id}`)
    const change = run.ended_at === null ? work(run) : undefined
    if (change === undefined) return run
    const news = { rev: run.rev + 1, ahead: noteAhead(engine.clock, change, run.ahead) }
    const next: RunRecord = { ...run, ...change, ...news }
    await tx
      .updateTable('runs')
      .set({ ...change, ...news })
      .where('id', '=', id)
      .where('rev', '=', run.rev)
      .execute()
    after(() => set(next))
    return next
  }

  return {
    async load() {
      const rows = await engine.store.read.selectFrom('runs').selectAll().where('ended_at', 'is', null).execute()
      for (const row of rows) live.set(row.id, row)
      return rows
    },
    live: () => live.values(),
    get: (id) => live.get(id),
    async find(id) {
      return live.get(id) ?? (await engine.store.read.selectFrom('runs').selectAll().where('id', '=', id).executeTakeFirst())
    },
    async insert(tx, after, made) {
      const run = { ...made, ahead: noteAhead(engine.clock, made) }
      await tx.insertInto('runs').values(run).execute()
      after(() => set(run))
    },
    change: (id, work, within) =>
      within === undefined ? engine.store.write((tx, after) => changeIn(id, work, { tx, after })) : changeIn(id, work, within),
    observe(id, listener) {
      const all = listeners.get(id) ?? new Set()
      listeners.set(id, all.add(listener))
      return () => {
        all.delete(listener)
        if (all.size === 0) listeners.delete(id)
      }
    },
  }
}

export function artifactsOf(run: RunRecord): Artifact[] {
  return JSON.parse(run.artifacts) as Artifact[]
}

/** The request as it may be shown: env by name only, files by path only. */
export function openRequest(request: RunRequest): Record<string, unknown> {
  const { env, files, requirements, ...same } = request
  const { env: wished, ...others } = requirements
  return {
    ...same,
    requirements: { ...others, ...(wished === undefined ? {} : { env: hide(wished) }) },
    ...(env === undefined ? {} : { env: hide(env) }),
    ...(files === undefined ? {} : { files: files.map(({ base64: _hidden, ...file }) => file) }),
  }
}

function hide(env: Record<string, string>): Record<string, string> {
  return Object.fromEntries(Object.keys(env).map((name) => [name, '']))
}

/** What a sealed value of a run is bound to. */
export function sealContext(id: string): string {
  return `run:${id}`
}
