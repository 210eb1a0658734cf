import { expect, test } from 'vitest'
import { claimedBy, proofHash, proofText, proves } from './proofs.ts'

test('a proof is bound to its kind, its worker and its epoch, and is never right by accident', () => {
  const worker = `w${'0'.repeat(26)}`
  const text = proofText('ticket', worker, new Uint8Array(32).fill(7))
  expect(claimedBy('ticket', text)).toBe(worker)
  expect([claimedBy('session', text), claimedBy('ticket', `${text}x`), claimedBy('ticket', '')]).toEqual([
    undefined,
    undefined,
    undefined,
  ])
  const hash = proofHash(text, 3)
  expect(proves(text, { hash, epoch: 3 })).toBe(true)
  expect(proves(text, { hash, epoch: 4 })).toBe(false)
  expect(proves(`${text.slice(0, -1)}A`, { hash, epoch: 3 })).toBe(false)
  expect([proves(text, { hash: null, epoch: 3 }), proves(text, undefined)]).toEqual([false, false])
})
