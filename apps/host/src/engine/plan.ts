/**
 * What shall be done for one pool now. Pure: a view of its records, its limits and the time come in, decisions with their reasons come
 * out. It looks at the head of the queue only, so that a pass costs the same with ten workers or ten thousand.
 */
import type { Candidate, Choice } from './placement.ts'
import { again, choose, reasonOf, secondsTo } from './placement.ts'
import { missing, surplus } from './scale/warm.ts'
import type { Demand } from './spec.ts'

export interface PoolView {
  scale: { min: number; max: number; warm: number; idleMs: number }
  total: number
  /** Ending now: they make room soon. */
  leaving: number
  /** Cordoned and kept ones: they count against `max` only, and make no room. */
  aside?: number
  /** Why nothing may be launched or handed out; idle workers go as they would. */
  paused?: string
  /** Ids of idle workers by shape, longest idle first. */
  idle: ReadonlyMap<string, readonly string[]>
  /** Since when an idle worker is idle. */
  idleSince(id: string): number
  /** The pool's own kind of worker; absent when it can keep no stock (its workers are commands). */
  stock?: { demand: Demand; coming: number; candidates(): readonly Candidate[]; heldUntil?: number }
  /** The oldest queued leases, in order. */
  queue: readonly QueuedLease[]
}

export interface QueuedLease {
  id: string
  demand: Demand
  /** Asked for only when the lease is looked at. */
  candidates(): readonly Candidate[]
}

export type Decision =
  | { kind: 'assign'; rule: 'assign-idle'; leaseId: string; workerId: string; inputs: Inputs; change: string }
  | {
      kind: 'launch'
      rule: 'launch-for-lease' | 'launch-warm'
      leaseId?: string
      demand: Demand
      provider: string
      inputs: Inputs
      change: string
    }
  | { kind: 'terminate'; rule: 'idle-surplus' | 'make-room'; workerId: string; inputs: Inputs; change: string }
  | { kind: 'fail'; rule: 'no-placement-left'; leaseId: string; reason: string; inputs: Inputs; change: string }
  | { kind: 'wait'; rule: WaitRule; leaseId: string; reason: string; inputs: Inputs; change: string; until?: number }

type WaitRule = 'wait-for-room' | 'wait-for-provider' | 'pool-paused'

export type Inputs = Record<string, unknown>

export interface Plan {
  decisions: Decision[]
  /** Nothing that happens until then changes the plan, unless a record, a limit or a provider changes. */
  wakeAt?: number
  /** Why no worker for the stock can be asked for. */
  stockWaits?: StockWait
}

export interface StockWait {
  reason: string
  /** It may be different then. */
  until?: number
}

export function plan(view: PoolView, now: number): Plan {
  const draft = draftOf(view, now)
  if (view.paused === undefined) {
    for (const lease of view.queue) {
      serve(draft, lease)
      // Full, and nothing idle to hand out or to retire: whoever comes later waits as this one does.
      if (draft.room === 0 && draft.free === 0) break
    }
    keepStock(draft)
  } else for (const { id } of view.queue) waitForResume(draft, id, view.paused)
  retireIdle(draft)
  const { decisions, wakeAt, stockWaits } = draft
  return { decisions, ...(wakeAt === Infinity ? {} : { wakeAt }), ...(stockWaits === undefined ? {} : { stockWaits }) }
}

interface Draft {
  view: PoolView
  now: number
  decisions: Decision[]
  wakeAt: number
  stockWaits?: StockWait
  /** How many more workers may be made. */
  room: number
  /** Room that ending workers will leave, not yet promised to a waiting lease. */
  roomComing: number
  /** Idle workers of any shape that this plan has not taken. */
  free: number
  /** Idle workers handed out from the end and taken from the front of their list by this plan. */
  taken: Map<string, { end: number; front: number }>
  launches: Map<string, number>
  idle: number
  launched: number
  launchedWarm: number
}

/** Launches for stock in one plan: the next plan goes on, and leases that came meanwhile are served first. */
const STOCK_BATCH = 256

function draftOf(view: PoolView, now: number): Draft {
  return {
    view,
    now,
    decisions: [],
    wakeAt: Infinity,
    room: Math.max(0, view.scale.max - view.total),
    roomComing: view.leaving,
    free: [...view.idle.values()].reduce((sum, ids) => sum + ids.length, 0),
    taken: new Map(),
    launches: new Map(),
    idle: stockIdle(view),
    launched: 0,
    launchedWarm: 0,
  }
}

function stockIdle(view: PoolView): number {
  return view.stock === undefined ? 0 : (view.idle.get(view.stock.demand.shape)?.length ?? 0)
}

function serve(draft: Draft, lease: QueuedLease): void {
  const workerId = lease.demand.mode === 'command' ? undefined : takeIdle(draft, lease.demand.shape, 'end')
  if (workerId !== undefined) {
    draft.decisions.push({
      kind: 'assign',
      rule: 'assign-idle',
      leaseId: lease.id,
      workerId,
      inputs: { shape: lease.demand.shape, idleMs: draft.now - draft.view.idleSince(workerId) },
      change: 'No idle worker of this shape.',
    })
    return
  }
  const choice = pick(draft, lease.demand, lease.candidates())
  if (choice.provider === undefined) {
    cannotPlace(draft, lease, choice)
    return
  }
  if (draft.room === 0) {
    waitForRoom(draft, lease)
    return
  }
  launch(draft, lease.demand, {
    kind: 'launch',
    rule: 'launch-for-lease',
    leaseId: lease.id,
    demand: lease.demand,
    provider: choice.provider,
    inputs: { ...limits(draft), passedOver: choice.turned, mode: lease.demand.mode },
    change: 'An idle worker of this shape, or another state of the providers before it.',
  })
}

function launch(draft: Draft, demand: Demand, decision: Extract<Decision, { kind: 'launch' }>): void {
  draft.room -= 1
  draft.launched += 1
  draft.launches.set(decision.provider, (draft.launches.get(decision.provider) ?? 0) + 1)
  draft.decisions.push({ ...decision, demand })
}

function pick(draft: Draft, demand: Demand, candidates: readonly Candidate[]): Choice {
  const counted = candidates.map((one) => {
    const planned = draft.launches.get(one.name) ?? 0
    if (planned === 0) return one
    const { backlog, roomMade = 0 } = one
    return { ...one, backlog: backlog + planned, roomMade: roomMade - planned }
  })
  const choice = choose(demand, counted, draft.now)
  if (choice.provider === undefined && choice.until !== undefined) draft.wakeAt = Math.min(draft.wakeAt, choice.until)
  return choice
}

function cannotPlace(draft: Draft, lease: QueuedLease, choice: Extract<Choice, { provider: undefined }>): void {
  const reason = reasonOf(choice)
  const inputs = { passedOver: choice.turned }
  if (choice.never)
    draft.decisions.push({
      kind: 'fail',
      rule: 'no-placement-left',
      leaseId: lease.id,
      reason: reason === '' ? 'the configuration names its pool no longer' : reason,
      inputs,
      change:
        choice.until === undefined
          ? 'A placement whose provider can serve this.'
          : `A placement whose provider can serve this; asked again in ${secondsTo(choice.until, draft.now)} s, or at once after a reconcile.`,
    })
  else
    draft.decisions.push({
      kind: 'wait',
      rule: 'wait-for-provider',
      leaseId: lease.id,
      reason,
      inputs,
      change:
        choice.until === undefined
          ? 'A provider of the pool gets ready, is enabled, or has finished a launch.'
          : `Tried again in ${secondsTo(choice.until, draft.now)} s.`,
      ...again(choice),
    })
}

function waitForResume(draft: Draft, leaseId: string, reason: string): void {
  const change = 'The pool is resumed.'
  draft.decisions.push({ kind: 'wait', rule: 'pool-paused', leaseId, reason, inputs: limits(draft), change })
}

/** The pool is full: idle workers of another shape make room, one for each lease that no ending worker makes room for. */
function waitForRoom(draft: Draft, lease: QueuedLease): void {
  const aside = draft.view.aside ?? 0
  if (draft.roomComing > 0) draft.roomComing -= 1
  else {
    const workerId = oldestIdle(draft)
    if (workerId !== undefined)
      draft.decisions.push({
        kind: 'terminate',
        rule: 'make-room',
        workerId,
        inputs: { ...limits(draft), for: lease.id, shape: lease.demand.shape },
        change: 'Room in the pool, or a queued lease of its own shape.',
      })
  }
  draft.decisions.push({
    kind: 'wait',
    rule: 'wait-for-room',
    leaseId: lease.id,
    reason: `the pool is at its maximum of ${draft.view.scale.max}${aside === 0 ? '' : `, ${aside} of them cordoned or kept`}`,
    inputs: limits(draft),
    change: `A worker of the pool ends, ${aside === 0 ? '' : 'one is uncordoned, '}or scale.max grows.`,
  })
}

function keepStock(draft: Draft): void {
  const { stock } = draft.view
  if (stock === undefined) return
  const count = missing(stockOf(draft))
  if (count === 0) return
  if (stock.heldUntil !== undefined && stock.heldUntil > draft.now) {
    draft.wakeAt = Math.min(draft.wakeAt, stock.heldUntil)
    return
  }
  const candidates = stock.candidates()
  for (let i = 0; i < Math.min(count, STOCK_BATCH) && draft.room > 0; i++) {
    const choice = pick(draft, stock.demand, candidates)
    if (choice.provider === undefined) {
      if (i === 0) draft.stockWaits = { reason: reasonOf(choice), ...again(choice) }
      return
    }
    launch(draft, stock.demand, {
      kind: 'launch',
      rule: 'launch-warm',
      demand: stock.demand,
      provider: choice.provider,
      inputs: { ...limits(draft), ...stockOf(draft), passedOver: choice.turned },
      change: 'Smaller scale.warm and scale.min.',
    })
    draft.launchedWarm += 1
  }
}

function stockOf(draft: Draft): Parameters<typeof missing>[0] {
  const { scale, total, leaving, aside = 0, stock } = draft.view
  return {
    min: scale.min,
    max: scale.max,
    warm: scale.warm,
    total: total + draft.launched,
    leaving: leaving + aside,
    idle: draft.idle,
    coming: (stock?.coming ?? 0) + draft.launchedWarm,
  }
}

/** Idle workers beyond what is kept end when they have been idle long enough; those of a shape only one lease wanted, all of them. */
function retireIdle(draft: Draft): void {
  const own = draft.view.stock?.demand.shape
  const spare = surplus(stockOf(draft))
  for (const [shape, ids] of draft.view.idle) {
    const most = shape === own ? spare : ids.length
    for (let count = 0; count < most; count++) {
      const id = peekFront(draft, shape)
      if (id === undefined) break
      const due = draft.view.idleSince(id) + draft.view.scale.idleMs
      if (due > draft.now) {
        draft.wakeAt = Math.min(draft.wakeAt, due)
        break
      }
      takeIdle(draft, shape, 'front')
      draft.decisions.push({
        kind: 'terminate',
        rule: 'idle-surplus',
        workerId: id,
        inputs: {
          ...limits(draft),
          spare: most - count,
          idleMs: draft.now - draft.view.idleSince(id),
          after: draft.view.scale.idleMs,
        },
        change: 'A lease for it, or a larger scale.warm, scale.min or scale.idle.',
      })
    }
  }
}

function limits(draft: Draft): Inputs {
  const { scale, total, leaving, aside = 0 } = draft.view
  const { min, max, warm } = scale
  return { min, max, warm, workers: total, leaving, idle: draft.idle, ...(aside === 0 ? {} : { aside }) }
}

function peekFront(draft: Draft, shape: string): string | undefined {
  const ids = draft.view.idle.get(shape) ?? []
  const taken = draft.taken.get(shape) ?? { end: 0, front: 0 }
  return taken.front < ids.length - taken.end ? ids[taken.front] : undefined
}

/** The idle worker that was used last goes first to a lease, so that the others grow old and can retire. */
function takeIdle(draft: Draft, shape: string, from: 'end' | 'front'): string | undefined {
  const ids = draft.view.idle.get(shape)
  if (ids === undefined) return undefined
  const taken = draft.taken.get(shape) ?? { end: 0, front: 0 }
  if (taken.end + taken.front >= ids.length) return undefined
  const id = from === 'end' ? ids[ids.length - 1 - taken.end] : ids[taken.front]
  taken[from] += 1
  draft.free -= 1
  draft.taken.set(shape, taken)
  if (shape === draft.view.stock?.demand.shape) draft.idle -= 1
  return id
}

function oldestIdle(draft: Draft): string | undefined {
  let oldest: { shape: string; since: number } | undefined
  for (const shape of draft.view.idle.keys()) {
    const id = peekFront(draft, shape)
    if (id === undefined) continue
    const since = draft.view.idleSince(id)
    if (oldest === undefined || since < oldest.since) oldest = { shape, since }
  }
  return oldest === undefined ? undefined : takeIdle(draft, oldest.shape, 'front')
}
