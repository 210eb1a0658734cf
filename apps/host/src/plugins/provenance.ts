/**
 * Who built a package: the attestation of its provenance (in-toto statement, SLSA predicate) in a sigstore bundle, verified without the
 * network against a trusted root that is pinned. Meaning of the certificate's extensions: Fulcio's OID information.
 */
import { X509Certificate } from 'node:crypto'
import { type Bundle, bundleFromJSON } from '@sigstore/bundle'
import { ASN1Obj } from '@sigstore/core'
import { TrustedRoot } from '@sigstore/protobuf-specs'
import { toSignedEntity, toTrustMaterial, Verifier } from '@sigstore/verify'
import { z } from 'zod'
import { hexOf } from './hex.ts'
import { jsonOf } from './origin.ts'
import { PluginRefusal, type RefusalCode } from './refusal.ts'
import type { Provenance, Signer } from './signer.ts'
import { byHand } from './way-out.ts'

export interface Attested {
  package: string
  version: string
  /** `sha512-…` of the tarball. */
  sha512: string
}

const predicateType = 'https://slsa.dev/provenance/v1'
const payloadType = 'application/vnd.in-toto+json'
const statementTypes = ['https://in-toto.io/Statement/v1', 'https://in-toto.io/Statement/v0.1']
/** Arcs of Fulcio's extensions below 1.3.6.1.4.1.57264.1. */
const arcs = { issuer: 8, signerUri: 9, repository: 12, commit: 13, ref: 14 } as const

const statementSchema = z.object({
  _type: z.enum(statementTypes),
  predicateType: z.literal(predicateType),
  subject: z.array(z.object({ name: z.string(), digest: z.record(z.string(), z.string()) })).length(1),
})
const attestationsSchema = z.object({ attestations: z.array(z.object({ predicateType: z.string(), bundle: z.unknown() })) })

/** A trusted root as sigstore publishes it, in JSON. Error: it is none. */
export function readTrustedRoot(json: unknown): TrustedRoot {
  const root = TrustedRoot.fromJSON(json)
  if (root.certificateAuthorities.length === 0 || root.tlogs.length === 0)
    throw new Error('it names no certificate authority or no transparency log')
  return root
}

/**
 * Verifies what a registry attests of a package, and says who signed it. `attestations`: the registry's answer; undefined: it has none.
 * Whether that signer is wanted is another question: {@link expectSigner}. Errors: PluginRefusal.
 */
export function verifyProvenance(
  attested: Attested,
  { attestations, root }: { attestations: unknown; root: TrustedRoot },
): Provenance {
  const name = `${attested.package}@${attested.version}`
  const refuse = (code: RefusalCode, fact: string): PluginRefusal =>
    new PluginRefusal(
      code,
      `the provenance of ${name} is refused: ${fact}`,
      'run: npm publish --provenance, as its publisher, for another version: this one stays refused',
    )
  const bundle = bundleOf(attestations, { name, refuse })
  const identity = verified(bundle, { root, refuse })
  checkStatement(bundle, { attested, refuse })
  const text = (arc: number): string | undefined => textOf(identity.oids.find((one) => one.arc === arc)?.value)
  const issuer = text(arcs.issuer)
  const repository = text(arcs.repository)
  const signer = text(arcs.signerUri) ?? identity.name
  if (issuer === undefined || repository === undefined || signer === undefined)
    throw refuse('untrusted-certificate', 'its certificate does not say who built it, and from where')
  const [ref, commit] = [text(arcs.ref), text(arcs.commit)]
  const workflow = workflowOf(signer, repository)
  return { issuer, repository, workflow, ...(ref === undefined ? {} : { ref }), ...(commit === undefined ? {} : { commit }) }
}

/** Each to the letter: no prefix, no case, no pattern. Errors: PluginRefusal `other-issuer`, `other-repository`, `other-workflow`. */
export function expectSigner(name: string, { found, wanted }: { found: Signer; wanted: Signer }): void {
  const codes = { issuer: 'other-issuer', repository: 'other-repository', workflow: 'other-workflow' } as const
  for (const key of ['issuer', 'repository', 'workflow'] as const)
    if (found[key] !== wanted[key])
      throw new PluginRefusal(
        codes[key],
        `${name} is signed, but by the ${key} ${found[key]}, not ${wanted[key]}`,
        byHand(`correct ${key} in trust, if that is its publisher`),
      )
}

type Refuse = (code: RefusalCode, fact: string) => PluginRefusal

function bundleOf(attestations: unknown, { name, refuse }: { name: string; refuse: Refuse }): Bundle {
  const parsed = attestationsSchema.safeParse(attestations)
  const found = parsed.success ? parsed.data.attestations.filter((one) => one.predicateType === predicateType) : []
  if (found.length === 0)
    throw new PluginRefusal(
      'no-attestation',
      `a rule of trust says who signs ${name}, and its source has no attestation of its provenance`,
      'run: npm publish --provenance, as its publisher, for another version; or use one that has it',
    )
  if (found.length > 1) throw refuse('bad-bundle', 'there are several attestations of one kind')
  try {
    return bundleFromJSON(found[0]?.bundle)
  } catch (error) {
    throw refuse('bad-bundle', `the bundle cannot be read: ${(error as Error).message}`)
  }
}

interface Identity {
  /** Of the certificate's subject. */
  name: string | undefined
  /** Fulcio's extensions by the last arc. */
  oids: { arc: number; value: Buffer }[]
}

function verified(bundle: Bundle, { root, refuse }: { root: TrustedRoot; refuse: Refuse }): Identity {
  const { content, tlogEntries } = bundle.verificationMaterial
  if (content.$case === 'publicKey')
    throw refuse('untrusted-certificate', 'it is signed with a key, and no certificate says whose')
  if (tlogEntries.length === 0) throw refuse('no-log-entry', 'no transparency log has it')
  try {
    const verifier = new Verifier(toTrustMaterial(root), { ctlogThreshold: 1, tlogThreshold: 1, timestampThreshold: 1 })
    const { identity } = verifier.verify(toSignedEntity(bundle))
    const oids = (identity?.oids ?? []).flatMap(({ oid, value }) => {
      const id = oid?.id ?? []
      return id.slice(0, -1).join('.') === '1.3.6.1.4.1.57264.1' ? [{ arc: id.at(-1) ?? 0, value }] : []
    })
    return { name: identity?.subjectAlternativeName, oids }
  } catch (error) {
    throw refuse(codeOf(error as Error & { code?: string }, bundle), (error as Error).message)
  }
}

/** Ours for the library's, which says nothing about why a certificate is not valid. */
function codeOf({ code, message }: { code?: string; message: string }, bundle: Bundle): RefusalCode {
  switch (code) {
    case 'CERTIFICATE_ERROR':
      if (/\bSCTs?\b/.test(message)) return 'unlogged-certificate'
      return wasValid(bundle) ? 'untrusted-certificate' : 'expired-certificate'
    case 'TLOG_INCLUSION_PROMISE_ERROR':
      return 'bad-log-promise'
    case 'TLOG_INCLUSION_PROOF_ERROR':
      return 'bad-log-proof'
    case 'TLOG_BODY_ERROR':
      return 'other-log-entry'
    case 'TLOG_ERROR':
    case 'TLOG_MISSING_INCLUSION_ERROR':
      return 'no-log-entry'
    case 'TIMESTAMP_ERROR':
      return 'bad-timestamp'
    case 'SIGNATURE_ERROR':
      return 'bad-signature'
    default:
      return 'bad-bundle'
  }
}

/** At every time that the logs tell. */
function wasValid({ verificationMaterial: { content, tlogEntries } }: Bundle): boolean {
  const raw =
    content.$case === 'certificate'
      ? content.certificate.rawBytes
      : content.$case === 'x509CertificateChain'
        ? content.x509CertificateChain.certificates[0]?.rawBytes
        : undefined
  if (raw === undefined) return false
  const { validFromDate, validToDate } = new X509Certificate(raw)
  return tlogEntries.every(({ integratedTime }) => {
    const at = new Date(Number(integratedTime) * 1000)
    return at >= validFromDate && at <= validToDate
  })
}

function checkStatement({ content }: Bundle, { attested, refuse }: { attested: Attested; refuse: Refuse }): void {
  if (content.$case !== 'dsseEnvelope' || content.dsseEnvelope.payloadType !== payloadType)
    throw refuse('bad-bundle', `it holds no ${payloadType}`)
  const parsed = statementSchema.safeParse(jsonOf(content.dsseEnvelope.payload.toString('utf8')))
  if (!parsed.success)
    throw refuse('bad-bundle', `its statement is none of provenance (at '${parsed.error.issues[0]?.path.join('.')}')`)
  const [subject] = parsed.data.subject
  // A package URL: only the @ of a scope is written otherwise.
  const name = `pkg:npm/${attested.package.replace('@', '%40')}@${attested.version}`
  if (subject?.name !== name) throw refuse('other-subject', `it is about ${subject?.name}, not ${name}`)
  const digest = hexOf(attested.sha512)
  if (subject.digest['sha512'] !== digest)
    throw refuse('other-digest', `it is about bytes with the SHA-512 ${subject.digest['sha512']}`)
}

/** Of a DER UTF8String. */
function textOf(value: Buffer | undefined): string | undefined {
  if (value === undefined) return undefined
  try {
    return ASN1Obj.parseBuffer(Buffer.from(value)).value.toString('utf8')
  } catch {
    return undefined
  }
}

/** `https://github.com/acme/plugin/.github/workflows/release.yml@refs/tags/v1` of its own repository: the path in it. */
function workflowOf(uri: string, repository: string): string {
  const at = uri.lastIndexOf('@')
  const address = at === -1 ? uri : uri.slice(0, at)
  return address.startsWith(`${repository}/`) ? address.slice(repository.length + 1) : address
}
