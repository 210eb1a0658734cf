/** The wish that a run ends: stored, and told in the journal. */
import type { RunRecord } from '../model.ts'
import { type CancelHow, RunError } from '../runs-api.ts'
import type { RunDeps } from './deps.ts'

export async function cancelRun(
  { engine, records }: Pick<RunDeps, 'engine' | 'records'>,
  id: string,
  how: CancelHow,
): Promise<RunRecord> {
  const level = how.force === true ? 2 : 1
  const known = await records.find(id)
  if (known === undefined) throw new RunError('not-found', `no run ${id}`)
  return engine.store.write(async (tx, after) => {
    let changed = false
    const run = await records.change(
      id,
      (one) => {
        changed = one.cancel_requested < level
        if (!changed) return undefined
        // The command has ended, and its reason is how: what can be cancelled is the wait for outputs.
        return { cancel_requested: level, ...(one.state === 'collecting' ? {} : { reason: how.reason }) }
      },
      { tx, after },
    )
    if (changed)
      await engine.journal.append(tx, after, {
        rule: 'run-cancelled',
        decision: decisionOf(run, level),
        pool: run.pool,
        runId: id,
        inputs: { principal: how.principal, reason: how.reason },
        ...(level === 2 || run.state === 'collecting' ? {} : { change: 'Its command ends before, or a second cancel kills it.' }),
      })
    return run
  })
}

function decisionOf({ state }: RunRecord, level: number): string {
  if (state === 'collecting') return 'its outputs are waited for no longer'
  return level === 2 ? 'the run is killed' : 'the run is asked to end'
}
