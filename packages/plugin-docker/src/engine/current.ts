/** The call that is served: what the requests made for it need of it, without passing it through every function. */
import { AsyncLocalStorage } from 'node:async_hooks'
import { type Call, ProviderError, type SecretValue } from '@muster/core'

export type CurrentCall = Pick<Call, 'secret'> & { trace: Pick<Call['trace'], 'traceparent'> }

const calls = new AsyncLocalStorage<CurrentCall>()

/** Requests that `work` makes carry the call's trace, and connections that they open ask by it for their secrets. */
export function inCall<T>(call: CurrentCall, work: () => T): T {
  return calls.run(call, work)
}

/** W3C trace context; empty outside of any call. */
export function currentTrace(): string {
  return calls.getStore()?.trace.traceparent ?? ''
}

/** The call's own question for secrets, to be asked also when the context is another. */
export function currentSecret(): Call['secret'] {
  const call = calls.getStore()
  if (call !== undefined) return (name, options) => call.secret(name, options)
  return (name) => Promise.reject(outside(name))
}

function outside(name: string): ProviderError {
  return new ProviderError('internal', `the secret '${name}' is needed outside of any call`, { effect: 'none' })
}

/** Asks for a secret of the manifest. */
export type SecretSource = (name: string) => Promise<SecretValue>

/**
 * Secrets by the call that is served. One that is over cannot ask any more, though others may wait for what it began: they get the value
 * that was known last.
 */
export function createSecrets(): SecretSource {
  const known = new Map<string, SecretValue>()
  return async (name) => {
    const call = calls.getStore()
    try {
      if (call === undefined) throw outside(name)
      const value = await call.secret(name)
      known.set(name, value)
      return value
    } catch (error) {
      const last = known.get(name)
      if (last === undefined || !(error instanceof ProviderError) || !isOver(error)) throw error
      return last
    }
  }
}

function isOver({ code }: ProviderError): boolean {
  return code === 'internal' || code === 'cancelled' || code === 'deadline'
}
