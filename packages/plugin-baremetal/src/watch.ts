/** Tells of changes of workers: the script touches a file of the worker's name in one folder. */
import { watch } from 'node:fs'

/** Ids of workers that changed, each once however often it changed meanwhile. Ends with the signal's abort. */
export async function* changes(folder: string, signal: AbortSignal): AsyncGenerator<string, void, undefined> {
  const waiting = new Set<string>()
  let wake: (() => void) | undefined
  let failure: Error | undefined
  const watcher = watch(folder, (_event, name) => {
    if (name !== null) waiting.add(name)
    wake?.()
  }).on('error', (error) => {
    failure = error
    wake?.()
  })
  const stop = (): void => wake?.()
  signal.addEventListener('abort', stop, { once: true })
  try {
    for (;;) {
      signal.throwIfAborted()
      if (failure !== undefined) throw failure
      for (const id of waiting) {
        waiting.delete(id)
        yield id
      }
      if (waiting.size > 0) continue
      await new Promise<void>((resolve) => {
        wake = resolve
        if (signal.aborted || waiting.size > 0 || failure !== undefined) resolve()
      })
      wake = undefined
    }
  } finally {
    signal.removeEventListener('abort', stop)
    watcher.close()
  }
}
