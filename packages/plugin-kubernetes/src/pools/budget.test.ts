import { expect, test } from 'vitest'
import { budgetOf } from './budget.ts'
import { holdMarksOf, labelsOf, poolName } from '../labels.ts'
import { networkLabels } from '../network/network.ts'
import { specOf } from '../testing/pure.test.helper.ts'
import { podOf } from '../translate.ts'

const { tags } = specOf()

test('a budget fits the workers that were launched with its setting, and lets none of them go', () => {
  const budget = budgetOf(tags, { drain: 'waits' }, 'ci')
  expect(budget).toMatchObject({ kind: 'PodDisruptionBudget', metadata: { name: poolName(tags), namespace: 'ci' } })
  // Of Pods without a controller a cluster takes no share, and nothing of which it would have to know how many there are to be.
  expect(Object.keys(budget?.spec ?? {}).sort()).toEqual(['minAvailable', 'selector'])
  expect(budget?.spec.minAvailable).toBeGreaterThan(100_000)
  const wanted = Object.entries(budget?.spec.selector.matchLabels ?? {})
  const fits = (settings: object): boolean => {
    const { labels = {} } = podOf(specOf({ settings }), 'ci').metadata
    return wanted.every(([name, value]) => labels[name] === value)
  }
  expect([fits({ drain: 'waits' }), fits({})]).toEqual([true, false])
  expect(wanted.map(([name]) => name)).toContain('muster-pool')
})

test('a budget for leases fits a worker until it is said to be idle, and again once it is held', () => {
  const settings = { drain: 'waits-for-leases' } as const
  const wanted = Object.entries(budgetOf(tags, settings, 'ci')?.spec.selector.matchLabels ?? {})
  const { labels, annotations } = podOf(specOf({ settings }), 'ci').metadata
  const fits = (more: Record<string, string>): boolean =>
    wanted.every(([name, value]) => ({ ...labels, ...more })[name] === value)
  expect([fits({}), fits(holdMarksOf(false).labels), fits(holdMarksOf(true).labels)]).toEqual([true, false, true])
  expect(annotations).toMatchObject(holdMarksOf(true).annotations)
  expect(Object.keys(holdMarksOf(false).annotations)).toEqual(Object.keys(holdMarksOf(true).annotations))
})

test('without the setting there is none, and a worker has no label of it', () => {
  expect(budgetOf(tags, {}, 'ci')).toBeUndefined()
  expect(podOf(specOf(), 'ci').metadata.labels).toEqual({ ...labelsOf(specOf()), ...networkLabels(specOf(), {}) })
})
