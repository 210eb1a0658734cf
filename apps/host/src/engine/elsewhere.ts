/**
 * Workers that were made while their provider was configured otherwise. What it is configured to be now may be another place (another
 * folder, engine, account), where none of them is: that such a place does not show them proves nothing, until it shows one of those that were
 * made with the same configuration. Each record has the digest of its own: it goes with the worker, whatever the provider is by then.
 */
import { background, type Context, persist } from './context.ts'
import type { Owned } from './owners.ts'
import { changeWorker, writing, type Writing } from './records.ts'

/** What may be somewhere else than where its provider is now: it was launched, or may have been. */
export function isElsewhere(
  context: Pick<Context, 'settings' | 'doubtful'>,
  { id, provider, launched_at: launchedAt, provider_config: made }: Owned & { id?: string },
): boolean {
  const now = configOf(context, provider)
  if (made === null || made === now) return false
  return launchedAt !== null || (id !== undefined && context.doubtful.has(id))
}

/** Digest of what the provider is configured to be; null: nobody knows. */
export function configOf({ settings }: Pick<Context, 'settings'>, provider: string): string | null {
  return settings.configs?.[provider] ?? null
}

/** At a start, once all workers are known: those of a host that did not note it are taken to be where their provider is now. */
export function noteWhere(context: Context): void {
  const unnoted = [...context.state.workers.values()].filter((one) => one.provider_config === null)
  // A start waits for no disk: what was not noted is so by the next one.
  for (const provider of new Set(unnoted.map((one) => one.provider)))
    if (configOf(context, provider) !== null) moveAll(context, provider, new Set())
}

/**
 * It has shown some of its workers: all that were made with the same configuration as one of these are where it is now. `asked`: what it was
 * configured to be when it was asked.
 */
export function shown(context: Context, provider: string, { ids, asked }: { ids: Iterable<string>; asked: string | null }): void {
  if (asked === null || asked !== configOf(context, provider)) return
  const others = configsOf(context, ids)
  others.delete(asked)
  if (others.size > 0) moveAll(context, provider, others)
}

/** What these were made with. */
export function configsOf({ state }: Pick<Context, 'state'>, ids: Iterable<string>): Set<string> {
  return new Set([...ids].flatMap((id) => state.workers.get(id)?.provider_config ?? []))
}

function moveAll(context: Context, provider: string, made: ReadonlySet<string>): void {
  background(context, 'where workers are could not be noted', () =>
    persist(context, async (tx, after) => {
      const now = configOf(context, provider)
      if (now !== null) await moveTo(writing(context, tx, after), { provider, made, now })
    }),
  )
}

/** All live workers of a provider that were made with one of these configurations, or nobody knows with which, are where this one is. */
export async function moveTo(
  { context, tx, after }: Writing,
  { provider, made, now }: { provider: string; made: ReadonlySet<string>; now: string },
): Promise<void> {
  await tx
    .updateTable('workers')
    .set((row) => ({ provider_config: now, rev: row('rev', '+', 1) }))
    .where('provider', '=', provider)
    .where('ended_at', 'is', null)
    .where((row) => row.or([row('provider_config', 'is', null), ...[...made].map((one) => row('provider_config', '=', one))]))
    .execute()
  after(() => {
    const { state } = context
    for (const id of state.ofProvider(provider)) {
      const worker = state.workers.get(id)
      if (worker === undefined || (worker.provider_config !== null && !made.has(worker.provider_config))) continue
      state.setWorker({ ...worker, provider_config: now, rev: worker.rev + 1 })
    }
  })
}

/** Was this launch meant for another place than the one that it would be sent to now? */
export function isMisplaced(context: Context, id: string): boolean {
  const worker = context.state.workers.get(id)
  return worker?.phase === 'launching' && worker.provider_config !== configOf(context, worker.provider)
}

/** Before a first launch is sent: durable, since nothing else could say later where to look for it. */
export async function placeLaunch(context: Context, id: string): Promise<void> {
  await persist(context, async (tx, after) => {
    const worker = context.state.workers.get(id)
    if (worker === undefined || !isMisplaced(context, id)) return
    await changeWorker(writing(context, tx, after), worker, { provider_config: configOf(context, worker.provider) })
  })
}
