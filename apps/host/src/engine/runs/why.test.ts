import { expect, test } from 'vitest'
import type { JournalPage } from '../api.ts'
import type { JournalRow, RunRecord } from '../model.ts'
import { whyRun } from './why.ts'

function row(seq: number, ids: { run?: string; lease?: string; worker?: string }): JournalRow {
  const { run = null, lease = null, worker = null } = ids
  const names = { run_id: run, lease_id: lease, worker_id: worker, pool: 'ci', provider: null }
  return { seq, at: seq, rule: `rule-${seq}`, decision: '', inputs: '{}', change: '', ...names }
}

const rows = [
  row(1, { lease: 'l1' }),
  row(2, { run: 'r1', lease: 'l1' }),
  row(3, { lease: 'l1', worker: 'w1' }),
  row(4, { worker: 'w1' }),
  row(5, { lease: 'l9', worker: 'w1' }),
  row(6, { lease: 'l1', worker: 'w2' }),
  row(7, { worker: 'w3' }),
  row(8, { run: 'r1', worker: 'w2' }),
]
const columns = { run: 'run_id', lease: 'lease_id', worker: 'worker_id', pool: 'pool', provider: 'provider' } as const
const journal = {
  why: async (kind: keyof typeof columns, id: string, { limit = 200 }: JournalPage = {}): Promise<JournalRow[]> =>
    rows.filter((one) => one[columns[kind]] === id).slice(-limit),
}
const run = { id: 'r1', kind: 'run', lease_id: 'l1', worker_id: 'w2' } as RunRecord
const seqs = async (given: RunRecord, page?: JournalPage): Promise<number[]> =>
  (await whyRun(journal, given, page)).map((one) => one.seq)

test('a run answers for its lease and the workers made for it, not for other leases of a worker', async () => {
  expect(await seqs(run)).toEqual([1, 2, 3, 4, 6, 8])
})

test('pages go from the newest to the oldest, none left out', async () => {
  expect(await seqs(run, { limit: 2 })).toEqual([6, 8])
  expect(await seqs(run, { limit: 3, before: 6 })).toEqual([2, 3, 4])
  expect(await seqs(run, { limit: 3, before: 2 })).toEqual([1])
  expect(await seqs({ ...run, kind: 'exec' }, { limit: 1, before: 8 })).toEqual([2])
})

test('a run without a lease of its record finds it in its rows; an exec answers for itself', async () => {
  expect(await seqs({ ...run, lease_id: null, worker_id: null })).toEqual([1, 2, 3, 4, 6, 8])
  expect(await seqs({ ...run, kind: 'exec' })).toEqual([2, 8])
})
