/** Which version of its plugin each provider switched to last: a lock that was not written after a switch leads back at the next start, unseen. */
import type { Tx } from '../store/store.ts'
import { type Context, mutate } from './context.ts'
import { journal, writing } from './records.ts'

/** By name of the provider. */
const PREFIX = 'plugin-switch:'

interface Switched {
  before: string
  after: string
  /** Digest of what the lock had of the plugin at that time. Absent: nothing, or nobody has looked. */
  locked?: string
}

/** What a provider was started with. */
export interface StartedVersion {
  version: string
  /** As {@link Switched.locked}, now. */
  locked?: string
}

/** A provider that was started with the version from before its switch. */
export interface WentBack extends Pick<Switched, 'before' | 'after'> {
  provider: string
}

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

/**
 * What was switched to and is not what was started, though nobody chose so by another lock; told once, with a row each. Takes the versions
 * that were started, by provider. Errors: StoreError.
 */
export async function wentBack(context: Context, started: ReadonlyMap<string, StartedVersion>): Promise<WentBack[]> {
  const notes = await context.store.read.selectFrom('meta').selectAll().where('key', 'like', `${PREFIX}%`).execute()
  const other = notes.flatMap(({ key, value }) => {
    const provider = key.slice(PREFIX.length)
    const note = { provider, ...(JSON.parse(value) as Switched) }
    return started.get(provider)?.version === note.after ? [] : [note]
  })
  if (other.length === 0) return []
  const back = other.flatMap(({ provider, before, after, locked }) => {
    const now = started.get(provider)
    const isWritten = locked !== undefined && now?.locked !== locked
    return now?.version === before && !isWritten ? [{ provider, before, after }] : []
  })
  await mutate(context, async (tx, after) => {
    for (const { provider } of other) await forgetSwitch(tx, provider)
    for (const { provider, before, after: to } of back)
      await journal(writing(context, tx, after), {
        rule: 'plugin-went-back',
        decision: `version ${before} of its plugin was started, as the lock says, although ${to} had taken over from it`,
        provider,
        inputs: { before, after: to },
        change: `The lock was not written after the switch: muster plugins upgrade names version ${to} again.`,
      })
  })
  return back
}
