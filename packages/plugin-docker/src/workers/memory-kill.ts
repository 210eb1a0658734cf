/**
 * Whether the kernel's memory killer ended a container, where the engine's own flag does not say so.
 *
 * An engine hears of a memory kill and of the end of a process on two ways. Under load the end was seen to come first (20.10: 3 of 60
 * on a busy machine); the flag then stays false for ever, and only the engine's events know better.
 */
import type { ContainerInspect, Engine } from '../client.ts'
import { isTold } from './told.ts'

/**
 * How much later than the end the kill is told: a few milliseconds were seen, and nothing orders the two ways on a machine without a core to spare.
 * Only an end that looks as one for memory and was told without one waits so long; there late is better than wrong.
 */
const LATE_S = 5
/** How long the end takes after the kill: what the victim's parents still do. */
const EARLY_S = 3
/** 128 + SIGKILL, by the killer or by a shell around its victim. */
const KILLED_CODE = 137

/** Waits some seconds after the end of a container for word of a kill, by the engine's clock; answers at once for older ones. */
export async function killedForMemory(engine: Engine, container: ContainerInspect, signal: AbortSignal): Promise<boolean> {
  const { Id: id, State: state, HostConfig: host } = container
  if (state.OOMKilled || state.ExitCode !== KILLED_CODE || (host.Memory ?? 0) === 0) return state.OOMKilled
  const second = (time: string): number => Math.floor(Date.parse(time) / 1000)
  const query = {
    // Not from the start on: an earlier kill of a child is not the end of the worker.
    since: Math.max(second(state.StartedAt), second(state.FinishedAt) - EARLY_S),
    until: second(state.FinishedAt) + 1 + LATE_S,
    filters: { type: ['container'], container: [id], event: ['oom'] },
  }
  return isTold(engine, query, { signal, is: () => true })
}
