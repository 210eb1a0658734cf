/**
 * What an agent proves itself by: the ticket of its launch, and the session that it gets for that. Text: kind, worker, 256 secret bits.
 * Records have the SHA-256 of the text and the epoch of the worker; a plain hash is enough, since nobody can guess 256 bits.
 */
import { createHash, timingSafeEqual } from 'node:crypto'
import type { LaunchSpec } from '@muster/core'
import type { Sealer } from '../store/seal.ts'

export type ProofKind = 'ticket' | 'session'

const letters: Readonly<Record<ProofKind, string>> = { ticket: 'mtk', session: 'mss' }
const FORM = /^(mtk|mss)_(w[0-9a-z]{26})_[A-Za-z0-9_-]{43}$/

/** `secret`: 32 bytes. */
export function proofText(kind: ProofKind, workerId: string, secret: Uint8Array): string {
  return `${letters[kind]}_${workerId}_${Buffer.from(secret).toString('base64url')}`
}

/** Whose it says it is; undefined when it is no proof of this kind at all. */
export function claimedBy(kind: ProofKind, text: string): string | undefined {
  const found = FORM.exec(text)
  return found?.[1] === letters[kind] ? found[2] : undefined
}

/** A worker keeps the epoch of its launch, so that a record of another term never takes its proof. */
export function proofHash(text: string, epoch: number): string {
  return createHash('sha256').update(`${epoch} ${text}`).digest('hex')
}

/** Takes as long for a wrong one as for a right one, and for a worker without any. */
export function proves(text: string, record: { hash: string | null; epoch: number } | undefined): boolean {
  const own = Buffer.from(proofHash(text, record?.epoch ?? 0), 'hex')
  const right = timingSafeEqual(own, Buffer.from(record?.hash ?? '0'.repeat(64), 'hex'))
  return right && record !== undefined && record.hash !== null
}

/**
 * The ticket of a worker, made again from the seal key whenever its launch is repeated: the spec stays the same byte for byte, and no
 * store has the ticket in it, not even sealed.
 */
export function ticketOf(sealer: Sealer, workerId: string): string {
  return proofText('ticket', workerId, sealer.derive(`ticket:${workerId}`))
}

/** The spec as it is sealed. */
export function withoutTicket(spec: LaunchSpec): LaunchSpec {
  return spec.work.mode === 'agent' ? { ...spec, work: { ...spec.work, ticket: { $secret: '' } } } : spec
}

/** The spec as it is launched. */
export function withTicket(spec: LaunchSpec, sealer: Sealer): LaunchSpec {
  if (spec.work.mode !== 'agent') return spec
  return { ...spec, work: { ...spec.work, ticket: { $secret: ticketOf(sealer, spec.id) } } }
}
