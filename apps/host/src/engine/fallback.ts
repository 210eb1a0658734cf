/** What is kept and shown of a plugin that fell back to the version before, since the other could not start. */
import type { Selectable } from 'kysely'
import type { FallbackTable } from '../store/schema.ts'
import type { Store } from '../store/store.ts'
import { EngineError } from './api.ts'
import type { ConditionType } from './condition-types.ts'
import { type Context, mutate } from './context.ts'
import { journal, writing, type Writing } from './records.ts'
import type { Switch } from './upgrade-api.ts'
import { brief } from './words.ts'

export type FallbackRecord = Selectable<FallbackTable>

/** All of them; each holds as long as the lock has the two versions that it names. */
export function fallbacksOf(store: Store): Promise<FallbackRecord[]> {
  return store.read.selectFrom('plugin_fallbacks').selectAll().execute()
}

const typeOf = (alias: string): ConditionType => `fell-back:${alias}`

/** The rule, and what would have gone otherwise. */
export function fellBack(reason: string): { rule: 'plugin-fell-back'; change: string } {
  return { rule: 'plugin-fell-back', change: `The other version starts; it did not: ${brief(reason)}.` }
}

/** In the write of a switch: one that falls back is kept and shown, any other ends what was kept and shown. */
export async function noteFallBack(w: Writing, { alias, before, after, providers, fallBack }: Switch): Promise<void> {
  const { context, tx } = w
  if (fallBack === undefined) return endFallBack(w, alias)
  await tx.deleteFrom('plugin_fallbacks').where('alias', '=', alias).execute()
  const { provider: by, tree, beforeTree, reason } = fallBack
  await tx.insertInto('plugin_fallbacks').values({ alias, tree, before_tree: beforeTree, since: w.now }).execute()
  const message = `version ${before} of the plugin '${alias}' cannot start for ${by}, and ${after} runs instead: ${brief(reason)}`
  const hint = `Mend it, or go back in the lock too: muster plugins rollback ${alias}. Seen: muster plugins acknowledge ${alias}`
  w.after(() => {
    for (const { config } of context.state.pools.values())
      if (config.placement.some((one) => providers.includes(one)))
        context.conditions.raise({ scope: 'pool', name: config.name, type: typeOf(alias), message, hint })
  })
}

/** In a write that lets other versions take over, by provider: what fell back ends where none of its providers runs it any more. */
export async function endFallBacks(w: Writing, versions: Readonly<Record<string, unknown>>): Promise<void> {
  const { plugins } = w.context
  const aliasOf = (name: string): string | undefined => plugins.find(name)?.status().alias
  const running = new Set(plugins.list().flatMap(({ name }) => (Object.hasOwn(versions, name) ? [] : (aliasOf(name) ?? []))))
  for (const alias of new Set(Object.keys(versions).map(aliasOf)))
    if (alias !== undefined && !running.has(alias)) await endFallBack(w, alias)
}

async function endFallBack({ context, tx, after }: Writing, alias: string): Promise<void> {
  await tx.deleteFrom('plugin_fallbacks').where('alias', '=', alias).execute()
  after(() => {
    for (const one of showing(context, alias)) context.conditions.clear({ scope: 'pool', name: one, type: typeOf(alias) })
  })
}

/** Names of pools. */
function showing({ conditions }: Context, alias: string): string[] {
  const type = typeOf(alias)
  return conditions.list().flatMap((one) => (one.scope === 'pool' && one.type === type ? [one.name] : []))
}

/** Ends what its pools show. */
export async function acknowledge(context: Context, alias: string, { principal }: { principal: string }): Promise<string[]> {
  const type = typeOf(alias)
  const pools = showing(context, alias)
  if (pools.length === 0)
    throw new EngineError('not-found', `nothing says that a plugin '${alias}' fell back`, {
      hint: 'See: muster plugins show ALIAS',
    })
  await mutate(context, async (tx, after) => {
    await journal(writing(context, tx, after), {
      rule: 'fall-back-seen',
      decision: `it was seen that the plugin '${alias}' fell back`,
      inputs: { principal, alias, pools },
    })
    after(() => {
      for (const name of pools) context.conditions.clear({ scope: 'pool', name, type })
    })
  })
  return pools
}
