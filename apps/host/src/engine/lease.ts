/** Leases: what clients ask for, hold, renew and give back. */
import type { PluginRoom } from '../plugins/api.ts'
import { newId } from '../store/ids.ts'
import { type Also, EngineError, type Leases, type ReleaseHow, type RenewHow } from './api.ts'
import { type Context, mutate } from './context.ts'
import { letGo } from './ending.ts'
import type { LeaseRecord, LeaseRequest, PoolConfig, LeaseRefusal } from './model.ts'
import { type PoolOffer, refuse, unknownPool } from './placement.ts'
import { changeLease, changeWorker, endLease, insertLease, journal, writing, type Writing } from './records.ts'
import { demandOf, openRequest } from './spec.ts'
import type { Watchdog } from './watchdog.ts'
import type { Watchers } from './watchers.ts'

/** Leases that may wait in one pool: more means that somebody asks in a loop. */
const QUEUE = 50_000
const LIST = 500

export function leaseRoom(context: Context, parts: { watchdog: Watchdog; watchers: Watchers }): Leases {
  const { state, store, sealer } = context

  function check(request: LeaseRequest): LeaseRefusal | undefined {
    const pools = [...state.pools.values()].map((pool) => pool.config).filter((config) => config.placement.length > 0)
    const asked = pools.find((config) => config.name === request.pool)
    if (asked === undefined)
      return unknownPool(
        request.pool,
        pools.map((config) => config.name),
      )
    const offer = (config: PoolConfig): PoolOffer => offerOf(config, request, { plugins: context.plugins, digest: sealer.digest })
    return refuse(offer(asked), pools.filter((config) => config !== asked).map(offer))
  }

  async function request(asked: LeaseRequest, also?: Also<LeaseRecord>): Promise<LeaseRecord> {
    if (context.stopping.aborted) throw new EngineError('stopping', 'the daemon is stopping')
    const refusal = check(asked)
    if (refusal !== undefined) {
      await store.write((tx, after) => journal(writing(context, tx, after), refusalEntry(asked, refusal)))
      throw new EngineError('refused', refusal.message, refusal)
    }
    const pool = state.pool(asked.pool)
    if (pool.queue.length >= QUEUE) throw new EngineError('busy', `${QUEUE} leases wait in pool ${asked.pool} already`)
    return store.write(async (tx, after) => {
      const w = writing(context, tx, after)
      const lease = newLease(w, pool.config, asked)
      await insertLease(w, lease)
      await journal(w, {
        rule: 'lease-queued',
        decision: 'waits for a worker',
        pool: lease.pool,
        leaseId: lease.id,
        runId: asked.ofRun,
        inputs: { before: pool.queue.length, workers: pool.total, max: pool.config.scale.max, principal: asked.principal },
        change: 'A worker of the pool is free for it, or it waits longer than the pool lets it.',
      })
      await also?.(tx, after, lease)
      return lease
    })
  }

  function newLease(w: Writing, config: PoolConfig, asked: LeaseRequest): LeaseRecord {
    const id = newId('l')
    return {
      id,
      pool: config.name,
      state: 'queued',
      rev: 0,
      request: JSON.stringify(openRequest(asked)),
      request_sealed: sealer.seal(JSON.stringify(asked), `lease:${id}`),
      shape: demandOf(config, asked, sealer.digest).shape,
      worker_id: null,
      principal: asked.principal,
      of_run: asked.ofRun === undefined ? 0 : 1,
      requested_at: w.now,
      assigned_at: null,
      active_at: null,
      ttl_ms: asked.ttlMs,
      expires_at: null,
      queue_deadline: w.now + (asked.queueTimeoutMs ?? config.queueTimeoutMs),
      ended_at: null,
      ahead: null,
      end: null,
      end_reason: null,
      tries: 0,
    }
  }

  async function find(id: string): Promise<LeaseRecord | undefined> {
    return state.leases.get(id) ?? (await store.read.selectFrom('leases').selectAll().where('id', '=', id).executeTakeFirst())
  }

  async function renew(id: string, { ttlMs, principal }: RenewHow = {}): Promise<LeaseRecord> {
    return mutate(context, async (tx, after) => {
      const w = writing(context, tx, after)
      const lease = state.leases.get(id)
      if (lease === undefined) {
        const ended = await tx.selectFrom('leases').select('end').where('id', '=', id).executeTakeFirst()
        if (ended === undefined) throw new EngineError('not-found', `there is no lease ${id}`)
        throw new EngineError('ended', `the lease has ended: ${ended.end ?? 'unknown'}`)
      }
      const ttl = ttlMs ?? lease.ttl_ms
      if (ttl !== lease.ttl_ms || (principal !== undefined && principal !== lease.principal))
        await journal(w, {
          rule: 'lease-renewed',
          decision: `it is renewed for ${ttl} ms`,
          pool: lease.pool,
          leaseId: lease.id,
          inputs: { principal, holder: lease.principal, ttlMs: ttl, before: lease.ttl_ms, expiresAt: lease.expires_at },
          change: '',
        })
      // A lease that waits has no time to lose, and that of a run lives as long as its worker.
      if (lease.expires_at === null) return changeLease(w, lease, { ttl_ms: ttl })
      const worker = lease.worker_id === null ? undefined : state.workers.get(lease.worker_id)
      const most = Math.max(worker?.expires_at ?? Infinity, lease.expires_at)
      return changeLease(w, lease, { ttl_ms: ttl, expires_at: Math.max(lease.expires_at, Math.min(w.now + ttl, most)) })
    })
  }

  async function release(id: string, how: ReleaseHow, also?: Also<LeaseRecord>): Promise<LeaseRecord> {
    return mutate(context, async (tx, after) => {
      const w = writing(context, tx, after)
      const lease = state.leases.get(id)
      if (lease === undefined) {
        const ended = await tx.selectFrom('leases').selectAll().where('id', '=', id).executeTakeFirst()
        if (ended === undefined) throw new EngineError('not-found', `there is no lease ${id}`)
        await also?.(tx, after, ended)
        return ended
      }
      const ended = await endLease(w, lease, { end: how.end ?? 'released', reason: how.reason })
      await letWorkerGo(w, lease, how)
      await also?.(tx, after, ended)
      after(() => context.killpoint('lease-released'))
      return ended
    })
  }

  async function letWorkerGo(w: Writing, lease: LeaseRecord, how: ReleaseHow): Promise<void> {
    const found = lease.worker_id === null ? undefined : state.workers.get(lease.worker_id)
    const unread = how.unread === true && found?.lease_id === lease.id && found.log_hold === 1
    const worker = unread ? await changeWorker(w, found, { log_hold: 0 }) : found
    const end = how.end ?? 'released'
    await journal(w, {
      rule: `lease-${end}`,
      decision: worker === undefined ? 'the lease ends' : 'the lease ends, its worker is free',
      pool: lease.pool,
      leaseId: lease.id,
      workerId: worker?.id,
      inputs: { reason: how.reason, state: lease.state, heldMs: lease.active_at === null ? 0 : w.now - lease.active_at },
    })
    if (worker?.lease_id !== lease.id) return
    await letGo(w, worker, {
      rule: 'lease-over',
      reason: how.reason,
      force: how.force === true,
      discard: how.discard === true || end === 'expired',
      inputs: { end },
      ...(how.keep === undefined ? {} : { keep: how.keep }),
    })
  }

  return {
    check,
    request,
    get: (id) => state.leases.get(id),
    find,
    live: () => state.leases.values(),
    ofRun: (runId) => state.leases.get(state.leaseOfRun(runId) ?? ''),
    renew,
    release,
    wait: parts.watchers.wait,
    observe: parts.watchers.observe,
    list: async ({ pool, ended = false, limit = 100, before }) => {
      let query = store.read.selectFrom('leases').selectAll().orderBy('id', 'desc').limit(Math.min(limit, LIST))
      if (!ended) query = query.where('ended_at', 'is', null)
      if (pool !== undefined) query = query.where('pool', '=', pool)
      if (before !== undefined) query = query.where('id', '<', before)
      return query.execute()
    },
  }
}

function offerOf(
  config: PoolConfig,
  request: LeaseRequest,
  how: { plugins: PluginRoom; digest: (text: string) => string },
): PoolOffer {
  return {
    pool: config,
    demand: demandOf(config, request, how.digest),
    providers: config.placement.map((name) => {
      const capabilities = how.plugins.find(name)?.capabilities
      return { name, ...(capabilities === undefined ? {} : { capabilities }) }
    }),
  }
}

function refusalEntry(asked: LeaseRequest, refusal: LeaseRefusal): Parameters<typeof journal>[1] {
  return {
    rule: refusal.code,
    decision: `refused: ${refusal.message}`,
    pool: asked.pool,
    runId: asked.ofRun,
    inputs: { nearest: refusal.nearest, principal: asked.principal },
    change: refusal.hint,
  }
}
