/** Why a plugin is not installed, locked or opened: a code that stays, the exact fact, and what mends it. */
import { type PackageRefusal, packageRefusals } from '@muster/packed/refusals'
import type { Loaded } from '../config/document.ts'
import type { Problem } from '../config/problem.ts'

const own = {
  'no-package': 'The source has no package of this name.',
  'no-version': 'No version of it is in the range.',
  'too-new': 'What is in the range was published too short a time ago.',
  'no-release-time': 'The source does not say when it was published, and that is asked for.',
  unreachable: 'The source cannot be reached, or answers with what is no answer.',
  unauthorized: 'The source wants other credentials.',
  'no-source': 'A path of the registry manifest leads nowhere.',
  'not-locked': 'The registry manifest names it, the lock does not.',
  'bad-lock': 'The lock cannot be read, or has another shape.',
  'lock-stale': 'The lock was made for another entry of the registry manifest.',
  'other-package': 'The source holds another package.',
  'other-version': 'The source holds another version.',
  'other-bytes': 'The bytes are not those of the lock, or not those that their source says.',
  'other-files': 'The unpacked files are not those of the lock.',
  'other-report': 'The lock says something else of its conformance report than that says.',
  'other-permissions': 'The lock accepts other permissions than it asks for.',
  'no-trust': 'Its bytes are not vouched for by anybody.',
  'no-attestation': 'A rule says who signs it, and there is no attestation of its provenance.',
  'bad-bundle': 'The attestation cannot be read, or is of another kind.',
  'other-subject': 'It is about another package or version.',
  'other-digest': 'It is about other bytes.',
  'untrusted-certificate': 'Its certificate leads to no trusted authority.',
  'expired-certificate': 'Its certificate was not valid when it was signed.',
  'unlogged-certificate': 'No certificate log that is trusted has seen its certificate.',
  'no-log-entry': 'No transparency log has it.',
  'bad-log-promise': "The log's promise to have it is not that log's.",
  'bad-log-proof': "The log's proof of having it does not hold.",
  'other-log-entry': 'The log has something else.',
  'bad-timestamp': 'Nobody tells when it was signed.',
  'bad-signature': 'The signature is not that of its certificate.',
  'other-issuer': 'Somebody else has said who signed.',
  'other-repository': 'It was built from another repository.',
  'other-workflow': 'It was built by another workflow.',
  'other-signer': 'The version before was signed by somebody else.',
  clash: 'Two of them cannot stand beside each other.',
  'still-needed': 'Live workers need a version that the lock would hold no longer.',
  'below-level': 'The registry manifest demands more isolation than it has on this machine.',
  'over-limit': 'It asks for more of the machine than the configuration gives.',
  conflict: 'Another command is at the same files.',
  'changed-meanwhile': 'Somebody else changed the file meanwhile.',
}

export type RefusalCode = keyof typeof own | PackageRefusal

/** Every code, and what it says. */
export const refusals: Readonly<Record<RefusalCode, string>> = { ...own, ...packageRefusals }

export class PluginRefusal extends Error {
  override readonly name = 'PluginRefusal'
  readonly code: RefusalCode
  /** `run: COMMAND`; what else there is to say or to do comes after it. */
  readonly fix: string
  constructor(code: RefusalCode, message: string, fix: string) {
    super(message)
    this.code = code
    this.fix = fix
  }
}

/** A refusal at the plugin's name in the registry manifest; whatever else it is, is thrown on. */
export function problemOf(error: unknown, { alias, at }: { alias: string; at: Loaded<unknown>['problem'] }): Problem {
  if (!(error instanceof PluginRefusal)) throw error
  const { code, message, fix } = error
  return at(['plugins', alias], { at: 'key', code, reason: message, fix })
}
