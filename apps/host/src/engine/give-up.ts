/** An operator gives up a provider that the configuration names no longer: what it says that it still has is not waited for. */
import { EngineError, type GivenUp } from './api.ts'
import { type Context, mutate } from './context.ts'
import { entriesOf, forgetEntry } from './entries.ts'
import type { KeptVersions } from './kept.ts'
import type { Memory } from './memory.ts'
import type { Orphans } from './orphans.ts'
import type { Preparation } from './prepare.ts'
import { journal, writing } from './records.ts'
import { clearStale } from './stale.ts'

export interface GiveUpParts {
  memory: Memory
  orphans: Orphans
  preparation: Preparation
  kept: Pick<KeptVersions, 'show'>
  /** Observes the providers that are there now, and no others. */
  observe(): void
}

export type GiveUp = (name: string, how: { principal: string; reason: string }) => Promise<GivenUp>

/**
 * Workers with a record are ended or forgotten one by one before: each may have a lease. The rest (orphans, what was prepared for pools) is known by
 * the plugin's word alone, which could hold it here for ever.
 */
export function giveUpOf(context: Context, parts: GiveUpParts): GiveUp {
  const { state, plugins, store } = context

  async function check(name: string): Promise<void> {
    if (plugins.find(name) !== undefined && !plugins.leaving().includes(name))
      throw new EngineError('conflict', `the configuration names ${name}`, {
        hint: 'First: take it out of muster.yaml, and muster apply',
      })
    const noted = await entriesOf(store)
    if (!plugins.leaving().includes(name) && !noted.some((one) => one.name === name))
      throw new EngineError('not-found', `there is no provider ${name}`, {
        hint: '`muster providers` shows those that there are.',
      })
  }

  return async (name, { principal, reason }) => {
    await check(name)
    let dropped: Promise<void> | undefined
    const given = await mutate(context, async (tx, after) => {
      const workers = state.ofProvider(name).size
      if (workers > 0)
        throw new EngineError('conflict', `${name} has ${workers} worker${workers === 1 ? '' : 's'} with a record`, {
          hint: `First, of each that muster workers --provider ${name} shows: muster workers terminate, or muster workers forget`,
        })
      const orphans = await parts.orphans.giveUp(tx, after, name)
      const prepared = await parts.preparation.giveUp(tx, after, name)
      await forgetEntry(tx, name)
      await journal(writing(context, tx, after), {
        rule: 'provider-given-up',
        decision: 'its plugin ends; what it still has at its vendor is left there',
        provider: name,
        inputs: { principal, reason, orphans, prepared },
        change: 'The configuration names it again.',
      })
      after(() => {
        // In the same turn: a list that comes now finds nobody.
        dropped = plugins.drop(name, { left: true })
        parts.kept.show(name)
        clearStale(context, parts.memory)
        parts.observe()
      })
      return { orphans, prepared }
    })
    await dropped
    return given
  }
}
