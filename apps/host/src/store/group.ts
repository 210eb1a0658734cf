/** Group commit: the writes asked for in one turn of the loop become one transaction with one fsync. */
import { type AfterCommit, StoreError, type StoreHealth, type StoreWork, type Tx } from './store.ts'

/** Statements of the transaction itself; each may throw StoreError. */
export interface GroupConnection {
  run(sql: string): void
  /** Rows changed since it was opened. */
  changes(): number
}

export interface GroupOptions {
  connection: GroupConnection
  tx: Tx
  /** Waits this long for another process's lock before the writes fail. Milliseconds. */
  busyMs: number
  onHealth(health: StoreHealth): void
  /** Told of each commit: the writes in it, and how long it took in milliseconds. */
  onCommit?: (writes: number, ms: number) => void
  now(): number
}

export interface Group {
  write<T>(work: StoreWork<T>): Promise<T>
  stats(): { commits: number; writes: number; waiting: number }
  close(): Promise<void>
}

interface Item {
  work: StoreWork<unknown>
  hooks: (() => void)[]
  settle: (outcome: { value: unknown } | { error: unknown }) => void
}

/** Writes in one transaction: bounds how long the first of them waits for the last. */
const GROUP = 512
/** Writes that may wait: several seconds of work; more means that somebody asks without waiting for answers. */
const WAITING = 50_000
/** Between tries for a lock held by another process. */
const BUSY_RETRY_MS = 20
/** Between tries to write while the store is ill, when nobody else writes. */
const PROBE_MS = 1000

export function groupCommit(options: GroupOptions): Group {
  const { connection, tx } = options
  let waiting: Item[] = []
  let running: Promise<void> | undefined
  let closed = false
  let commits = 0
  let writes = 0
  let health: StoreHealth['state'] = 'ok'
  let probe: NodeJS.Timeout | undefined

  function report(error?: StoreError): void {
    const state = error === undefined ? 'ok' : error.code === 'full' || error.code === 'busy' ? error.code : 'failed'
    if (state !== health) {
      health = state
      options.onHealth({ state, since: options.now(), message: error?.message ?? '', hint: error?.hint ?? '' })
    }
    clearTimeout(probe)
    if (state !== 'ok' && !closed) {
      probe = setTimeout(tryAgain, PROBE_MS)
      probe.unref()
    }
  }

  /** Its failure is reported by the group itself. */
  function tryAgain(): void {
    write(touch).catch(() => {})
  }

  async function begin(): Promise<void> {
    for (let waited = 0; ; waited += BUSY_RETRY_MS) {
      try {
        connection.run('begin immediate')
        return
      } catch (error) {
        if (!(error instanceof StoreError) || error.code !== 'busy' || waited >= options.busyMs) throw error
        await new Promise((resolve) => setTimeout(resolve, BUSY_RETRY_MS))
      }
    }
  }

  async function runOne(item: Item): Promise<() => void> {
    connection.run('savepoint one')
    try {
      const value = await item.work(tx, (hook) => item.hooks.push(hook))
      connection.run('release one')
      return () => item.settle({ value })
    } catch (error) {
      // The store as a whole is ill: SQLite may have undone the transaction already, so nothing of this group can count.
      if (error instanceof StoreError && error.code !== 'overloaded' && error.code !== 'closed') throw error
      connection.run('rollback to one')
      connection.run('release one')
      item.hooks.length = 0
      return () => item.settle({ error })
    }
  }

  async function runGroup(items: Item[]): Promise<void> {
    const settles: (() => void)[] = []
    const began = performance.now()
    const before = connection.changes()
    try {
      await begin()
      for (const item of items) settles.push(await runOne(item))
      connection.run('commit')
    } catch (error) {
      rollback(connection)
      for (const item of items) item.settle({ error })
      if (error instanceof StoreError) report(error)
      return
    }
    commits += 1
    writes += items.length
    options.onCommit?.(items.length, performance.now() - began)
    for (const item of items) for (const hook of item.hooks) runHook(hook)
    for (const settle of settles) settle()
    // A transaction that wrote nothing succeeds on a disk that takes nothing, too.
    if (connection.changes() > before) report()
  }

  async function drain(): Promise<void> {
    while (waiting.length > 0) {
      // The writers' whole turn may still add to the group. And whoever writes again and again must not keep everything else waiting:
      // the database answers at once, so that without this the loop would never turn.
      await new Promise((resolve) => setImmediate(resolve))
      const items = waiting.splice(0, GROUP)
      await runGroup(items)
    }
    running = undefined
  }

  function write<T>(work: StoreWork<T>): Promise<T> {
    if (closed) return Promise.reject(new StoreError('closed', 'the store is closed'))
    if (waiting.length >= WAITING)
      return Promise.reject(new StoreError('overloaded', 'too many writes wait for the store', { hint: 'Ask slower.' }))
    return new Promise<T>((resolve, reject) => {
      waiting.push({
        work,
        hooks: [],
        settle: (outcome) => ('error' in outcome ? reject(outcome.error) : resolve(outcome.value as T)),
      })
      running ??= drain()
    })
  }

  return {
    write,
    stats: () => ({ commits, writes, waiting: waiting.length }),
    close: async () => {
      closed = true
      clearTimeout(probe)
      await running
    },
  }
}

/** A write that changes one small row: succeeds when the store is well again. */
const touch = async (tx: Tx, _after: AfterCommit): Promise<void> => {
  await tx
    .insertInto('meta')
    .values({ key: 'probe', value: '0' })
    .onConflict((c) => c.column('key').doUpdateSet({ value: '0' }))
    .execute()
}

/** What hooks keep in memory would be wrong if one failed: the process ends, and the next one reads the truth from the store. */
function runHook(hook: () => void): void {
  try {
    hook()
  } catch (error) {
    process.nextTick(() => {
      throw error
    })
  }
}

function rollback(connection: GroupConnection): void {
  try {
    connection.run('rollback')
  } catch {
    // Already undone by the engine itself, as after a full disk.
  }
}
