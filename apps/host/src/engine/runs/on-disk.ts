/** Files of runs on the host's own disk. */
import { StoreError, type StoreErrorCode } from '../../store/store.ts'

const codes: Readonly<Record<string, StoreErrorCode>> = {
  ENOSPC: 'full',
  EDQUOT: 'full',
  EMFILE: 'overloaded',
  ENFILE: 'overloaded',
}

/** Works on a file. A fault of the disk is one of the store to whoever waits for it: it says nothing of a provider, and it passes. */
export async function onDisk<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    const { code = '', message } = error as NodeJS.ErrnoException
    // Of the operating system; Node's own begin with ERR_.
    if (!/^E[A-Z0-9]+$/.test(code)) throw error
    const hint = codes[code] === 'overloaded' ? 'Let the daemon open more files.' : 'See to the disk of the data folder.'
    throw new StoreError(codes[code] ?? 'io', `a file of a run cannot be written: ${message}`, { hint, cause: error })
  }
}
