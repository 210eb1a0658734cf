/** The end of a plugin process that nobody needs any more. */
import type { PluginProcess } from './process.ts'

/** Lets open calls end, then ends the process; kills it when it does not go in time. */
export async function retire(process: PluginProcess, retireMs: number): Promise<void> {
  await process.connection.retire({ deadlineMs: retireMs }).catch(() => undefined)
  process.connection.close('retired')
  const timer = setTimeout(() => process.kill(), retireMs)
  await process.exited
  clearTimeout(timer)
}

/** Resolves when the signal aborts. */
export async function once(signal: AbortSignal): Promise<void> {
  if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))
}
