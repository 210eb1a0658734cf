/** The door of every method: whatever is thrown becomes a ProviderError, and an abort says which of the two it was. */
import { type Call, isProviderError, type ProviderError } from '@muster/core'
import { abortError, toKubernetesError } from './errors.ts'

export interface Doing {
  /** Begins the message, as in "cannot <doing>: …". */
  doing: string
  mutates: boolean
}

export const reads = (doing: string): Doing => ({ doing, mutates: false })
export const changes = (doing: string): Doing => ({ doing, mutates: true })

export function asProviderError(thrown: unknown, call: Call, doing: Doing): ProviderError {
  const { signal } = call
  const timedOut = signal.aborted && signal.reason instanceof Error && signal.reason.name === 'TimeoutError'
  const judgement = { ...doing, deadline: call.deadline, now: call.now(), timedOut }
  return signal.aborted && !isProviderError(thrown) ? abortError(judgement) : toKubernetesError(thrown, judgement)
}

export async function guarded<T>(call: Call, doing: Doing, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw asProviderError(error, call, doing)
  }
}
