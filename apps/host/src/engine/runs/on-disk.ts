/** Files of runs on the host's own disk. */
import { writing } from '../../store/writing.ts'

/** Works on a file. A fault of the disk is one of the store to whoever waits for it: it says nothing of a provider, and it passes. */
export function onDisk<T>(work: () => Promise<T>): Promise<T> {
  return writing('a file of a run', work)
}
