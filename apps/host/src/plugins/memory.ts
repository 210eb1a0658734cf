/** What memory a plugin process may have, and its end when it takes more: the cap of the heap does not count what lies beside it, as Buffers. */
import { readFile } from 'node:fs/promises'
import type { PluginManifest } from '@muster/core'

/** MiB: the heap, as much again for what lies beside it, and what Node itself needs. */
export function memoryOf({ limits }: Pick<PluginManifest, 'limits'>): number {
  return 2 * limits.heapMb + 128
}

/** A plugin that fills a machine takes longer than this; a look costs some ten microseconds. */
const lookEveryMs = 250

export interface Watched {
  limitMb: number
  /** Told once, with the MiB that it has. */
  over(foundMb: number): void
}

/** Looks again and again until it is told to stop, or there is nothing to look at. */
export function watchMemory(pid: number, { limitMb, over }: Watched): () => void {
  let busy = false
  const timer = setInterval(() => {
    if (busy) return
    busy = true
    void residentMb(pid).then((found) => {
      busy = false
      if (found === 'unknown' || (found !== undefined && found <= limitMb)) return
      clearInterval(timer)
      if (found !== undefined) over(found)
    })
  }, lookEveryMs).unref()
  return () => clearInterval(timer)
}

/** Undefined: it is gone, or this system does not tell. Unknown: this look failed, as where the host has too many files open. */
async function residentMb(pid: number): Promise<number | 'unknown' | undefined> {
  try {
    const status = await readFile(`/proc/${pid}/status`, 'utf8')
    const kib = /^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]
    return kib === undefined ? undefined : Math.ceil(Number(kib) / 1024)
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException
    return code === 'ENOENT' || code === 'ESRCH' ? undefined : 'unknown'
  }
}
