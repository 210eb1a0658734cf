/** Which version of its plugin each provider switched to last: a lock that was not written after a switch leads back at the next start, unseen. */
import type { Tx } from '../store/store.ts'
import { type Context, mutate } from './context.ts'
import { journal, writing } from './records.ts'
import type { StartedVersion, Switched, WentBack } from './upgrade-api.ts'

/** By name of the provider. */
const PREFIX = 'plugin-switch:'

/** In the same write as the switch. */
export async function noteSwitch(tx: Tx, provider: string, switched: Switched): Promise<void> {
  await tx
    .insertInto('meta')
    .values({ key: PREFIX + provider, value: JSON.stringify(switched) })
    .onConflict((conflict) => conflict.column('key').doUpdateSet({ value: JSON.stringify(switched) }))
    .execute()
}

/** Nobody waits for a lock to be written. */
export async function forgetSwitch(tx: Tx, provider: string): Promise<void> {
  await tx
    .deleteFrom('meta')
    .where('key', '=', PREFIX + provider)
    .execute()
}

/** The lock was written since: whatever it says from then on, somebody chose. */
function isWritten({ locked }: Switched, now: StartedVersion): boolean {
  return locked !== undefined && now.locked !== locked
}

/**
 * What was switched to and is not what was started, though nobody chose so by another lock; told once, with a row each. Takes the versions
 * that were started, by provider. Errors: StoreError.
 */
export async function wentBack(context: Context, started: ReadonlyMap<string, StartedVersion>): Promise<WentBack[]> {
  const notes = await context.store.read.selectFrom('meta').selectAll().where('key', 'like', `${PREFIX}%`).execute()
  const other = notes.flatMap(({ key, value }) => {
    const provider = key.slice(PREFIX.length)
    const note = { provider, ...(JSON.parse(value) as Switched) }
    const now = started.get(provider)
    return now?.version === note.after && !isWritten(note, now) ? [] : [note]
  })
  if (other.length === 0) return []
  const back = other.flatMap(({ provider, ...note }) => {
    const { before, after } = note
    const now = started.get(provider)
    return now?.version === before && !isWritten(note, now) ? [{ provider, before, after }] : []
  })
  await mutate(context, async (tx, after) => {
    for (const { provider } of other) await forgetSwitch(tx, provider)
    for (const { provider, before, after: to } of back)
      await journal(writing(context, tx, after), {
        rule: 'plugin-went-back',
        decision: `version ${before} of its plugin was started, as the lock says, although ${to} had taken over from it`,
        provider,
        inputs: { before, after: to },
        change: `The lock is as it was before the switch: it was never written, or was put back. muster plugins upgrade names version ${to} again.`,
      })
  })
  return back
}
