/**
 * Workers that were made while their provider was configured otherwise. What it is configured to be now may be another place (another
 * folder, engine, account), where none of them is: that such a place does not show them proves nothing, until it shows one of them.
 */
import { background, type Context, persist } from './context.ts'

/** By name of the provider. */
const PREFIX = 'provider-config:'
const NOT_NOTED = 'the configuration of a provider could not be noted'

interface Noted {
  /** Digest of the configuration that the provider last had. */
  config: string
  /** Ids of workers from before, none of which was seen with it. */
  unseen: string[]
}

/** At a start, once all workers are known: those that were launched with another configuration than the one that is started. */
export async function openElsewhere(context: Context): Promise<void> {
  const { state, elsewhere, store, settings } = context
  const rows = await store.read.selectFrom('meta').selectAll().where('key', 'like', `${PREFIX}%`).execute()
  const before = new Map(rows.map(({ key, value }) => [key.slice(PREFIX.length), JSON.parse(value) as Noted]))
  for (const [provider, config] of Object.entries(settings.configs ?? {})) {
    const launched = [...state.ofProvider(provider)].filter((id) => state.workers.get(id)?.launched_at !== null)
    const noted = before.get(provider)
    const unseen =
      noted === undefined ? [] : noted.config === config ? noted.unseen.filter((id) => launched.includes(id)) : launched
    if (unseen.length > 0) elsewhere.set(provider, new Set(unseen))
  }
  const changed = Object.entries(settings.configs ?? {}).flatMap(([provider, config]) =>
    before.get(provider)?.config === config ? [] : [provider],
  )
  // A start waits for no disk: what was not noted is found again by the next one.
  if (changed.length > 0) background(context, NOT_NOTED, () => note(context, changed))
}

/** It has shown some of its workers: if one of those in doubt is among them, it is the place where all of them are. */
export function shown(context: Context, provider: string, ids: Iterable<string>): void {
  const unseen = context.elsewhere.get(provider)
  if (unseen === undefined || ![...ids].some((id) => unseen.has(id))) return
  settle(context, [provider])
}

/** All live workers of these are known to be where their configuration is now. */
export function settle(context: Context, providers: readonly string[]): void {
  for (const provider of providers) context.elsewhere.delete(provider)
  background(context, NOT_NOTED, () => note(context, providers))
}

async function note(context: Context, providers: readonly string[]): Promise<void> {
  await persist(context, async (tx) => {
    for (const provider of providers) {
      const config = context.settings.configs?.[provider]
      if (config === undefined) continue
      const value = JSON.stringify({ config, unseen: [...(context.elsewhere.get(provider) ?? [])] } satisfies Noted)
      await tx
        .insertInto('meta')
        .values({ key: PREFIX + provider, value })
        .onConflict((conflict) => conflict.column('key').doUpdateSet({ value }))
        .execute()
    }
  })
}
