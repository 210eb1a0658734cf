/** Why a run went as it did: what was decided about it, about its lease, and about the workers made for that. */
import type { Journal, JournalPage } from '../api.ts'
import type { JournalRow, RunRecord } from '../model.ts'

/** Of each thing that took part; far more than one run causes. */
const MOST = 500

/** Oldest first, each once: the newest of the page. A command in somebody's worker answers for itself only. */
export async function whyRun(
  journal: Pick<Journal, 'why'>,
  run: RunRecord,
  { limit = 200, before = Infinity }: JournalPage = {},
): Promise<JournalRow[]> {
  // All of them, whatever the page: each may name a lease or a worker that has earlier ones.
  const most = { limit: MOST }
  const own = await journal.why('run', run.id, most)
  if (run.kind === 'exec') return own.filter((row) => row.seq < before).slice(-limit)
  const leases = new Set([run.lease_id, ...own.map((row) => row.lease_id)].filter((id) => id !== null))
  const ofLeases = (await Promise.all([...leases].map((id) => journal.why('lease', id, most)))).flat()
  const workers = new Set([run.worker_id, ...ofLeases.map((row) => row.worker_id)].filter((id) => id !== null))
  const ofWorkers = (await Promise.all([...workers].map((id) => journal.why('worker', id, most)))).flat()
  // A worker that serves several leases has decisions about the others too.
  const mine = ofWorkers.filter((row) => row.lease_id === null || leases.has(row.lease_id))
  const all = new Map([...own, ...ofLeases, ...mine].map((row) => [row.seq, row] as const))
  return [...all.values()]
    .filter((row) => row.seq < before)
    .sort((a, b) => a.seq - b.seq)
    .slice(-limit)
}

/** Whose beginnings its story needs. */
export function partsOf({
  id,
  kind,
  lease_id: lease,
  worker_id: worker,
}: RunRecord): { kind: 'run' | 'lease' | 'worker'; id: string }[] {
  if (kind === 'exec') return [{ kind: 'run', id }]
  return [
    { kind: 'run', id },
    ...(lease === null ? [] : [{ kind: 'lease' as const, id: lease }]),
    ...(worker === null ? [] : [{ kind: 'worker' as const, id: worker }]),
  ]
}
