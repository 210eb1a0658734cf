/** Is a client there? A run that asked for it ends when nobody has been for its `detachMs`. */
import type { Engine } from '../api.ts'
import type { RunRecord } from '../model.ts'
import type { Runs } from '../runs-api.ts'
import type { RunRecords } from './records.ts'

export interface Presence {
  /** Starts counting for a run that has `detachMs`; after a restart its clients get the whole time to come back. */
  watch(run: RunRecord): void
  attach(id: string): () => void
  forget(id: string): void
  stop(): void
}

interface Entry {
  detachMs: number
  clients: number
  disarm?: () => void
}

export function createPresence({
  engine,
  records,
  cancel,
}: {
  engine: Pick<Engine, 'clock'>
  records: RunRecords
  cancel(id: string, reason: string): Promise<unknown>
}): Presence {
  const entries = new Map<string, Entry>()

  function arm(id: string, entry: Entry): void {
    entry.disarm?.()
    entry.disarm = engine.clock.after(entry.detachMs, () => {
      // A store that cannot write now is asked again after the same time.
      if (records.get(id) === undefined) return
      cancel(id, `no client for ${entry.detachMs} ms`).catch(() => {
        // One that came meanwhile is there; the time runs from its leaving.
        if (entry.clients === 0 && entries.get(id) === entry) arm(id, entry)
      })
    })
  }

  return {
    watch(run) {
      const { detachMs } = JSON.parse(run.request) as { detachMs?: number }
      if (detachMs === undefined) return
      const entry: Entry = { detachMs, clients: 0 }
      entries.set(run.id, entry)
      arm(run.id, entry)
    },
    attach(id) {
      const entry = entries.get(id)
      if (entry === undefined) return () => undefined
      entry.clients += 1
      entry.disarm?.()
      let here = true
      return () => {
        if (!here) return
        here = false
        entry.clients -= 1
        if (entry.clients === 0 && entries.get(id) === entry) arm(id, entry)
      }
    },
    forget(id) {
      entries.get(id)?.disarm?.()
      entries.delete(id)
    },
    stop() {
      for (const entry of entries.values()) entry.disarm?.()
      entries.clear()
    },
  }
}

/** Of a run's data, what has a client there for as long as it lasts. */
type Lasting = Pick<Runs, 'readLog' | 'putInput' | 'writeStdin'>

/** The same, and each counts as a client of its run: a log that is followed, an upload, standard input that is sent. */
export function counting(presence: Pick<Presence, 'attach'>, runs: Lasting): Lasting {
  async function during<T>(id: string, work: () => Promise<T>): Promise<T> {
    const leave = presence.attach(id)
    try {
      return await work()
    } finally {
      leave()
    }
  }
  return {
    async *readLog(id, how) {
      if (!how.follow) return yield* runs.readLog(id, how)
      const leave = presence.attach(id)
      try {
        yield* runs.readLog(id, how)
      } finally {
        leave()
      }
    },
    putInput: (id, upload) => during(id, () => runs.putInput(id, upload)),
    writeStdin: (id, piece) => during(id, () => runs.writeStdin(id, piece)),
  }
}
