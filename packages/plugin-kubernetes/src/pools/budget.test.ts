import { expect, test } from 'vitest'
import { budgetOf } from './budget.ts'
import { holdMarksOf, labelsOf, poolName } from '../labels.ts'
import { networkLabels } from '../network/network.ts'
import type { PodDisruptionBudget } from '../objects.ts'
import { specOf } from '../testing/pure.test.helper.ts'
import { podOf } from '../translate.ts'

const { tags } = specOf()

/** As a cluster selects. */
function selects(budget: PodDisruptionBudget | undefined, labels: Record<string, string> = {}): boolean {
  const { matchLabels = {}, matchExpressions = [] } = budget?.spec.selector ?? {}
  return (
    Object.entries(matchLabels).every(([name, value]) => labels[name] === value) &&
    matchExpressions.every(({ key, operator, values }) => operator === 'In' && values.includes(labels[key] ?? ''))
  )
}

test('a budget fits the workers that were launched with its setting, and lets none of them go', () => {
  const budget = budgetOf(tags, { drain: 'waits' }, 'ci')
  expect(budget).toMatchObject({ kind: 'PodDisruptionBudget', metadata: { name: poolName(tags), namespace: 'ci' } })
  // Of Pods without a controller a cluster takes no share, and nothing of which it would have to know how many there are to be.
  expect(Object.keys(budget?.spec ?? {}).sort()).toEqual(['minAvailable', 'selector'])
  expect(budget?.spec.minAvailable).toBeGreaterThan(100_000)
  const fits = (settings: object): boolean => selects(budget, podOf(specOf({ settings }), 'ci').metadata.labels)
  expect([fits({ drain: 'waits' }), fits({})]).toEqual([true, false])
  expect(Object.keys(budget?.spec.selector.matchLabels ?? {})).toContain('muster-pool')
})

test('a pool that is given the other word holds those that were launched with the first one, and no idle ones', () => {
  const words = ['waits', 'waits-for-leases'] as const
  for (const drain of words)
    for (const before of words) {
      const { labels = {} } = podOf(specOf({ settings: { drain: before } }), 'ci').metadata
      expect(selects(budgetOf(tags, { drain }, 'ci'), labels)).toBe(true)
      expect(selects(budgetOf(tags, { drain }, 'ci'), { ...labels, ...holdMarksOf(false).labels })).toBe(false)
    }
})

test('a budget for leases fits a worker until it is said to be idle, and again once it is held', () => {
  const settings = { drain: 'waits-for-leases' } as const
  const { labels, annotations } = podOf(specOf({ settings }), 'ci').metadata
  const fits = (more: Record<string, string>): boolean => selects(budgetOf(tags, settings, 'ci'), { ...labels, ...more })
  expect([fits({}), fits(holdMarksOf(false).labels), fits(holdMarksOf(true).labels)]).toEqual([true, false, true])
  expect(annotations).toMatchObject(holdMarksOf(true).annotations)
  expect(Object.keys(holdMarksOf(false).annotations)).toEqual(Object.keys(holdMarksOf(true).annotations))
})

test('without the setting there is none, and a worker has no label of it', () => {
  expect(budgetOf(tags, {}, 'ci')).toBeUndefined()
  expect(podOf(specOf(), 'ci').metadata.labels).toEqual({ ...labelsOf(specOf()), ...networkLabels(specOf(), {}) })
})
