/** Why a connection ended, and the one error that ends it: {@link WireViolation}. */
import { ProviderError } from '../errors.ts'

/** What a peer did that the protocol forbids. */
export const violationCodes = [
  'frame-too-big',
  'frame-empty',
  'frame-kind',
  'frame-stalled',
  'bad-json',
  'bad-message',
  'bad-params',
  'bad-answer',
  'bad-item',
  'unknown-method',
  'unknown-id',
  'duplicate-id',
  'duplicate-answer',
  'unknown-stream',
  'chunk-size',
  'over-credit',
  'over-end',
  'missing-end',
  'flood',
] as const
export type ViolationCode = (typeof violationCodes)[number]

export interface CloseReason {
  /**
   * `ended`: the other side went away. `closed`: this side closed. `violation`: the other side broke the protocol.
   * `unresponsive`: it left an aborted call unanswered. `failed`: the transport failed.
   */
  kind: 'ended' | 'closed' | 'violation' | 'unresponsive' | 'failed'
  violation?: ViolationCode
  message: string
}

/** A breach of the protocol by the other side. Ends the connection. */
export class WireViolation extends Error {
  override readonly name = 'WireViolation'
  readonly code: ViolationCode

  constructor(code: ViolationCode, message: string) {
    super(message)
    this.code = code
  }
}

/** What calls that were open at the end fail with: a dead plugin is a plugin fault, our own closing is not. */
export function closedError(reason: CloseReason, effect: 'none' | 'possible'): ProviderError {
  const code = reason.kind === 'closed' ? 'transient' : 'internal'
  return new ProviderError(code, `the connection to the plugin ended: ${reason.message}`, { effect })
}
