/**
 * Workers that were made while their provider was configured otherwise. What it is configured to be now may be another place (another
 * folder, engine, account), where none of them is: that such a place does not show them proves nothing, until it shows one of those that were
 * made with the same configuration.
 */
import { background, type Context, persist } from './context.ts'

/** By name of the provider. */
const PREFIX = 'provider-config:'
const NOT_NOTED = 'the configuration of a provider could not be noted'

interface Noted {
  /** Digest of the configuration that the provider last had. */
  config: string
  /** Of workers that were not seen with it: digests of the configurations they were made with, by id. */
  unseen: Record<string, string>
}

/** At a start, once all workers are known: those that were launched with another configuration than the one that is started. */
export async function openElsewhere(context: Context): Promise<void> {
  const { state, elsewhere, store, settings } = context
  const rows = await store.read.selectFrom('meta').selectAll().where('key', 'like', `${PREFIX}%`).execute()
  const before = new Map(rows.map(({ key, value }) => [key.slice(PREFIX.length), JSON.parse(value) as Noted]))
  // One that leaves is started as it was.
  for (const [provider, { config: was, unseen }] of before) {
    const now = settings.configs?.[provider] ?? was
    const made = [...state.ofProvider(provider)]
      .filter((id) => state.workers.get(id)?.launched_at !== null)
      .map((id) => [id, unseen[id] ?? was] as const)
    const doubted = made.filter(([, config]) => config !== now)
    if (doubted.length > 0) elsewhere.set(provider, new Map(doubted))
  }
  const changed = Object.entries(settings.configs ?? {}).flatMap(([provider, config]) =>
    before.get(provider)?.config === config ? [] : [provider],
  )
  // A start waits for no disk: what was not noted is found again by the next one.
  if (changed.length > 0) background(context, NOT_NOTED, () => note(context, changed))
}

/** It has shown some of its workers: all that were made with the same configuration as one of these are where it is now. */
export function shown(context: Context, provider: string, ids: Iterable<string>): void {
  const unseen = context.elsewhere.get(provider)
  if (unseen === undefined) return
  const here = new Set([...ids].flatMap((id) => unseen.get(id) ?? []))
  if (here.size === 0) return
  const left = [...unseen].filter(([, config]) => !here.has(config))
  if (left.length === 0) context.elsewhere.delete(provider)
  else context.elsewhere.set(provider, new Map(left))
  background(context, NOT_NOTED, () => note(context, [provider]))
}

/** All live workers of these are known to be where their configuration is now. */
export function settle(context: Context, providers: readonly string[]): void {
  if (providers.length === 0) return
  for (const provider of providers) context.elsewhere.delete(provider)
  background(context, NOT_NOTED, () => note(context, providers))
}

async function note(context: Context, providers: readonly string[]): Promise<void> {
  await persist(context, async (tx) => {
    for (const provider of providers) {
      const config = context.settings.configs?.[provider]
      if (config === undefined) continue
      const unseen = Object.fromEntries(context.elsewhere.get(provider) ?? [])
      const value = JSON.stringify({ config, unseen } satisfies Noted)
      await tx
        .insertInto('meta')
        .values({ key: PREFIX + provider, value })
        .onConflict((conflict) => conflict.column('key').doUpdateSet({ value }))
        .execute()
    }
  })
}
