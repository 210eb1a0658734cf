/** A process that answers nothing is a condition of its provider: what a status says, only who looks sees. */
import type { ProviderStatus } from '../plugins/api.ts'
import type { Conditions } from './api.ts'

export function tellSilence(conditions: Conditions, { name, state, silentSince, oldestCall }: ProviderStatus): void {
  const key = { scope: 'provider', name, type: 'silent' } as const
  if (state !== 'degraded' || silentSince === undefined) return conditions.clear(key)
  const oldest =
    oldestCall === undefined ? '' : `; ${oldestCall.method} is open since ${new Date(oldestCall.since).toISOString()}`
  conditions.raise({
    ...key,
    message: `its plugin's process answers nothing since ${new Date(silentSince).toISOString()}${oldest}`,
    hint: 'It is started anew once a call is left without an answer past its deadline. muster providers shows how it does.',
  })
}
