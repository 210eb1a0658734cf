/** Pool-wide things at a provider (a network, a task definition): made once before the first launch of a pool there. */
import { ProviderError, toProviderError } from '@muster/core'
import type { GuardedProvider } from '../plugins/api.ts'
import type { Context } from './context.ts'

export interface Preparation {
  /** Resolves when the pool may launch there; at once where nothing needs preparing. Errors: ProviderError with effect `none`. */
  ready(provider: GuardedProvider, pool: string): Promise<void>
  /** The provider was started anew: it is asked again, which is idempotent. */
  forget(provider: string): void
  /** What these pools need may have changed. */
  reconfigured(pools: ReadonlySet<string>): void
}

export function preparationOf(context: Context): Preparation {
  const done = new Map<string, Promise<void>>()

  async function prepare(provider: GuardedProvider, pool: string): Promise<void> {
    const { image, settings } = context.state.pool(pool).config.worker
    const request = { pool, ...(image === undefined ? {} : { image }), ...(settings === undefined ? {} : { settings }) }
    try {
      await provider.preparePool(request, { idempotencyKey: `${pool}:prepare` })
    } catch (thrown) {
      const { code, message, hint, retryAfterMs, path } = toProviderError(thrown)
      throw new ProviderError(code, `the pool could not be prepared: ${message}`, {
        // Of the worker itself nothing can exist yet.
        effect: 'none',
        cause: thrown,
        ...(hint === undefined ? {} : { hint }),
        ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
        ...(path === undefined ? {} : { path }),
      })
    }
  }

  return {
    ready: (provider, pool) => {
      if (!provider.capabilities.preparePool) return Promise.resolve()
      const key = `${provider.name}/${pool}`
      const known = done.get(key)
      if (known !== undefined) return known
      const made = prepare(provider, pool)
      done.set(key, made)
      made.catch(() => done.delete(key))
      return made
    },
    forget: (provider) => {
      for (const key of done.keys()) if (key.startsWith(`${provider}/`)) done.delete(key)
    },
    reconfigured: (pools) => {
      for (const key of done.keys()) if (pools.has(key.slice(key.indexOf('/') + 1))) done.delete(key)
    },
  }
}
