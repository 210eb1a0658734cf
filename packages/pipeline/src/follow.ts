/** Follows a run to its end: its states by long polls, its output by one stream. */
import type { Muster, Run } from './muster.ts'

export interface Followed {
  muster: Muster
  run: Run
  /** Hears of every change of state, or of its worker. */
  state: (run: Run) => Promise<void>
  /** Gets every byte once. The stream is read no faster than this resolves. */
  log: (stream: 'stdout' | 'stderr', data: Uint8Array) => Promise<void>
}

const states: readonly Run['state'][] = ['uploading', 'queued', 'starting', 'running', 'collecting', 'ended']

/** Resolves with the ended run, once all of its output has been given. Rejects when either fails, and then leaves the other. */
export async function followRun(followed: Followed, outer: AbortSignal): Promise<Run> {
  const stop = new AbortController()
  const signal = AbortSignal.any([stop.signal, outer])
  try {
    const [ended] = await Promise.all([followStates(followed, signal), followLog(followed, signal)])
    return ended
  } finally {
    stop.abort()
  }
}

async function followStates({ muster, run, state }: Followed, signal: AbortSignal): Promise<Run> {
  let seen: Run | undefined
  for (let now = run; ;) {
    if (seen?.state !== now.state || seen.worker !== now.worker) await state(now)
    seen = now
    if (now.state === 'ended') return now
    now = await muster.waitRun(run.id, { until: states[states.indexOf(now.state) + 1] ?? 'ended', signal })
  }
}

async function followLog({ muster, run, log }: Followed, signal: AbortSignal): Promise<void> {
  for await (const { stream, data } of muster.followLog(run.id, { signal })) await log(stream, data)
}
