/** What a start does to a data folder, without a daemon. */
import { openIdentity, type Restore } from './identity.ts'
import { openSqliteStore } from './open.ts'
import { acquireTerm } from './term.ts'

/** Takes one term and lets go of it. Returns the owner. */
export async function start(dir: string, restore?: Restore, onParted?: (files: readonly string[]) => void): Promise<string> {
  const opened = await openSqliteStore(dir, onParted === undefined ? {} : { onParted })
  try {
    const identity = await openIdentity(opened, dir, restore === undefined ? {} : { restore })
    const term = await acquireTerm(opened, { holder: 'a', exclusive: true, renewMs: 1e6 })
    identity.note(term.epoch())
    await term.release()
    return identity.owner
  } finally {
    await opened.close()
  }
}
