/** What keeps workers from being evicted: who drains a node waits until they have ended. Pure. */
import type { PoolRef } from '@muster/core'
import { held, label, poolLabels, poolName } from '../labels.ts'
import type { PodDisruptionBudget } from '../objects.ts'
import type { KubernetesSettings } from '../settings.ts'

/** Of Pods that no controller of the cluster makes only a number may be asked for that must stay: with more than there ever are, none may go. */
const MORE_THAN_ALL = 2 ** 31 - 1

export function budgetOf(
  tags: PoolRef['tags'],
  { drain }: KubernetesSettings,
  namespace: string,
): PodDisruptionBudget | undefined {
  if (drain === undefined) return undefined
  const labels = poolLabels(tags)
  return {
    apiVersion: 'policy/v1',
    kind: 'PodDisruptionBudget',
    metadata: { name: poolName(tags), namespace, labels: { ...labels, [label.part]: 'budget' } },
    spec: {
      minAvailable: MORE_THAN_ALL,
      // The name is the pool's: those that were launched with the other word are held by it too.
      selector: {
        matchLabels: { ...labels, [label.part]: 'worker' },
        matchExpressions: [{ key: label.drain, operator: 'In', values: [waits, held] }],
      },
    },
  }
}

/** Value of the label of a worker that is never let go. */
const waits = 'waits'

/** Of a worker: those that were launched without the setting are evicted. One is held until we are told otherwise. */
export function drainLabels({ drain }: KubernetesSettings): Record<string, string> {
  return drain === undefined ? {} : { [label.drain]: drain === waits ? drain : held }
}
