/** What lives, read from the store into memory at a start, and whose workers nobody can be asked for. */
import type { Context } from './context.ts'
import type { Launcher } from './launcher.ts'
import { liveColumns } from './workers.ts'

/** Why each provider that is missing could not be opened. */
export type Unopened = ReadonlyMap<string, { reason: string; hint: string }>

export async function load(context: Context, launcher: Launcher, unopened: Unopened | undefined): Promise<void> {
  const { store, state, plugins, conditions } = context
  const names = new Set(plugins.list().map((provider) => provider.name))
  const missing = new Map<string, number>()
  // Leases first: a worker's deadline depends on its lease.
  for (const lease of await store.read.selectFrom('leases').selectAll().where('ended_at', 'is', null).orderBy('id').execute())
    state.setLease({ ...lease })
  for (const worker of await store.read
    .selectFrom('workers')
    .select(liveColumns)
    .where('ended_at', 'is', null)
    .orderBy('id')
    .execute()) {
    if (worker.launched_at === null) launcher.calls.setDoubt(worker.id, true)
    // The host before this one may have given up a launch right before the one that succeeded, or with its own end.
    launcher.calls.gaveUp(worker.provider, worker.id, worker.launched_at ?? context.startedAt)
    if (!names.has(worker.provider)) missing.set(worker.provider, (missing.get(worker.provider) ?? 0) + 1)
    state.setWorker({ ...worker })
  }
  for (const [name, count] of missing) {
    const why = unopened?.get(name)
    const workers = count === 1 ? 'last worker' : `${count} workers`
    conditions.raise({
      scope: 'provider',
      name,
      type: 'missing',
      message: `the configuration names it no longer, and nobody watches or ends its ${workers}${why === undefined ? '' : `: ${why.reason}`}`,
      hint: `Name it in muster.yaml as it was, and muster apply.${why === undefined ? '' : ` Or ${why.hint}, and restart.`} Then take it out and apply again: it is leaving, and goes with its last worker.`,
    })
  }
}
