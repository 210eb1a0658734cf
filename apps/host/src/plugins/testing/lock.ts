/** A lock for tests: as the commands write it, with everything vouched for. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { loadLock, lockFileOf, lockText } from '../lock.ts'
import { type Locking, planLock } from '../locking.ts'
import { loadRegistry } from '../registry.ts'

export interface LockHere {
  stores?: [string, ...string[]]
  update?: readonly string[]
  /** The alias that goes back. */
  back?: string
  now?: number
  /** Vouched for; null: by nobody. */
  reason?: string | null
  maxHeapMb?: number
}

/** Plans the lock of a registry manifest, and writes it where nothing is wrong. */
export async function lockHere(registryFile: string, options: LockHere = {}): Promise<Locking> {
  const { stores = [join(registryFile, '../store')], update = [], now = Date.now(), reason = 'a test', ...more } = options
  const registry = await loadRegistry(registryFile, 'plugins.json')
  const file = lockFileOf(registryFile)
  const { lock } = await loadLock(file, 'plugins.lock.json')
  const waiver = reason === null ? {} : { waiver: { by: 'tester', at: new Date(now).toISOString(), reason } }
  const planned = await planLock({ registry, lock, stores, update: new Set(update), now, ...waiver, ...more })
  if (planned.problems.length === 0) await writeFile(file, lockText(planned.lock))
  return planned
}
