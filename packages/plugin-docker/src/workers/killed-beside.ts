/**
 * Whether somebody else than this worker ended it: `docker stop` or `kill` by hand, or an engine that stops in order and is still asked.
 *
 * The status of such an end, 128 + signal, may as well be the program's own word. The engine's events tell a signal that it sent; they
 * are the last 256 of all its containers, so of an end long ago they may know nothing. What holds a worker open ends in order, with 0, at some of
 * these signals and at nothing else.
 */
import type { WorkerExit } from '@muster/core'
import type { ContainerInspect, Engine } from '../client.ts'
import { isHolding } from '../labels.ts'
import { isTold } from './told.ts'

/** How long before its end a worker may have been told: an engine waits so long at most between SIGTERM and SIGKILL, as it is set usually. */
const EARLY_S = 30
/** How much later than the end the signal is told: it is sent first and told then. */
const LATE_S = 1
const signals: Readonly<Record<number, readonly number[]>> = { 137: [9], 143: [15] }
/** SIGTERM and SIGINT. */
const holdSignals: readonly number[] = [15, 2]

/** The signal that was sent to it from outside and is the one that it ended by. Waits for word of it a moment after the end, by the engine's clock. */
export async function killedBeside(
  engine: Engine,
  container: ContainerInspect,
  signal: AbortSignal,
): Promise<number | undefined> {
  const { Id: id, State: state } = container
  const sent = isHolding(container) && state.ExitCode === 0 ? holdSignals : signals[state.ExitCode]
  if (sent === undefined) return undefined
  const second = Math.floor(Date.parse(state.FinishedAt) / 1000)
  const query = {
    since: Math.max(Math.floor(Date.parse(state.StartedAt) / 1000), second - EARLY_S),
    until: second + 1 + LATE_S,
    filters: { type: ['container'], container: [id], event: ['kill'] },
  }
  let told: number | undefined
  const is = (event: unknown): boolean => {
    const one = signalOf(event)
    if (sent.includes(one)) told = one
    return told !== undefined
  }
  await isTold(engine, query, { signal, is })
  return told
}

function signalOf(event: unknown): number {
  const { Actor: actor } = event as { Actor?: { Attributes?: { signal?: string } } }
  return Number(actor?.Attributes?.signal)
}

/** Of such an end nobody can tell how the command would have ended: without a code. */
export function exitBeside(exit: WorkerExit, signal: number): WorkerExit {
  const reason = `unknown: it was ended from outside by signal ${signal}, by hand or by an engine that stops; it says ${exit.reason}`
  return { reason, ...(exit.at === undefined ? {} : { at: exit.at }) }
}
