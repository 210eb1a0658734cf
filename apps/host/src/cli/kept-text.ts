/** How a version that is kept beside the one that runs is told. */
import type { Provider } from '@muster/client'
import { age } from './io.ts'

export function keptText({ version, state, since, reason }: NonNullable<Provider['kept']>): string {
  return `version ${version} is kept for its last workers: ${state} for ${age(since)}${reason === undefined ? '' : `, ${reason}`}`
}
