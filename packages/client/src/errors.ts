/** The one failure of the client. */
import type { Problem } from './generated/api.ts'

/**
 * Codes of the API's problems, and the client's own. unreachable: nobody answers at the address · no-daemon: no daemon runs for this folder ·
 * protocol: what answered does not speak this API · local: a file of this machine cannot be read or written
 */
export type MusterErrorCode = Problem['code'] | 'unreachable' | 'no-daemon' | 'protocol' | 'local'

export interface MusterErrorOptions {
  status?: number
  hint?: string
  problem?: Problem
  retryAfterMs?: number
  cause?: unknown
}

export class MusterError extends Error {
  override readonly name = 'MusterError'
  readonly code: MusterErrorCode
  /** HTTP status; absent when there was no answer. */
  readonly status: number | undefined
  /** What can be done about it, one sentence. */
  readonly hint: string | undefined
  /** The whole problem, as the API sent it. */
  readonly problem: Problem | undefined
  readonly retryAfterMs: number | undefined

  constructor(code: MusterErrorCode, message: string, options: MusterErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.status = options.status
    this.hint = options.hint
    this.problem = options.problem
    this.retryAfterMs = options.retryAfterMs
  }
}

export function isMusterError(value: unknown): value is MusterError {
  return value instanceof MusterError
}

/** From an answer that is no success. */
export function fromProblem(status: number, body: string, retryAfter: string | undefined): MusterError {
  const seconds = Number(retryAfter)
  const retry = retryAfter === undefined || Number.isNaN(seconds) ? {} : { retryAfterMs: seconds * 1000 }
  const problem = parse(body)
  if (problem === undefined)
    return new MusterError('protocol', `the server answered ${status} and not in the words of this API`, {
      status,
      hint: 'Check that the address is that of a Muster daemon.',
      ...retry,
    })
  const reasons = (problem.errors ?? []).map(({ path, message }) => `${path}: ${message}`)
  return new MusterError(problem.code, [problem.detail, ...reasons].join(' '), {
    status,
    problem,
    ...(problem.hint === undefined ? {} : { hint: problem.hint }),
    ...retry,
  })
}

function parse(body: string): Problem | undefined {
  try {
    const value = JSON.parse(body) as Partial<Problem> | null
    return typeof value?.code === 'string' && typeof value.detail === 'string' ? (value as Problem) : undefined
  } catch {
    return undefined
  }
}
