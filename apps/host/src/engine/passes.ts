/** Plan passes: a pool that changed is planned once the current events are through, and its decisions are written. */
import { newId } from '../store/ids.ts'
import { background, type Context, mutate } from './context.ts'
import { configOf } from './elsewhere.ts'
import { beginEnd } from './ending.ts'
import { knownOf } from './kept.ts'
import type { Launcher } from './launcher.ts'
import type { Memory } from './memory.ts'
import type { LeaseRecord, WorkerRecord } from './model.ts'
import { type Decision, plan, type PoolView, type StockWait } from './plan.ts'
import { proofHash, ticketOf, withoutTicket } from './proofs.ts'
import {
  activateLease,
  changeLease,
  changeWorker,
  endLease,
  insertWorker,
  journal,
  newWorkerColumns,
  writing,
  type Writing,
} from './records.ts'
import { buildSpec, type Demand, openSpec } from './spec.ts'
import { nextTry } from './words.ts'
import type { PoolState } from './state.ts'

export interface Passes {
  /** Plans a pool soon; without a name all of them. */
  poke(pool?: string): void
  /** Why a queued lease waits; the first of the pool's queue. */
  waiting(pool: string): string
  start(): void
}

/** Leases looked at in one pass: bounds the pass and its group commit; the next pass follows at once. */
const LOOK = 256
/** After a pass that the store refused. */
const AGAIN_MS = 500

export function passesOf(context: Context, parts: { memory: Memory; launcher: Launcher }): Passes {
  const { state, clock } = context
  const { memory, launcher } = parts
  const dirty = new Set<string>()
  const running = new Set<string>()
  const timers = new Map<string, () => void>()
  /** The reason last written to the journal for a waiting lease: said once, and again when it changes. */
  const reasons = new Map<string, string>()
  /** When a waiting lease is looked at again. Not in the journal: it is another with each try. */
  const again = new Map<string, number | undefined>()
  /** Why the stock of a pool is not made, and until when. */
  const stockWaits = new Map<string, StockWait>()
  let started = false

  state.onWorker((now, before) => {
    poke(now.pool)
    if (before?.phase === 'launching' && now.phase !== 'launching') pokeWaiting(now.provider)
    else if (now.ended_at !== null && memory.isExhausted(now.provider)) pokeWaiting(now.provider)
    if (before?.phase === 'starting' && (now.phase === 'idle' || now.phase === 'leased')) {
      memory.stockReady(now.pool)
      context.conditions.clear({ scope: 'pool', name: now.pool, type: 'stock' })
      memory.served(now)
    }
  })
  state.onLease((now) => {
    poke(now.pool)
    if (now.state !== 'queued') {
      reasons.delete(now.id)
      again.delete(now.id)
    }
    if (now.state === 'ended') memory.forgetLease(now.id)
  })

  /** A launch place is free: pools that may wait for that provider look again. */
  function pokeWaiting(provider: string): void {
    for (const [name, pool] of state.pools)
      if (pool.config.placement.includes(provider) && (pool.queue.length > 0 || memory.stock(pool.config) !== undefined))
        poke(name)
  }

  function poke(pool?: string): void {
    if (pool === undefined) {
      for (const name of state.pools.keys()) poke(name)
      return
    }
    const first = !dirty.has(pool)
    dirty.add(pool)
    if (first && started && !running.has(pool)) setImmediate(() => run(pool))
  }

  /** Of a dirty pool that does not run: one turn after it became so. */
  function run(name: string): void {
    if (context.stopping.aborted) return
    running.add(name)
    dirty.delete(name)
    pass(name).then(
      () => {
        running.delete(name)
        if (dirty.has(name)) setImmediate(() => run(name))
      },
      (error: unknown) => {
        running.delete(name)
        // What came meanwhile is looked at then: a pool that stays dirty is not poked.
        dirty.delete(name)
        if (context.stopping.aborted) return
        context.report('a plan could not be carried out yet', error)
        wakeAt(name, clock.now() + AGAIN_MS)
      },
    )
  }

  function wakeAt(name: string, at: number): void {
    timers.get(name)?.()
    timers.set(
      name,
      clock.after(at - clock.now(), () => {
        timers.delete(name)
        poke(name)
      }),
    )
  }

  async function pass(name: string): Promise<void> {
    if (!context.fence.mayAct()) {
      wakeAt(name, clock.now() + AGAIN_MS)
      return
    }
    const pool = state.pool(name)
    const { decisions, wakeAt: at, stockWaits: waits } = plan(viewOf(pool), clock.now())
    if (waits === undefined) stockWaits.delete(name)
    else stockWaits.set(name, waits)
    if (at !== undefined) wakeAt(name, at)
    for (const decision of decisions) if (decision.kind === 'wait') again.set(decision.leaseId, decision.until)
    const work = decisions.filter((decision) => decision.kind !== 'wait' || reasons.get(decision.leaseId) !== decision.reason)
    const results = await Promise.allSettled(work.map((decision) => carryOut(pool, decision)))
    const failed = results.find((result) => result.status === 'rejected')
    if (failed !== undefined) throw failed.reason
  }

  function viewOf(pool: PoolState): PoolView {
    const { config } = pool
    const stock = memory.stock(config)
    const heldUntil = memory.stockHeldUntil(config.name)
    // One that the configuration names no longer serves nobody, and nobody could resume it.
    const paused = config.placement.length === 0 ? undefined : context.wishes.paused(config.name)
    return {
      scale: context.wishes.draining(config.name) ? { ...config.scale, min: 0, warm: 0, idleMs: 0 } : config.scale,
      total: pool.total,
      leaving: (pool.counts.get('terminating') ?? 0) + (pool.counts.get('draining') ?? 0) - pool.kept,
      aside: pool.kept + pool.cordoned,
      ...(paused === undefined ? {} : { paused }),
      idle: knownOf(context, pool.idle),
      idleSince: (id) => state.workers.get(id)?.idle_since ?? 0,
      queue: pool.queue.slice(0, LOOK).flatMap((id) => {
        const lease = state.leases.get(id)
        if (lease === undefined) return []
        const demand = demandOf(lease)
        return demand === undefined ? [] : [{ id, demand, candidates: () => memory.candidates(config, demand, id) }]
      }),
      ...(stock === undefined
        ? {}
        : {
            stock: {
              demand: stock,
              coming: pool.coming.get(stock.shape) ?? 0,
              candidates: () => memory.candidates(config, stock),
              ...(heldUntil === undefined ? {} : { heldUntil }),
            },
          }),
    }
  }

  function demandOf(lease: LeaseRecord): Demand | undefined {
    try {
      return memory.demand(lease)
    } catch (error) {
      context.report('a lease cannot be read', error)
      const reason = 'its request does not open with the seal key of this data folder'
      background(context, 'a lease could not be ended', () =>
        mutate(context, async (tx, after) => {
          const current = state.leases.get(lease.id)
          if (current?.state === 'queued') await endLease(writing(context, tx, after), current, { end: 'failed', reason })
        }),
      )
      return undefined
    }
  }

  async function carryOut(pool: PoolState, decision: Decision): Promise<void> {
    switch (decision.kind) {
      case 'launch':
        return launch(pool, decision)
      case 'assign':
        await mutate(context, (tx, after) => assign(writing(context, tx, after), decision))
        return undefined
      case 'terminate':
        await mutate(context, async (tx, after) => {
          const worker = state.workers.get(decision.workerId)
          // Assigned meanwhile: the compare-and-set of the other write came first.
          if (worker?.phase !== 'idle') return
          const { rule, inputs, change } = decision
          const reason = rule === 'make-room' ? 'room for a lease that needs another worker' : 'idle for long enough'
          await beginEnd(writing(context, tx, after), worker, { rule, reason, inputs, change })
        })
        return undefined
      case 'fail':
      case 'wait':
        return tell(pool, decision)
    }
  }

  async function tell(pool: PoolState, decision: Extract<Decision, { kind: 'fail' | 'wait' }>): Promise<void> {
    const { leaseId, rule, reason, inputs, change } = decision
    if (decision.kind === 'wait') reasons.set(leaseId, reason)
    await mutate(context, async (tx, after) => {
      const w = writing(context, tx, after)
      const lease = state.leases.get(leaseId)
      if (lease?.state !== 'queued') return
      const words = decision.kind === 'fail' ? `the lease fails: ${reason}` : `waits: ${reason}`
      await journal(w, { rule, decision: words, pool: pool.config.name, leaseId, inputs, change })
      if (decision.kind === 'fail') await endLease(w, lease, { end: 'failed', reason: `no placement is left: ${reason}` })
    })
  }

  async function launch(pool: PoolState, decision: Extract<Decision, { kind: 'launch' }>): Promise<void> {
    await mutate(context, async (tx, after) => {
      const w = writing(context, tx, after)
      if (held(pool.config.name, decision.provider)) return
      const lease = decision.leaseId === undefined ? undefined : state.leases.get(decision.leaseId)
      if (decision.leaseId !== undefined && lease?.state !== 'queued') return
      // Another configuration came between plan and write: the next plan is made from that.
      if (!pool.config.placement.includes(decision.provider)) return
      const row = newWorker(w, { pool, decision })
      await insertWorker(w, row)
      if (lease !== undefined) await changeLease(w, lease, { state: 'assigned', worker_id: row.id, assigned_at: w.now })
      await journal(w, {
        rule: decision.rule,
        decision: `launch on ${decision.provider}`,
        pool: row.pool,
        provider: row.provider,
        workerId: row.id,
        leaseId: lease?.id,
        inputs: decision.inputs,
        change: decision.change,
      })
      if (lease !== undefined) after(() => context.killpoint('lease-assigned'))
    })
  }

  function held(pool: string, provider: string): boolean {
    return (context.wishes.paused(pool) ?? context.wishes.disabled(provider)) !== undefined
  }

  function newWorker(w: Writing, made: { pool: PoolState; decision: Extract<Decision, { kind: 'launch' }> }): WorkerRecord {
    const { config } = made.pool
    const { demand, provider, leaseId } = made.decision
    const { capabilities, manifest } = context.plugins.provider(provider)
    const id = newId('w')
    const lifetimeMs = Math.min(config.lifetimeMs, capabilities.maxLifetimeMs ?? Infinity)
    const epoch = context.fence.epoch()
    const ticket = demand.mode === 'agent' ? ticketOf(context.sealer, id) : undefined
    const self = ticket === undefined ? {} : { self: { ticket, url: context.settings.urls?.[provider] ?? '' } }
    const parts = { id, owner: context.settings.owner, provider, epoch, lifetimeMs, capabilities, ...self }
    const spec = buildSpec(config, demand, parts)
    w.after(() => launcher.remember(id, spec))
    return {
      ...newWorkerColumns,
      id,
      pool: config.name,
      provider,
      spec: JSON.stringify(openSpec(spec)),
      spec_sealed: context.sealer.seal(JSON.stringify(withoutTicket(spec)), `worker:${id}`),
      shape: demand.shape,
      lease_id: leaseId ?? null,
      epoch,
      created_at: w.now,
      expires_at: w.now + lifetimeMs,
      grace_ms: config.graceMs,
      plugin_version: manifest.version,
      plugin_package: manifest.name,
      provider_config: configOf(context, provider),
      ticket_hash: ticket === undefined ? null : proofHash(ticket, epoch),
    }
  }

  async function assign(w: Writing, decision: Extract<Decision, { kind: 'assign' }>): Promise<void> {
    const worker = state.workers.get(decision.workerId)
    const lease = state.leases.get(decision.leaseId)
    // Cordoned, or the pool paused, since the plan was made: the next one sees it.
    if (worker?.phase !== 'idle' || worker.cordoned === 1 || lease?.state !== 'queued') return
    if (context.wishes.paused(worker.pool) !== undefined) return
    await journal(w, {
      rule: decision.rule,
      decision: 'the lease gets an idle worker',
      pool: worker.pool,
      provider: worker.provider,
      workerId: worker.id,
      leaseId: lease.id,
      inputs: { ...decision.inputs, waitedMs: w.now - lease.requested_at },
      change: decision.change,
    })
    await changeWorker(w, worker, { phase: 'leased', lease_id: lease.id, idle_since: null, log_hold: lease.of_run })
    await activateLease(w, lease, worker.id)
    w.after(() => {
      context.killpoint('lease-assigned')
      context.killpoint('lease-active')
    })
  }

  return {
    poke,
    waiting: (pool) => {
      const first = state.pool(pool).queue[0]
      const stock = stockWaits.get(pool)
      if (first === undefined) return stock === undefined ? '' : `its stock: ${stock.reason}${nextTry(clock, stock.until)}`
      // The journal names the states alone: what a provider says of one may change with each of its tries.
      const { placement } = state.pool(pool).config
      const troubles = placement.flatMap((name) => {
        const status = context.plugins.find(name)?.status()
        if (status?.reason === undefined || status.state === 'ready') return []
        return [` (${name}: ${status.reason}${status.hint === undefined ? '' : `. ${status.hint}`})`]
      })
      return `${reasons.get(first) ?? 'it is looked at now'}${troubles.join('')}${nextTry(clock, again.get(first))}`
    },
    start: () => {
      started = true
      for (const name of dirty) setImmediate(() => run(name))
      context.stopping.addEventListener('abort', () => {
        for (const cancel of timers.values()) cancel()
      })
    },
  }
}
