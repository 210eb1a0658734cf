/** Why the bytes of a version may be loaded: a signature that a rule of trust expects, or somebody's word. Fails closed. */
import { readFile } from 'node:fs/promises'
import type { TrustedRoot } from '@sigstore/protobuf-specs'
import type { LockedPlugin, LockedVersion, Waiver } from './lock.ts'
import type { Attested } from './provenance.ts'
import type { Provenance, Signer } from './signer.ts'
import { PluginRefusal } from './refusal.ts'
import type { TrustPolicy } from './registry.ts'
import { byHand } from './way-out.ts'

export type Trust = { signer: Provenance } | { waiver: Waiver }

export interface TrustQuestion extends Attested {
  /** What was locked before, of the same package. */
  before?: Pick<LockedVersion, 'signer' | 'version'> & { alias: string }
  waiver?: Waiver
  /** The command that would add just this. */
  add?: string
  /** What the source attests; undefined: nothing. */
  attestations(): Promise<unknown>
}

/** Is this package, or its scope, one of these? */
export function isNamed(name: string, names: readonly string[]): boolean {
  return names.some((one) => one === name || (name.includes('/') && one === `${name.split('/')[0]}/*`))
}

/** A word counts only where no rule asks for a signature, and never for what was signed before. Errors: PluginRefusal. */
export async function trustOf(asked: TrustQuestion, policy: TrustPolicy): Promise<Trust> {
  const { package: name, version, before, waiver } = asked
  const rules = policy.rules.filter((one) => isNamed(name, one.packages))
  if (rules[0] === undefined) {
    if (before?.signer !== undefined) throw otherSigner(asked, undefined)
    if (waiver === undefined)
      throw new PluginRefusal(
        'no-trust',
        `nobody vouches for ${name}@${version}`,
        `run: ${asked.add ?? 'muster plugins lock'} --waive "I have read it", if you have and trust it; or name its signer in trust of the registry manifest`,
      )
    return { waiver }
  }
  const { expectSigner, verifyProvenance } = await import('./provenance.ts')
  const found = verifyProvenance(asked, { attestations: await asked.attestations(), root: await trustedRoot(policy) })
  const fits = rules.some((rule) => isSame(found, rule))
  if (!fits) expectSigner(`${name}@${version}`, { found, wanted: rules[0] })
  // A rule that was changed by mistake, or by somebody else, does not hand a plugin over.
  if (before?.signer !== undefined && !isSame(found, before.signer)) throw otherSigner(asked, found)
  return { signer: found }
}

/** Is what was locked still signed by who signed it then? Where no rule says any more who does, its lock does. Errors: PluginRefusal. */
export async function staysSigned(
  asked: TrustQuestion & { before: { signer: Signer } },
  { rules, ...more }: TrustPolicy,
): Promise<void> {
  const { package: name, before } = asked
  const isRuled = rules.some((one) => isNamed(name, one.packages))
  await trustOf(asked, { ...more, rules: isRuled ? rules : [{ ...before.signer, packages: [name] }] })
}

/** Does what was locked still have the trust that is asked for now? Nothing is verified anew. Error: PluginRefusal `lock-stale`. */
export function keepsTrust(
  { package: name, version, signer }: Pick<LockedPlugin, 'package' | 'version' | 'signer'>,
  { rules }: TrustPolicy,
  fix = 'run: muster plugins lock',
): void {
  const asked = rules.filter((one) => isNamed(name, one.packages))
  if (asked.length === 0 || (signer !== undefined && asked.some((rule) => isSame(signer, rule)))) return
  const now = signer === undefined ? 'it has no signature' : `it is signed by ${signerName(signer)}`
  throw new PluginRefusal('lock-stale', `a rule of trust asks for another signer of ${name}@${version}: ${now}`, fix)
}

function isSame(one: Signer, other: Signer): boolean {
  return one.issuer === other.issuer && one.repository === other.repository && one.workflow === other.workflow
}

function otherSigner(asked: TrustQuestion, found: Signer | undefined): PluginRefusal {
  const { package: name, version, before } = asked
  const now = found === undefined ? 'no rule says who signs it now' : `this one by ${signerName(found)}`
  return new PluginRefusal(
    'other-signer',
    `${name}@${before?.version} was signed by ${before?.signer === undefined ? 'nobody' : signerName(before.signer)}, and ${now}`,
    `run: muster plugins remove ${before?.alias ?? name}, if ${name}@${version} is meant, and add it again`,
  )
}

export function signerName({ repository, workflow }: Signer): string {
  return `${repository} (${workflow})`
}

/** Of the version before, which no other lock would make another one. */
export const ofBefore: string = byHand('take that rule out of trust, if this version may run without it')

/** Pinned: that of the public sigstore comes with the host, another one is named by the operator. */
async function trustedRoot({ root }: TrustPolicy): Promise<TrustedRoot> {
  const { readTrustedRoot } = await import('./provenance.ts')
  if (root === undefined) return readTrustedRoot((await import('./trusted-root.ts')).publicRoot)
  try {
    return readTrustedRoot(JSON.parse(await readFile(root, 'utf8')))
  } catch (error) {
    throw new PluginRefusal(
      'no-source',
      `the trusted root '${root}' cannot be used: ${(error as Error).message}`,
      byHand('correct trust.root'),
    )
  }
}
