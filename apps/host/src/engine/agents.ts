/** Workers that run an agent: their ticket is exchanged here, their session is known here, and their silence is noticed. */
import { randomBytes } from 'node:crypto'
import { type Agents, EngineError } from './api.ts'
import { type Context, mutate } from './context.ts'
import type { Deadlines } from './deadlines.ts'
import { endBoth } from './ending.ts'
import type { LiveWorker } from './model.ts'
import { becomeReady } from './pool.ts'
import { claimedBy, proofHash, type ProofKind, proofText, proves } from './proofs.ts'
import { changeWorker, journal, leaseOf, writing, type Writing } from './records.ts'
import { activePhase } from './words.ts'

/** A proxy forgets a silent connection after about a minute; and a wish to stop is asked for at this pace at the latest. */
const HEARTBEAT_MS = 15_000
/** Eight heartbeats that did not come: a network that is away for a minute ends nobody's run. */
const SILENCE_MS = 8 * HEARTBEAT_MS
/** What could not be stored is tried again after this. */
const AGAIN_MS = 1000

const USED =
  'The agent that exchanged it has the only session. If that was not this one, end the worker: its ticket was read by somebody else.'

export function agentRoom(context: Context, { deadlines }: { deadlines: Deadlines }): Agents {
  const { state, clock } = context
  const keyOf = (id: string): string => `agent:${id}`

  // Those of before a restart get the whole time to come back.
  state.onWorker((now, before) => {
    if (now.agent_at === null) return
    if (!isWorking(now)) deadlines.clear(keyOf(now.id))
    else if (before === undefined || !isWorking(before)) heard(now.id)
  })

  function heard(id: string): void {
    const worker = state.workers.get(id)
    if (worker !== undefined && isWorking(worker)) deadlines.set(keyOf(id), clock.now() + SILENCE_MS, () => act(id))
  }

  function act(id: string): void {
    silent(id).catch((error: unknown) => {
      if (context.stopping.aborted) return
      context.report('a silent agent could not be ended yet', error)
      deadlines.set(keyOf(id), clock.now() + AGAIN_MS, () => act(id))
    })
  }

  async function silent(id: string): Promise<void> {
    await mutate(context, async (tx, after) => {
      const worker = state.workers.get(id)
      if (worker === undefined || !isWorking(worker)) return
      const end = {
        rule: 'agent-silent' as const,
        reason: `its agent has not been heard of for ${SILENCE_MS / 1000} s`,
        inputs: { phase: worker.phase, observedPhase: worker.observed_phase },
        change: 'The agent sends heartbeats, also while it works, and reaches the host.',
      }
      const w = writing(context, tx, after)
      await endBoth(w, worker, { ...end, end: 'lost' })
    })
  }

  /** The right ticket, in whatever state its worker is. */
  async function exchange(w: Writing, worker: LiveWorker, given: { ticket: string; from: string }): Promise<string | undefined> {
    const names = { pool: worker.pool, provider: worker.provider, workerId: worker.id }
    if (worker.session_hash !== null) {
      await journal(w, {
        rule: 'ticket-replayed',
        decision: 'refused: the ticket was exchanged before',
        ...names,
        leaseId: worker.lease_id,
        inputs: { from: given.from, phase: worker.phase, exchangedAt: worker.agent_at },
        change: USED,
      })
      return undefined
    }
    const session = proofText('session', worker.id, randomBytes(32))
    const news = { session_hash: proofHash(session, worker.epoch), agent_at: w.now }
    await journal(w, {
      rule: 'agent-ready',
      decision: 'its agent has exchanged the ticket for a session',
      ...names,
      inputs: { from: given.from, afterMs: w.now - worker.created_at },
    })
    // It may be quicker than the answer of the launch; then it is ready as soon as that is stored, and the worker seen.
    if (worker.phase === 'launching') await changeWorker(w, worker, news)
    else await becomeReady(w, worker, { news, lease: leaseOf(context, worker) })
    return session
  }

  /** The live worker whose proof this is. */
  function holderOf(kind: ProofKind, text: string): LiveWorker | undefined {
    const worker = state.workers.get(claimedBy(kind, text) ?? '')
    const hash = kind === 'ticket' ? worker?.ticket_hash : worker?.session_hash
    return proves(text, worker && { hash: hash ?? null, epoch: worker.epoch }) ? worker : undefined
  }

  const enter: Agents['enter'] = async (ticket, from) => {
    const id = holderOf('ticket', ticket)?.id
    if (id === undefined) return undefined
    return mutate(context, async (tx, after) => {
      const worker = state.workers.get(id)
      if (worker === undefined) return undefined
      const fresh = worker.phase === 'launching' || worker.phase === 'starting'
      if (!fresh && worker.session_hash === null) throw new EngineError('ended', `worker ${id} is ${worker.phase} already`)
      const session = await exchange(writing(context, tx, after), worker, { ticket, from })
      return { workerId: id, session }
    }).then((made) => {
      if (made === undefined) return undefined
      const { session, workerId } = made
      if (session === undefined)
        throw new EngineError('ticket-used', `the ticket of worker ${id} was exchanged before`, { hint: USED })
      return { workerId, session, heartbeatMs: HEARTBEAT_MS }
    })
  }

  return {
    enter,
    isGood: (ticket) => holderOf('ticket', ticket)?.session_hash === null,
    heard,
    whose: (session) => holderOf('session', session),
    isOver: ({ phase, exit, observed_phase }) => {
      const may = phase === 'launching' || phase === 'starting' || phase === 'idle' || phase === 'leased'
      return !may || exit !== null || !activePhase(observed_phase)
    },
  }
}

/** Its agent is there, and has something to do or to wait for. */
function isWorking({ phase, agent_at }: LiveWorker): boolean {
  return agent_at !== null && (phase === 'idle' || phase === 'leased')
}
