/** Workers with our tags and no record: quarantined, then removed, unless there are suspiciously many. */
import type { OwnerTags, WorkerObservation } from '@muster/core'
import { toProviderError } from '@muster/core'
import type { GuardedProvider } from '../plugins/api.ts'
import { type ListFacts, sawAll } from './absence.ts'
import { background, type Context, mutate } from './context.ts'
import type { Deadlines } from './deadlines.ts'
import type { OrphanCount, OrphanView } from './api.ts'
import { journal, writing } from './records.ts'
import type { AfterCommit, Tx } from '../store/store.ts'
import { brief } from './words.ts'

export interface Orphans {
  /** Looks for orphans among what a list showed, and goes on with the known ones. */
  sweep(provider: GuardedProvider, list: { seen: ReadonlyMap<string, WorkerObservation>; facts: ListFacts }): Promise<void>
  /** The next sweep of this provider may remove any number. */
  allow(provider: string): void
  /** Resolves when the removals under way are over. */
  settled(provider: string): Promise<void>
  /** Orphans of a provider that are known now. */
  count(provider: string): number
  /** The same, with what this host has removed there. */
  told(provider: string): OrphanCount
  /** The same, the longest known first. Errors: StoreError. */
  list(provider: string): Promise<OrphanView[]>
  /** Knows of none of a provider any more; how many there were. */
  giveUp(tx: Tx, after: AfterCommit, provider: string): Promise<number>
}

interface Orphan {
  id: string
  /** As its tag says. */
  pool: string
  firstSeen: number
  state: 'quarantined' | 'removing'
  /** It has a record that is closed: it should have been gone. */
  closed: boolean
}

/** More orphans in one pass than this, and than this share of all workers, mean that something else is wrong: a restored store. */
const MOST = 5
const MOST_SHARE = 0.2
/** Orphans get the grace that most pools give. */
const GRACE_MS = 10_000
/** Ids of one query. */
const LOOK = 400
/** Terminates of orphans that are open at once. */
const TOGETHER = 8

export async function openOrphans(
  context: Context,
  parts: { deadlines: Deadlines; relist(provider: string): void },
): Promise<Orphans> {
  const { store, state, clock } = context
  const known = new Map<string, Map<string, Orphan>>()
  const allowed = new Set<string>()
  const removing = new Map<string, Promise<void>>()
  const removed = new Map<string, Pick<OrphanCount, 'removed' | 'removedAt'>>()
  const ofProvider = (name: string): Map<string, Orphan> => {
    const orphans = known.get(name) ?? new Map<string, Orphan>()
    known.set(name, orphans)
    return orphans
  }
  for (const row of await store.read.selectFrom('orphans').selectAll().execute())
    ofProvider(row.provider).set(row.worker_id, {
      id: row.worker_id,
      pool: poolOf(row.tags),
      firstSeen: row.first_seen,
      state: row.state === 'removing' ? 'removing' : 'quarantined',
      closed: false,
    })

  async function find(
    provider: GuardedProvider,
    list: { seen: ReadonlyMap<string, WorkerObservation>; facts: ListFacts },
  ): Promise<void> {
    const { name, capabilities } = provider
    const orphans = ofProvider(name)
    const unknown = [...list.seen.keys()].filter((id) => !state.workers.has(id) && !orphans.has(id))
    for (let from = 0; from < unknown.length; from += LOOK) {
      const ids = unknown.slice(from, from + LOOK)
      const rows = await store.read
        .selectFrom('workers')
        .select(['id', 'provider', 'end', 'ended_at'])
        .where('id', 'in', ids)
        .execute()
      const records = new Map(rows.map((row) => [row.id, row]))
      const found: Promise<void>[] = []
      for (const id of ids) {
        const record = records.get(id)
        // Written since the list was read, or another alias's: not an orphan of this provider.
        if (state.workers.has(id) || (record !== undefined && (record.provider !== name || record.ended_at === null))) continue
        // Still shown for a while after its end, as declared.
        if (record !== undefined && (record.ended_at ?? 0) + capabilities.visibility.goneMs >= list.facts.startedAt) continue
        const seen = list.seen.get(id)
        if (seen !== undefined) found.push(quarantine(name, { seen, closed: record !== undefined }))
      }
      await Promise.all(found)
    }
  }

  async function quarantine(provider: string, found: { seen: WorkerObservation; closed: boolean }): Promise<void> {
    const { seen, closed } = found
    context.killpoint('orphan-found')
    const now = clock.now()
    const handle = JSON.stringify(seen.handle)
    await mutate(context, async (tx, after) => {
      const w = writing(context, tx, after)
      const row = {
        provider,
        worker_id: seen.id,
        handle,
        tags: JSON.stringify(seen.tags),
        first_seen: now,
        state: 'quarantined',
        updated_at: now,
      }
      await tx.insertInto('orphans').values(row).execute()
      await journal(w, {
        rule: 'orphan-quarantined',
        decision: `removed in ${context.settings.orphanGraceMs} ms`,
        pool: seen.tags['muster-pool'],
        provider,
        workerId: seen.id,
        inputs: { phase: seen.phase, epoch: seen.tags['muster-epoch'], record: closed ? 'closed' : 'none' },
        change: 'It ends by itself.',
      })
      after(() =>
        ofProvider(provider).set(seen.id, {
          id: seen.id,
          pool: seen.tags['muster-pool'],
          firstSeen: now,
          state: 'quarantined',
          closed,
        }),
      )
    })
  }

  /** When the first grace is over that is not yet: a list is looked at then, whatever there was in between, as a restart. */
  function wake(provider: string): void {
    let next = Infinity
    for (const { firstSeen } of ofProvider(provider).values()) {
      const due = firstSeen + context.settings.orphanGraceMs
      if (due > clock.now()) next = Math.min(next, due)
    }
    if (next < Infinity) parts.deadlines.set(`orphans:${provider}`, next, () => parts.relist(provider))
  }

  async function forget(provider: string, orphan: Orphan, decision: string): Promise<void> {
    const { id, pool } = orphan
    await mutate(context, async (tx, after) => {
      const w = writing(context, tx, after)
      await tx.deleteFrom('orphans').where('provider', '=', provider).where('worker_id', '=', id).execute()
      await journal(w, { rule: 'orphan-gone', decision, pool, provider, workerId: id, inputs: {} })
      after(() => {
        ofProvider(provider).delete(id)
        // One that was not asked to end went by itself.
        if (orphan.state === 'removing')
          removed.set(provider, { removed: (removed.get(provider)?.removed ?? 0) + 1, removedAt: clock.wall() })
      })
    })
  }

  async function remove(provider: GuardedProvider, given: { orphan: Orphan; seen: WorkerObservation }): Promise<void> {
    const { name } = provider
    const { orphan, seen } = given
    if (orphan.state === 'quarantined') {
      await mutate(context, async (tx, after) => {
        const w = writing(context, tx, after)
        const change = { state: 'removing', updated_at: w.now }
        await tx.updateTable('orphans').set(change).where('provider', '=', name).where('worker_id', '=', orphan.id).execute()
        await journal(w, {
          rule: 'orphan-removed',
          decision: 'terminate: no record knows it',
          pool: orphan.pool,
          provider: name,
          workerId: orphan.id,
          inputs: { firstSeen: orphan.firstSeen, graceMs: context.settings.orphanGraceMs },
          change: 'A longer host.orphanGrace leaves more time to look at it.',
        })
        after(() => {
          orphan.state = 'removing'
        })
      })
    }
    context.killpoint('orphan-removing')
    const target = { id: orphan.id, handle: seen.handle }
    const how = { graceMs: GRACE_MS, force: false, reason: 'orphan: no record knows it' }
    try {
      const ended = await provider.terminate(target, how, { idempotencyKey: `${orphan.id}:terminate`, attempt: 1 })
      if (ended.state === 'gone') await forget(name, orphan, 'closed: gone')
    } catch (thrown) {
      // The next pass tries again; an operator sees why it stays.
      const error = toProviderError(thrown)
      context.conditions.raise({
        scope: 'provider',
        name,
        type: 'orphan-stays',
        message: `an orphan cannot be removed: ${error.code}: ${brief(error.message)}`,
        hint: error.hint ?? 'Tries go on with each list.',
      })
    }
  }

  async function sweep(
    provider: GuardedProvider,
    list: { seen: ReadonlyMap<string, WorkerObservation>; facts: ListFacts },
  ): Promise<void> {
    const { name } = provider
    const { seen, facts } = list
    await find(provider, list)
    wake(name)
    const orphans = ofProvider(name)
    const due: { orphan: Orphan; at: WorkerObservation }[] = []
    for (const orphan of [...orphans.values()]) {
      const at = seen.get(orphan.id)
      if (at !== undefined) {
        if (clock.now() - orphan.firstSeen >= context.settings.orphanGraceMs) due.push({ orphan, at })
      } else if (sawAll(facts) && orphan.firstSeen < facts.startedAt) await forget(name, orphan, 'closed: no longer listed')
    }
    if (orphans.size === 0) context.conditions.clear({ scope: 'provider', name, type: 'orphan-stays' })
    const fresh = due.filter(({ orphan }) => orphan.state === 'quarantined').length
    const most = Math.max(MOST, Math.floor(seen.size * MOST_SHARE))
    if (fresh > most && !allowed.has(name)) {
      hold(name, { found: fresh, most })
      return
    }
    allowed.delete(name)
    context.conditions.clear({ scope: 'provider', name, type: 'orphans-held' })
    // The list does not wait for it: a terminate may take its time, and one round at a time is enough.
    if (due.length === 0 || removing.has(name)) return
    const round = removeAll(provider, due).finally(() => removing.delete(name))
    removing.set(name, round)
    background(context, 'orphans could not be removed', () => round)
  }

  async function removeAll(provider: GuardedProvider, due: readonly { orphan: Orphan; at: WorkerObservation }[]): Promise<void> {
    for (let from = 0; from < due.length; from += TOGETHER)
      await Promise.all(due.slice(from, from + TOGETHER).map(({ orphan, at }) => remove(provider, { orphan, seen: at })))
  }

  function hold(name: string, how: { found: number; most: number }): void {
    context.conditions.raise({
      scope: 'provider',
      name,
      type: 'orphans-held',
      message: `${how.found} workers without a record are kept: more than the ${how.most} that one pass may remove`,
      hint: `See them with: muster providers reclaim ${name} --dry-run. If the store was not restored or copied, remove them without --dry-run.`,
    })
  }

  return {
    sweep,
    allow: (provider) => allowed.add(provider),
    count: (provider) => ofProvider(provider).size,
    told: (provider) => ({ known: ofProvider(provider).size, ...(removed.get(provider) ?? { removed: 0 }) }),
    list: async (provider) => {
      const rows = await store.read
        .selectFrom('orphans')
        .selectAll()
        .where('provider', '=', provider)
        .orderBy('first_seen')
        .orderBy('worker_id')
        .execute()
      return rows.map(({ worker_id: id, first_seen: firstSeen, state: how, tags }) => ({
        id,
        pool: poolOf(tags),
        firstSeen,
        state: how === 'removing' ? 'removing' : 'quarantined',
        dueAt: firstSeen + context.settings.orphanGraceMs,
      }))
    },
    giveUp: async (tx, after, provider) => {
      await tx.deleteFrom('orphans').where('provider', '=', provider).execute()
      after(() => known.delete(provider))
      return ofProvider(provider).size
    },
    settled: async (provider) => removing.get(provider),
  }
}

function poolOf(tags: string): string {
  return (JSON.parse(tags) as OwnerTags)['muster-pool']
}
