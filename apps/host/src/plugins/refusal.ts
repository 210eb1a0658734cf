/** Why a plugin is not installed, locked or opened: a code that stays, the exact fact, and what mends it. */

export const refusalCodes = [
  /** The source has no package of this name. */
  'no-package',
  /** No version of it is in the range. */
  'no-version',
  /** What is in the range was published too short a time ago. */
  'too-new',
  /** The source does not say when it was published, and that is asked for. */
  'no-release-time',
  /** The source cannot be reached, or answers with what is no answer. */
  'unreachable',
  /** The source wants other credentials. */
  'unauthorized',
  /** A path of the registry manifest leads nowhere. */
  'no-source',
  /** The registry manifest names it, the lock does not. */
  'not-locked',
  /** The lock was made for another entry of the registry manifest. */
  'lock-stale',
  /** The bytes are not those of the lock. */
  'other-bytes',
  /** The unpacked files are not those of the lock. */
  'other-files',
  /** The archive holds what no plugin may have, or is none. */
  'bad-archive',
  /** Its bytes are not vouched for by anybody. */
  'no-trust',
  /** A rule says who signs it, and there is no attestation of its provenance. */
  'no-attestation',
  /** The attestation cannot be read, or is of another kind. */
  'bad-bundle',
  /** It is about another package or version. */
  'other-subject',
  /** It is about other bytes. */
  'other-digest',
  /** Its certificate leads to no trusted authority. */
  'untrusted-certificate',
  /** Its certificate was not valid when it was signed. */
  'expired-certificate',
  /** No certificate log that is trusted has seen its certificate. */
  'unlogged-certificate',
  /** No transparency log has it. */
  'no-log-entry',
  /** The log's promise to have it is not that log's. */
  'bad-log-promise',
  /** The log's proof of having it does not hold. */
  'bad-log-proof',
  /** The log has something else. */
  'other-log-entry',
  /** Nobody tells when it was signed. */
  'bad-timestamp',
  /** The signature is not that of its certificate. */
  'bad-signature',
  /** Somebody else has said who signed. */
  'other-issuer',
  /** It was built from another repository. */
  'other-repository',
  /** It was built by another workflow. */
  'other-workflow',
  /** The version before was signed by somebody else. */
  'other-signer',
  /** It asks for more than was accepted. */
  'not-accepted',
  /** Two aliases mean the same version and other bytes. */
  'clash',
  /** Somebody else changed the file meanwhile. */
  'changed-meanwhile',
] as const

export type RefusalCode = (typeof refusalCodes)[number]

export class PluginRefusal extends Error {
  override readonly name = 'PluginRefusal'
  readonly code: RefusalCode
  /** The one thing to do. */
  readonly fix: string
  constructor(code: RefusalCode, message: string, fix: string) {
    super(message)
    this.code = code
    this.fix = fix
  }
}
