/** Says why a job still has no worker: after a while, and again whenever the reason is another one. */
import type { Run } from './muster.ts'

export interface Waiting extends Disposable {
  /** Hears of every state of the run. */
  note(run: Pick<Run, 'state' | 'worker'>): void
}

/** A start that is under way needs no explanation. */
const FIRST_MS = 3000
const AGAIN_MS = 10_000

/** `why` gives the reason, empty when there is none to tell; when it cannot be had, it is asked for again later. */
export function tellWaiting(why: () => Promise<string>, tell: (reason: string) => Promise<void>): Waiting {
  let timer: NodeJS.Timeout | undefined
  let told = ''
  const stop = (): void => {
    clearTimeout(timer)
    timer = undefined
  }
  const look = async (mine: NodeJS.Timeout | undefined): Promise<void> => {
    const reason = await why().catch(() => '')
    if (timer !== mine) return
    if (reason !== '' && reason !== told) await tell((told = reason))
    if (timer === mine) again(AGAIN_MS)
  }
  const again = (ms: number): void => {
    // Who listens hears of its own fault at the next event, which the job itself tells.
    timer = setTimeout(() => void look(timer).catch(() => undefined), ms).unref()
  }
  return {
    note({ state, worker }) {
      if (state !== 'queued' || worker !== undefined) stop()
      else if (timer === undefined) again(FIRST_MS)
    },
    [Symbol.dispose]: stop,
  }
}
