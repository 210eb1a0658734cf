/** What the machine's failures mean: one table from the system's error codes to the contract's. */
import { type Effect, ProviderError, type ProviderErrorCode } from '@muster/core'

export interface ErrorRow {
  /** Codes of the system, as `ENOSPC`. */
  system: readonly string[]
  code: ProviderErrorCode
  hint?: string
}

export const errorTable: readonly ErrorRow[] = [
  { system: ['ENOSPC', 'EDQUOT'], code: 'capacity', hint: 'Free space on the disk that holds the workers’ folder.' },
  {
    system: ['EAGAIN', 'ENOMEM', 'ENFILE', 'EMFILE'],
    code: 'capacity',
    hint: 'The machine has no room for another process or file.',
  },
  {
    system: ['EACCES', 'EPERM', 'EROFS'],
    code: 'auth',
    hint: 'Let the host’s user write in the workers’ folder, or name another one as `root` in the provider’s config.',
  },
  { system: ['E2BIG', 'ENAMETOOLONG'], code: 'invalid-spec', hint: 'Shorten the command, the environment or the path.' },
  { system: ['ENOENT', 'ENOTDIR', 'ESRCH'], code: 'not-found' },
  { system: ['ECONNREFUSED'], code: 'transient', hint: 'Nothing listens on that port yet.' },
  { system: ['ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'EBUSY', 'EINTR', 'ETXTBSY', 'EIO', 'ESTALE'], code: 'transient' },
]

/** The door for everything thrown here. A ProviderError passes as it is; an abort is the call's own affair and passes too. */
export function toLocalError(thrown: unknown, doing: string, effect: Effect = 'possible'): unknown {
  if (thrown instanceof ProviderError || !(thrown instanceof Error)) return thrown
  if (thrown.name === 'AbortError' || thrown.name === 'TimeoutError') return thrown
  const system = (thrown as NodeJS.ErrnoException).code
  const row = errorTable.find((candidate) => system !== undefined && candidate.system.includes(system))
  if (row === undefined) return new ProviderError('internal', `cannot ${doing}: ${thrown.message}`, { effect, cause: thrown })
  return new ProviderError(row.code, `cannot ${doing}: ${thrown.message}`, {
    effect,
    ...(row.hint === undefined ? {} : { hint: row.hint }),
    cause: thrown,
  })
}

/** Has the system answered with one of these codes? */
export function isSystem(thrown: unknown, ...codes: readonly string[]): boolean {
  return thrown instanceof Error && codes.includes((thrown as NodeJS.ErrnoException).code ?? '')
}

/** A refusal that changed nothing, with the field it is about. */
export function refused(
  code: 'unsupported' | 'invalid-spec',
  path: string,
  text: { message: string; hint?: string },
): ProviderError {
  return new ProviderError(code, text.message, { effect: 'none', path, ...(text.hint === undefined ? {} : { hint: text.hint }) })
}

/** The machine or a folder of it cannot be used as it is. */
export function unfit(message: string, hint: string, cause?: unknown): ProviderError {
  return new ProviderError('auth', message, { effect: 'none', hint, ...(cause === undefined ? {} : { cause }) })
}
