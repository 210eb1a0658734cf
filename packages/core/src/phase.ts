/** The phases of a worker: as a provider sees it, and as the host's record has it. */

/** What exists at the vendor. `lost`: gone without our doing. */
export const providerPhases = ['provisioning', 'running', 'suspended', 'stopping', 'exited', 'lost'] as const
export type ProviderPhase = (typeof providerPhases)[number]

/** What the host's record says. The last two are final: the worker costs nothing and its name is free. */
export const recordPhases = [
  'queued',
  'launching',
  'starting',
  'idle',
  'leased',
  'suspended',
  'draining',
  'terminating',
  'terminated',
  'failed',
] as const
export type RecordPhase = (typeof recordPhases)[number]

const next: Readonly<Record<RecordPhase, readonly RecordPhase[]>> = {
  queued: ['launching', 'failed'],
  launching: ['starting', 'terminating', 'failed', 'terminated'],
  starting: ['idle', 'leased', 'terminating', 'failed', 'terminated'],
  idle: ['leased', 'suspended', 'draining', 'terminating', 'terminated', 'failed'],
  leased: ['idle', 'draining', 'terminating', 'terminated', 'failed'],
  suspended: ['idle', 'terminating', 'terminated', 'failed'],
  draining: ['terminating', 'terminated', 'failed'],
  terminating: ['terminated', 'failed'],
  terminated: [],
  failed: [],
}

/** May a record go from one phase to the other? */
export function mayFollow(from: RecordPhase, to: RecordPhase): boolean {
  return next[from].includes(to)
}

/** A final phase never changes again. */
export function isFinal(phase: RecordPhase): boolean {
  return next[phase].length === 0
}
