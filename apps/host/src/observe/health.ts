/** Is the daemon well, and can it serve: from what its rooms say now. Pure. */
import type { Engine } from '../engine/api.ts'

export interface HealthPart {
  /** `store`, `term`, `disk` (only while output of runs waits), `provider NAME`, `pool NAME`. */
  name: string
  /** pending: not known yet · degraded: worse than it should be, and others go on · failed: nothing goes without it */
  state: 'ok' | 'pending' | 'degraded' | 'failed'
  reason?: string
  /** What can be done about it. */
  hint?: string
}

export interface Health {
  ok: boolean
  parts: HealthPart[]
}

type Rooms = Pick<Engine, 'acting' | 'looked'> & {
  conditions: Pick<Engine['conditions'], 'list'>
  store: Pick<Engine['store'], 'health'>
  plugins: Pick<Engine['plugins'], 'list'>
  pools: Pick<Engine['pools'], 'list'>
}

/** The daemon itself. That this is answered says that its event loop turns; the term is renewed every few seconds, which tries the store. */
export function healthOf(engine: Rooms): Health {
  const store = engine.store.health()
  const parts: HealthPart[] = [
    store.state === 'ok'
      ? { name: 'store', state: 'ok' }
      : bad({ name: 'store', state: 'failed', reason: store.message, hint: store.hint }),
    engine.acting()
      ? { name: 'term', state: 'ok' }
      : { name: 'term', state: 'failed', reason: 'the term of this host has run out or another host has it' },
  ]
  return { ok: parts.every((part) => part.state === 'ok'), parts }
}

/**
 * May work be sent here: the daemon is well, every provider that answers was looked at once, and at least one pool can be served. A
 * provider that is down makes its pools degraded, not the daemon unready: a load balancer has nowhere better to send them.
 */
export function readinessOf(engine: Rooms): Health {
  const { parts } = healthOf(engine)
  for (const { type, name, message, hint } of engine.conditions.list())
    if (type === 'output-waits') parts.push(bad({ name, state: 'failed', reason: message, hint }))
  const providers = engine.plugins.list().map((one) => one.status())
  for (const { name, state, reason, hint } of providers) {
    const { looked, failed, late } = engine.looked(name)
    // One that comes to a daemon that serves takes nothing away from it.
    const unknown = late === true ? 'degraded' : 'pending'
    const called = `provider ${name}`
    if (state === 'starting') parts.push({ name: called, state: unknown, reason: reason ?? 'its process starts' })
    else if (state !== 'ready') parts.push(bad({ name: called, state: 'degraded', reason: reason ?? state, hint }))
    else if (!looked) parts.push({ name: called, state: unknown, reason: 'its workers are listed for the first time' })
    else if (failed !== undefined) parts.push({ name: called, state: 'degraded', reason: failed })
    else parts.push({ name: called, state: 'ok' })
  }
  const serving = new Set(providers.filter(({ state }) => state === 'ready').map(({ name }) => name))
  // A pool that the configuration no longer names has no placement, and serves nobody.
  const pools = engine.pools.list().filter(({ config }) => config.placement.length > 0)
  const none = pools.filter(({ config }) => !config.placement.some((name) => serving.has(name)))
  const nothing = pools.length > 0 && none.length === pools.length
  for (const { config } of pools)
    parts.push(
      none.some((one) => one.config === config)
        ? { name: `pool ${config.name}`, state: nothing ? 'failed' : 'degraded', reason: 'no provider of it is ready' }
        : { name: `pool ${config.name}`, state: 'ok' },
    )
  return { ok: parts.every(({ state }) => state === 'ok' || state === 'degraded'), parts }
}

function bad({ hint, ...part }: Omit<HealthPart, 'hint'> & { hint: string | undefined }): HealthPart {
  return { ...part, ...(hint === undefined || hint === '' ? {} : { hint }) }
}
