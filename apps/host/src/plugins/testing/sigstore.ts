/** A sigstore for tests: an authority, a certificate log and a transparency log of their own, and attestations right and forged. */
import { createHash, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import type { SerializedBundle } from '@sigstore/bundle'
import { initializeCA, initializeCTLog, initializeTLog } from '@sigstore/mock'
import { sha512Of } from '@muster/packed/digest'
import type { Signer } from '../signer.ts'

type Authority = Awaited<ReturnType<typeof initializeCA>>

/** What the log answers; its own types are in a package that it does not bring. */
interface LogEntry {
  body: string
  integratedTime: number
  logID: string
  logIndex: number
  verification: {
    signedEntryTimestamp: string
    inclusionProof: { logIndex: number; treeSize: number; rootHash: string; hashes: string[]; checkpoint: string }
  }
}

interface Pair {
  publicKey: KeyObject
  privateKey: KeyObject
}

export interface TestSigstore {
  /** The trusted root of all that is right here. */
  root: object
  /** As a registry answers. */
  attest(about: About): Promise<Attestations>
}

export interface Attestations {
  attestations: { predicateType: string; bundle: SerializedBundle }[]
}

export interface About {
  package: string
  version: string
  tarball: Buffer
  /** Who signs; each may be another than is right. */
  signer?: Partial<Signer>
  /** What is wrong with it. */
  forged?: {
    authority?: 'other' | 'expired' | 'unlogged'
    /** The transparency log of somebody else. */
    log?: 'other'
    /** Signed by another key than the certificate's. */
    key?: 'other'
    payloadType?: string
    statement?: (statement: Record<string, unknown>) => unknown
    bundle?: (bundle: SerializedBundle) => unknown
    /** What its certificate does not say. */
    without?: readonly Extension[]
  }
}

export const rightSigner: Signer = {
  issuer: 'https://token.actions.example',
  repository: 'https://git.example/acme/plugin',
  workflow: '.github/workflows/release.yml',
}

type Extension = 'issuer' | 'signerUri' | 'repository' | 'commit' | 'ref'

const predicateType = 'https://slsa.dev/provenance/v1'
const arc = (last: number): string => `1.3.6.1.4.1.57264.1.${last}`
const hour = 3_600_000

const pairOf = (curve: 'P-256' | 'P-384'): Pair => generateKeyPairSync('ec', { namedCurve: curve })
const der = (key: KeyObject): Buffer => key.export({ format: 'der', type: 'spki' })
const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64')

export async function startTestSigstore(): Promise<TestSigstore> {
  const [ctPair, caPair, otherPair, logPair] = [pairOf('P-256'), pairOf('P-384'), pairOf('P-384'), pairOf('P-256')]
  const ctLog = await initializeCTLog(ctPair)
  const authority = await initializeCA(caPair, ctLog)
  const authorities: Record<'right' | 'other' | 'expired' | 'unlogged', Authority> = {
    right: authority,
    other: await initializeCA(otherPair, ctLog),
    expired: await initializeCA(caPair, ctLog, new Date(Date.now() - hour)),
    unlogged: await initializeCA(caPair),
  }
  const log = await initializeTLog('https://log.example', logPair)
  const otherLog = await initializeTLog('https://log.example', pairOf('P-256'))
  const since = { start: new Date(Date.now() - 24 * hour).toISOString() }
  const logOf = (publicKey: Uint8Array, keyId: Uint8Array): object => ({
    baseUrl: 'https://log.example',
    hashAlgorithm: 'SHA2_256',
    publicKey: { rawBytes: base64(publicKey), keyDetails: 'PKIX_ECDSA_P256_SHA_256', validFor: since },
    logId: { keyId: base64(keyId) },
  })
  return {
    root: {
      mediaType: 'application/vnd.dev.sigstore.trustedroot+json;version=0.1',
      tlogs: [logOf(log.publicKey, createHash('sha256').update(log.publicKey).digest())],
      certificateAuthorities: [
        {
          subject: { organization: 'example', commonName: 'example' },
          uri: 'https://authority.example',
          certChain: { certificates: [{ rawBytes: base64(bytesOf(authority.rootCertificate)) }] },
          validFor: since,
        },
      ],
      ctlogs: [logOf(ctLog.publicKey, bytesOf(ctLog.logID))],
      timestampAuthorities: [],
    },
    async attest({ package: name, version, tarball, signer = {}, forged = {} }) {
      const { issuer, repository, workflow } = { ...rightSigner, ...signer }
      const ref = `refs/tags/v${version}`
      const address = `${workflow.startsWith('https:') ? workflow : `${repository}/${workflow}`}@${ref}`
      const leaf = pairOf('P-256')
      const certificate = await authorities[forged.authority ?? 'right'].issueCertificate({
        publicKey: new Uint8Array(der(leaf.publicKey)),
        subjectAltName: address,
        extensions: [
          { oid: arc(8), value: issuer, name: 'issuer' },
          { oid: arc(9), value: address, name: 'signerUri' },
          { oid: arc(12), value: repository, name: 'repository' },
          { oid: arc(13), value: 'c'.repeat(40), name: 'commit' },
          { oid: arc(14), value: ref, name: 'ref' },
        ].filter(({ name: extension }) => forged.without?.includes(extension as Extension) !== true),
      })
      const digest = Buffer.from(sha512Of(tarball).slice('sha512-'.length), 'base64').toString('hex')
      const statement = {
        _type: 'https://in-toto.io/Statement/v1',
        subject: [{ name: `pkg:npm/${name.replace('@', '%40')}@${version}`, digest: { sha512: digest } }],
        predicateType,
        predicate: {},
      }
      const payloadType = forged.payloadType ?? 'application/vnd.in-toto+json'
      const payload = Buffer.from(JSON.stringify(forged.statement?.(statement) ?? statement))
      const signed = Buffer.concat([Buffer.from(`DSSEv1 ${payloadType.length} ${payloadType} ${payload.length} `), payload])
      const signature = sign('sha256', signed, forged.key === 'other' ? pairOf('P-256').privateKey : leaf.privateKey)
      const pem = `-----BEGIN CERTIFICATE-----\n${base64(bytesOf(certificate))}\n-----END CERTIFICATE-----\n`
      const entries = await (forged.log === 'other' ? otherLog : log).log({
        apiVersion: '0.0.1',
        kind: 'dsse',
        spec: {
          payloadHash: { algorithm: 'sha256', value: createHash('sha256').update(payload).digest('hex') },
          signatures: [{ signature: base64(signature), verifier: base64(Buffer.from(pem)) }],
        },
      })
      const [entry] = Object.values(entries as Record<string, LogEntry>)
      if (entry === undefined) throw new Error('the log gave no entry')
      const { inclusionProof: proof, signedEntryTimestamp } = entry.verification
      const bundle = {
        mediaType: 'application/vnd.dev.sigstore.bundle.v0.3+json',
        verificationMaterial: {
          certificate: { rawBytes: base64(bytesOf(certificate)) },
          tlogEntries: [
            {
              logIndex: String(entry.logIndex),
              logId: { keyId: base64(Buffer.from(entry.logID, 'hex')) },
              kindVersion: { kind: 'dsse', version: '0.0.1' },
              integratedTime: String(entry.integratedTime),
              inclusionPromise: { signedEntryTimestamp },
              inclusionProof: {
                logIndex: String(proof.logIndex),
                rootHash: base64(Buffer.from(proof.rootHash, 'hex')),
                treeSize: String(proof.treeSize),
                hashes: proof.hashes.map((hash) => base64(Buffer.from(hash, 'hex'))),
                checkpoint: { envelope: proof.checkpoint },
              },
              canonicalizedBody: entry.body,
            },
          ],
          timestampVerificationData: { rfc3161Timestamps: [] },
        },
        dsseEnvelope: { payload: base64(payload), payloadType, signatures: [{ sig: base64(signature), keyid: '' }] },
      } as unknown as SerializedBundle
      return { attestations: [{ predicateType, bundle: (forged.bundle?.(bundle) ?? bundle) as SerializedBundle }] }
    },
  }
}

function bytesOf(view: ArrayBufferView): Buffer {
  return Buffer.from(view.buffer, view.byteOffset, view.byteLength)
}
