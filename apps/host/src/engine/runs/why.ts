/** Why a run went as it did: what was decided about it, about its lease, and about the workers made for that. */
import type { Journal } from '../api.ts'
import type { JournalRow, RunRecord } from '../model.ts'

/** Oldest first, each once; at most `limit` of the newest. A command in somebody's worker answers for itself only. */
export async function whyRun(journal: Pick<Journal, 'why'>, run: RunRecord, limit = 200): Promise<JournalRow[]> {
  const own = await journal.why('run', run.id, limit)
  if (run.kind === 'exec') return own
  const leases = new Set([run.lease_id, ...own.map((row) => row.lease_id)].filter((id) => id !== null))
  const ofLeases = (await Promise.all([...leases].map((id) => journal.why('lease', id, limit)))).flat()
  const workers = new Set([run.worker_id, ...ofLeases.map((row) => row.worker_id)].filter((id) => id !== null))
  const ofWorkers = (await Promise.all([...workers].map((id) => journal.why('worker', id, limit)))).flat()
  // A worker that serves several leases has decisions about the others too.
  const mine = ofWorkers.filter((row) => row.lease_id === null || leases.has(row.lease_id))
  const all = new Map([...own, ...ofLeases, ...mine].map((row) => [row.seq, row] as const))
  return [...all.values()].sort((a, b) => a.seq - b.seq).slice(-limit)
}
