import type { SerializedBundle } from '@sigstore/bundle'
import { beforeAll, describe, expect, it } from 'vitest'
import { sha512Of } from '@muster/packed/digest'
import { expectSigner, readTrustedRoot, verifyProvenance } from './provenance.ts'
import { type About, rightSigner, startTestSigstore, type TestSigstore } from './testing/sigstore.ts'
import { publicRoot } from './trusted-root.ts'

const tarball = Buffer.from('the bytes of a package')
const attested = { package: '@acme/plugin', version: '1.2.3', sha512: sha512Of(tarball) }

let sigstore: TestSigstore
beforeAll(async () => {
  sigstore = await startTestSigstore()
})

async function look(over: Partial<About> = {}): Promise<unknown> {
  const attestations = await sigstore.attest({ ...attested, tarball, ...over })
  return judge(attestations)
}

function judge(attestations: unknown): unknown {
  try {
    const found = verifyProvenance(attested, { attestations, root: readTrustedRoot(sigstore.root) })
    expectSigner('@acme/plugin@1.2.3', { found, wanted: rightSigner })
    return found
  } catch (error) {
    return (error as { code?: string }).code ?? error
  }
}

interface Entry {
  inclusionPromise?: unknown
  inclusionProof?: { hashes: string[]; checkpoint: { envelope: string } }
}
type Loose = SerializedBundle & {
  verificationMaterial: { tlogEntries: Entry[] }
  dsseEnvelope: { payload: string }
}
/** Changes a bundle in place. */
const bent =
  (bend: (bundle: Loose, entry: Entry) => unknown): ((bundle: SerializedBundle) => unknown) =>
  (bundle) => {
    bend(bundle as Loose, (bundle as Loose).verificationMaterial.tlogEntries[0] as Entry)
    return bundle
  }

/** As bundles were before version 0.3. */
const chained = bent((bundle) => {
  const { certificate, ...material } = bundle.verificationMaterial as typeof bundle.verificationMaterial & { certificate: object }
  bundle.verificationMaterial = { ...material, x509CertificateChain: { certificates: [certificate] } } as never
  Object.assign(bundle, { mediaType: 'application/vnd.dev.sigstore.bundle+json;version=0.2' })
})

describe('provenance', () => {
  it('says who built it, from which source', async () => {
    expect(await look()).toEqual({ ...rightSigner, ref: 'refs/tags/v1.2.3', commit: 'c'.repeat(40) })
  })

  it('is the same in a bundle of an older version, with a chain', async () => {
    expect(await look({ forged: { bundle: chained } })).toMatchObject(rightSigner)
  })

  it('has the workflow of the certificate’s name where nothing else says it, and neither ref nor commit that nobody says', async () => {
    expect(await look({ forged: { without: ['signerUri', 'commit', 'ref'] } })).toStrictEqual(rightSigner)
  })

  it('of a workflow in another repository has its whole address', async () => {
    const workflow = 'https://git.example/builders/npm/.github/workflows/build.yml'
    const attestations = await sigstore.attest({ ...attested, tarball, signer: { workflow } })
    expect(verifyProvenance(attested, { attestations, root: readTrustedRoot(sigstore.root) })).toMatchObject({
      repository: rightSigner.repository,
      workflow,
    })
  })

  it.each<[string, string, Partial<About>]>([
    ['of another package', 'other-subject', { package: '@acme/other' }],
    ['of another version', 'other-subject', { version: '1.2.4' }],
    ['of other bytes', 'other-digest', { tarball: Buffer.from('other bytes') }],
    [
      'of several subjects',
      'bad-bundle',
      { forged: { statement: (one) => ({ ...one, subject: [one['subject'], one['subject']].flat() }) } },
    ],
    ['without a statement', 'bad-bundle', { forged: { statement: () => 'nothing' } }],
    [
      'of another kind of statement',
      'bad-bundle',
      { forged: { statement: (one) => ({ ...one, predicateType: 'https://x.example' }) } },
    ],
    ['of another kind of payload', 'bad-bundle', { forged: { payloadType: 'text/plain' } }],
    ['of an authority that nobody trusts', 'untrusted-certificate', { forged: { authority: 'other' } }],
    ['with an expired certificate', 'expired-certificate', { forged: { authority: 'expired' } }],
    ['with a certificate that no log has seen', 'unlogged-certificate', { forged: { authority: 'unlogged' } }],
    [
      'without a log entry',
      'no-log-entry',
      { forged: { bundle: bent(({ verificationMaterial: one }) => (one.tlogEntries = [])) } },
    ],
    ['in the log of somebody else', 'bad-log-promise', { forged: { log: 'other' } }],
    [
      'with a proof that does not hold',
      'bad-log-proof',
      { forged: { bundle: bent((_, { inclusionProof: one }) => one?.hashes.push('AAAA')) } },
    ],
    [
      'with a checkpoint that was changed',
      'bad-log-proof',
      {
        forged: {
          bundle: bent((_, { inclusionProof: one }) => {
            if (one !== undefined) one.checkpoint.envelope = one.checkpoint.envelope.replace('\n1\n', '\n2\n')
          }),
        },
      },
    ],
    ['without a time', 'bad-timestamp', { forged: { bundle: bent((_, entry) => delete entry.inclusionPromise) } }],
    ['signed with another key', 'bad-signature', { forged: { key: 'other' } }],
    [
      'with words that were changed afterwards',
      'other-log-entry',
      { forged: { bundle: bent(({ dsseEnvelope: one }) => (one.payload = Buffer.from('{}').toString('base64'))) } },
    ],
    [
      'signed with a bare key',
      'untrusted-certificate',
      {
        forged: {
          bundle: bent(({ verificationMaterial: one }) => {
            Object.assign(one, { certificate: undefined, publicKey: { hint: 'x' } })
          }),
        },
      },
    ],
    [
      'of an authority that nobody trusts, with its chain',
      'untrusted-certificate',
      { forged: { authority: 'other', bundle: chained } },
    ],
    ['with an expired certificate in a chain', 'expired-certificate', { forged: { authority: 'expired', bundle: chained } }],
    ['that does not say who told the authority', 'untrusted-certificate', { forged: { without: ['issuer'] } }],
    ['that does not say from where it was built', 'untrusted-certificate', { forged: { without: ['repository'] } }],
    ['that is no bundle', 'bad-bundle', { forged: { bundle: () => ({ mediaType: 'x' }) } }],
    ['told by another issuer', 'other-issuer', { signer: { issuer: 'https://token.actions.example.evil' } }],
    ['of an issuer that differs by a slash', 'other-issuer', { signer: { issuer: `${rightSigner.issuer}/` } }],
    ['of a repository that looks alike', 'other-repository', { signer: { repository: 'https://git.example/acme/p1ugin' } }],
    ['of a repository that begins alike', 'other-repository', { signer: { repository: 'https://git.example/acme/plugin-evil' } }],
    ['of a repository in other letters', 'other-repository', { signer: { repository: 'https://git.example/Acme/plugin' } }],
    ['of a fork', 'other-repository', { signer: { repository: 'https://git.example/mallory/plugin' } }],
    ['of another workflow', 'other-workflow', { signer: { workflow: '.github/workflows/test.yml' } }],
    ['of a workflow that ends alike', 'other-workflow', { signer: { workflow: 'x/.github/workflows/release.yml' } }],
    [
      'of the same workflow in another repository',
      'other-workflow',
      { signer: { workflow: 'https://git.example/mallory/plugin/.github/workflows/release.yml' } },
    ],
  ])('%s is refused as %s', async (_name, code, over) => {
    expect(await look(over)).toBe(code)
  })

  it.each([
    ['nothing', undefined],
    ['an empty list', { attestations: [] }],
    ['something else', 'x'],
    ['another kind', { attestations: [{ predicateType: 'https://x.example', bundle: {} }] }],
  ])('of a source that has %s is no-attestation', (_name, attestations) => {
    expect(judge(attestations)).toBe('no-attestation')
  })

  it('is refused when there are two of them', async () => {
    const { attestations } = await sigstore.attest({ ...attested, tarball })
    expect(judge({ attestations: [...attestations, ...attestations] })).toBe('bad-bundle')
  })

  it('is not taken from our own sigstore where the public one is trusted', async () => {
    const attestations = await sigstore.attest({ ...attested, tarball })
    expect(() => verifyProvenance(attested, { attestations, root: readTrustedRoot(publicRoot) })).toThrow(/is refused/)
    expect(() => readTrustedRoot({})).toThrow(/names no certificate authority/)
  })
})
