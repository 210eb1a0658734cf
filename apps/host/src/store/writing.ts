/** Files on the disk of the data folder. */
import { StoreError, type StoreErrorCode } from './store.ts'

const codes: Readonly<Record<string, StoreErrorCode>> = {
  ENOSPC: 'full',
  EDQUOT: 'full',
  EMFILE: 'overloaded',
  ENFILE: 'overloaded',
}

/** Works on `what`. Errors of the disk become StoreErrors: `full`, `overloaded` without a free descriptor, else `io`. */
export async function writing<T>(what: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    const { code = '', message } = error as NodeJS.ErrnoException
    // Of the operating system; Node's own begin with ERR_.
    if (!/^E[A-Z0-9]+$/.test(code)) throw error
    const hint = codes[code] === 'overloaded' ? 'Let the daemon open more files.' : 'See to the disk of the data folder.'
    throw new StoreError(codes[code] ?? 'io', `${what} cannot be written: ${message}`, { hint, cause: error })
  }
}
