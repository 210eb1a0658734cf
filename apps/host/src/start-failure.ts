/** Why a daemon has not started, and what its user can do about it. */
import { DoorError } from './api/door-error.ts'
import { StoreError } from './store/store.ts'

export function startFailure(error: unknown): string {
  if (error instanceof DoorError) return `not started: ${error.message}\n  ${error.hint}`
  if (error instanceof StoreError) return [`not started: ${error.message}`, error.hint].filter((text) => text !== '').join('\n  ')
  const { code, message } = error as NodeJS.ErrnoException
  if (code === 'EROFS')
    return `not started: ${message}\n  Mount the disk so that it can be written, or choose another data folder: --data.`
  if (code === 'EACCES' || code === 'EPERM')
    return `not started: ${message}\n  Give this user the right to it, or choose another data folder: --data.`
  if (code === 'EEXIST' || code === 'ENOTDIR')
    return `not started: ${message}\n  The data folder would replace something else: choose another path, host.data (--data).`
  if (code === 'ENOSPC') return `not started: ${message}\n  Make room on the disk, or choose another data folder: --data.`
  return `not started: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`
}
