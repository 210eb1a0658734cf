/** Conditions of our objects, with the time of the last change of each status. Pure. */
import type { StatusCondition } from './objects.ts'

export type Finding = Omit<StatusCondition, 'lastTransitionTime'>

/** Of the same order as `found`; what was there and is found no more goes. */
export function conditionsOf(
  found: readonly Finding[],
  before: readonly StatusCondition[] | undefined,
  now: string,
): StatusCondition[] {
  return found.map((one) => {
    const was = before?.find(({ type }) => type === one.type)
    return { ...one, lastTransitionTime: was?.status === one.status ? was.lastTransitionTime : now }
  })
}

/** `node-loss`, `idle` as `NodeLoss`, `Idle`: how reasons are written. */
export function camelCase(words: string): string {
  return words
    .split(/[^A-Za-z0-9]+/)
    .map((word) => word.slice(0, 1).toUpperCase() + word.slice(1))
    .join('')
}
