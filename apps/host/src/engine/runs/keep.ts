/** A worker that its run failed in, kept for a look: what is asked for, whether it can be, and when it is done. */
import type { Engine, ReleaseHow } from '../api.ts'
import type { Refusal, RunOutcome, RunRecord, RunRequest } from '../model.ts'

/** Nobody looks for longer than a day; and a worker that is kept costs as one that works. */
export const maxKeepMs = 86_400_000

/**
 * The request with what its pool gives to every run. A run that says itself that its worker is its command has nothing that could be
 * kept, so the pool's wish is not for it.
 */
export function withKeep({ pools }: Pick<Engine, 'pools'>, request: RunRequest): RunRequest {
  const { keepFailedMs } = pools.get(request.pool ?? '')?.config ?? {}
  const own = request.keepFailedMs !== undefined || request.requirements.mode === 'command'
  return own || keepFailedMs === undefined ? request : { ...request, keepFailedMs }
}

/** Why a worker could not be kept for this run, from why it cannot be leased at all. Others pass unchanged. */
export function keepRefusal(request: RunRequest, refusal: Refusal | undefined): Refusal | undefined {
  if (request.keepFailedMs === undefined || request.keepFailedMs === 0) return refusal
  const nearest = refusal?.nearest
  if (request.requirements.mode === 'command')
    return notKept({ has: 'it asks for a worker that is its command', hint: 'Ask for mode hold, or for no keepFailed.', nearest })
  if (nearest?.field !== 'work') return refusal
  const hint = 'Ask for no keepFailed, or for a pool whose provider has workers that hold.'
  return notKept({ has: `pool ${request.pool} has ${nearest.has}`, hint, nearest })
}

function notKept({ has, hint, nearest }: { has: string; hint: string; nearest: Refusal['nearest'] | undefined }): Refusal {
  return {
    code: 'cannot-be-kept',
    message: `a worker cannot be kept for a look after this run fails: that needs one that holds, and ${has}`,
    hint,
    ...(nearest === undefined ? {} : { nearest }),
  }
}

/** What passed needs no look, and who cancelled it did not want it any more. */
const kept: Readonly<Record<RunOutcome, boolean>> = {
  passed: false,
  failed: true,
  timeout: true,
  cancelled: false,
  oom: true,
  infrastructure: true,
  unknown: true,
}

export function keepOf(run: RunRecord, outcome: RunOutcome): Pick<ReleaseHow, 'keep'> {
  const { keepFailedMs: ms = 0 } = JSON.parse(run.request) as Pick<RunRequest, 'keepFailedMs'>
  return ms === 0 || !kept[outcome] ? {} : { keep: { ms, runId: run.id, outcome } }
}
