/** Which conditions lose their subject. */
import { expect, test } from 'vitest'
import type { Context } from './context.ts'
import type { ConditionRecord, PoolConfig } from './model.ts'
import type { Memory } from './memory.ts'
import { clearStale } from './stale.ts'
import { poolConfig } from './testing/harness.ts'

type Known = Pick<ConditionRecord, 'scope' | 'name' | 'type'>

/** What is cleared of these, where the daemon has provider `one`, and `gone` with workers left; `left` leaves. */
function cleared(conditions: Known[], pools: PoolConfig[] = []): string[] {
  const told: string[] = []
  const context = {
    conditions: { list: () => conditions, clear: ({ name, type }: Known) => told.push(`${name} ${type}`) },
    plugins: { find: (name: string) => (['one', 'left'].includes(name) ? {} : undefined), leaving: () => ['left'] },
    state: {
      ofProvider: (name: string) => new Set(name === 'gone' ? ['w1'] : []),
      pools: new Map(pools.map((config) => [config.name, { config }])),
    },
  } as unknown as Context
  const memory = { stock: ({ scale }: PoolConfig) => (scale.warm > 0 ? {} : undefined) } as unknown as Memory
  clearStale(context, memory)
  return told
}

const of = (scope: Known['scope'], name: string, type: string): Known => ({ scope, name, type })

test('of a pool: when it is named no longer, keeps no stock any more, or has left the provider of the quota', () => {
  const pools = [
    poolConfig({ name: 'warm', scale: { warm: 1 } }),
    poolConfig({ name: 'cold' }),
    // Named no longer, and shown until its last workers are gone.
    poolConfig({ name: 'old', placement: [], scale: { warm: 1 } }),
  ]
  const given = ['warm', 'cold', 'old', 'never'].map((name) => of('pool', name, 'stock'))
  expect(cleared(given, pools)).toEqual(['cold stock', 'old stock', 'never stock'])
  const quotas = ['quota:one', 'quota:two', 'paused'].map((type) => of('pool', 'cold', type))
  expect(cleared(quotas, pools)).toEqual(['cold quota:two'])
  expect(cleared([of('pool', 'old', 'paused'), of('pool', 'never', 'paused')], pools)).toEqual(['old paused', 'never paused'])
})

test('of a provider: when it is there no longer; that it is missing, when it is back or has nothing left', () => {
  const missing = ['one', 'gone', 'empty'].map((name) => of('provider', name, 'missing'))
  expect(cleared(missing)).toEqual(['one missing', 'empty missing'])
  const others = ['one', 'gone', 'empty'].map((name) => of('provider', name, 'auth'))
  expect(cleared(others)).toEqual(['gone auth', 'empty auth'])
  expect(cleared([of('provider', 'one', 'leaving'), of('provider', 'left', 'leaving')])).toEqual(['one leaving'])
  expect(cleared([of('host', 'disk', 'disk-low')])).toEqual([])
})
