/** The calls of agents, each led to the run that lies there for its worker: {@link AgentWork}. */
import type { Engine } from '../api.ts'
import type { AgentWork, AtRun, Wants } from '../agent-api.ts'
import type { RunRecord } from '../model.ts'
import { RunError } from '../runs-api.ts'
import type { Desk, Seat } from './desk.ts'
import type { RunRecords } from './records.ts'

export function agentWork({ engine, records, desk }: { engine: Engine; records: RunRecords; desk: Desk }): AgentWork {
  async function ownRun({ workerId, runId }: AtRun): Promise<RunRecord> {
    const run = await records.find(runId)
    // Of what belongs to others not even the existence is told.
    if (run === undefined || run.kind !== 'run' || run.worker_id !== workerId)
      throw new RunError('not-found', `this worker has no run ${runId}`)
    return run
  }

  async function seatOf(at: AtRun): Promise<Seat> {
    const seat = desk.current(at.workerId)
    if (seat?.runId === at.runId) return seat
    const run = await ownRun(at)
    if (isDone(run)) throw new RunError('ended', `run ${run.id} has ended`)
    throw new RunError('not-ready', `run ${run.id} cannot be worked on at this moment`)
  }

  /** News for an agent that knows one wish. Between two drivers a run has no seat for a while: that is not its end. */
  function wishOf({ workerId, runId }: AtRun, known: Wants): { wants: Wants; reason?: string } | 'gone' | undefined {
    const seat = desk.current(workerId)
    if (seat?.runId === runId) {
      const now = seat.wants()
      return now.wants === known ? undefined : now
    }
    const run = records.get(runId)
    return run === undefined || isDone(run) ? 'gone' : undefined
  }

  const isOver = (workerId: string): boolean => {
    const worker = engine.workers.get(workerId)
    return worker === undefined || engine.agents.isOver(worker)
  }

  return {
    async next(workerId, signal) {
      const over = new RunError('ended', 'there is nothing more to do for this worker')
      const found = await desk.until(workerId, () => (isOver(workerId) ? over : desk.current(workerId)), signal)
      if (found instanceof RunError) throw found
      return found?.take()
    },
    async wants(at, known, signal) {
      await seatOf(at)
      const unwatch = records.observe(at.runId, () => desk.tell(at.workerId))
      try {
        const found = await desk.until(at.workerId, () => wishOf(at, known), signal)
        if (found === 'gone') throw new RunError('ended', `run ${at.runId} has ended`)
        return found ?? { wants: known }
      } finally {
        unwatch()
      }
    },
    openInput: async (at, name) => (await seatOf(at)).openInput(name),
    putOutput: async (at, upload) => (await seatOf(at)).putOutput(upload),
    appendLog: async (at, piece) => (await seatOf(at)).appendLog(piece),
    async done(at, exit, signal) {
      const run = await ownRun(at)
      if (isDone(run)) return run
      const { promise: stored, resolve, reject } = Promise.withResolvers<RunRecord>()
      const abort = (): void => reject(signal.reason as Error)
      const unwatch = records.observe(at.runId, (now) => {
        if (isDone(now)) resolve(now)
      })
      signal.addEventListener('abort', abort, { once: true })
      try {
        const seat = await seatOf(at)
        // One that came a moment too late waits for the end that was quicker.
        seat.finish(exit).catch((error: unknown) => (isEnded(error) ? undefined : reject(error)))
        if (signal.aborted) abort()
        return await stored
      } finally {
        unwatch()
        signal.removeEventListener('abort', abort)
      }
    },
  }
}

function isEnded(error: unknown): boolean {
  return error instanceof RunError && error.code === 'ended'
}

/** How it ended is durable. */
function isDone({ state }: RunRecord): boolean {
  return state === 'collecting' || state === 'ended'
}
