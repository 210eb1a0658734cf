/** A run whose worker is at a provider that this daemon does not know: it waits as with one that is away, since the command may go on. */
import type { GuardedProvider } from '../../plugins/api.ts'
import { awayMs, type Job, pauseFor } from './deps.ts'
import { cutOff, type Ending, endingOf, endingUnbegun } from './outcome.ts'

type Waiting = Pick<Job, 'deps' | 'run' | 'worker' | 'watch'>

/** Between two looks: somebody has to name it again in the meantime. */
const lookMs = 1000

/** Undefined: the run is to end before it is there, or has waited for its begin as long as with all others. Errors: the reason of the host's stop. */
export async function providerBack({ deps, run, worker, watch }: Waiting): Promise<GuardedProvider | undefined> {
  const { engine, stopping } = deps
  if (run.started_at !== null) watch.started(run.started_at)
  const over = new AbortController()
  void watch.stopped.then(() => over.abort())
  const until = run.started_at === null ? engine.clock.now() + awayMs : Infinity
  for (;;) {
    const found = engine.providerOf(worker)
    if (found !== undefined) return found
    stopping.throwIfAborted()
    if (over.signal.aborted || engine.clock.now() >= until) return undefined
    await pauseFor(deps, lookMs, AbortSignal.any([stopping, over.signal]))
  }
}

/** Its end, where nobody can be asked for it. */
export function unheard({ untried, watch }: Pick<Job, 'untried' | 'watch'>, reason: string): Ending {
  // What may have begun is not said to be unbegun: whoever repeats such a run would have its command twice.
  return cutOff(untried ? endingUnbegun(reason, watch.stop()) : endingOf({ reason }, watch.stop()), reason)
}
