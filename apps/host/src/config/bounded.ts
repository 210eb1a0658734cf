/** Work of others' patterns and schemas, which may never end, on the thread that does everything else too. */
import { createContext, Script } from 'node:vm'

/** Alone in a context, it may be cut off, patterns included. */
const cutOff = new Script('work()')
/** One for all: to make one takes ten times as long as most work in it. */
const context: { work(): void } = { work: () => undefined }
createContext(context)

/** So often twice as long: half a minute from two seconds. */
const DOUBLINGS = 4

/**
 * Runs `work`, which may be begun again, for `patienceMs` at most. Where the machine was busy with others for most of that, it has not had its
 * time, and is tried again for twice as long. Errors: that of `work`; `ERR_SCRIPT_EXECUTION_TIMEOUT`.
 */
export function runBounded(work: () => void, patienceMs: number): void {
  context.work = work
  for (let doublings = 0; ; doublings += 1) {
    const { user, system } = process.threadCpuUsage()
    try {
      cutOff.runInContext(context, { timeout: patienceMs * 2 ** doublings })
      return
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ERR_SCRIPT_EXECUTION_TIMEOUT' || doublings === DOUBLINGS) throw error
      const now = process.threadCpuUsage()
      const usedMs = (now.user - user + now.system - system) / 1000
      if (usedMs >= patienceMs / 2) throw error
    }
  }
}
