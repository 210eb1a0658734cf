/** Conditions whose subject is gone: nobody would ever clear them. */
import type { ConditionKey } from './api.ts'
import type { Context } from './context.ts'
import { quotaCondition } from './failures.ts'
import type { Memory } from './memory.ts'
import type { ConditionRecord } from './model.ts'
import { refusedCondition } from './refusals.ts'

/** At start, after another configuration, and when a provider has gone. */
export function clearStale(context: Pick<Context, 'conditions' | 'plugins' | 'state'>, memory: Pick<Memory, 'stock'>): void {
  const { conditions, plugins, state } = context

  function ofProvider({ name, type }: ConditionRecord): boolean {
    const there = plugins.find(name) !== undefined
    if (type === 'missing') return !there && state.ofProvider(name).size > 0
    return there && (type !== 'leaving' || plugins.leaving().includes(name))
  }

  function ofPool({ name, type }: ConditionRecord): boolean {
    const config = state.pools.get(name)?.config
    if (config === undefined || config.placement.length === 0) return false
    if (type === 'stock') return memory.stock(config) !== undefined
    const one = [quotaCondition, refusedCondition].find((of) => type.startsWith(of('')))
    return one === undefined || config.placement.some((provider) => type === one(provider))
  }

  for (const one of conditions.list())
    if ((one.scope === 'provider' && !ofProvider(one)) || (one.scope === 'pool' && !ofPool(one)))
      conditions.clear(one as ConditionKey)
}
