import { expect, test } from 'vitest'
import { duplexPair } from 'node:stream'
import { encodeMessage } from './frames.ts'
import { createPeer } from './peer.ts'
import { createTurnMeter, turnBytes } from './turn.ts'

const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

test('what comes in one turn adds up, the most of all turns is kept, bytes and frames each by itself', async () => {
  const meter = createTurnMeter()
  expect(meter.busiest).toEqual({ bytes: 0, frames: 0 })
  expect(meter.took(10, 1)).toBe(true)
  await Promise.resolve()
  meter.took(5, 0)
  expect(meter.busiest).toEqual({ bytes: 15, frames: 1 })
  await nextTurn()
  meter.took(3, 7)
  expect(meter.busiest).toEqual({ bytes: 15, frames: 7 })
})

test('when it is enough for one turn, it says so', async () => {
  const meter = createTurnMeter()
  expect([meter.took(turnBytes - 1, 1), meter.took(1, 1), meter.took(0, 0)]).toEqual([true, false, false])
  await nextTurn()
  expect(meter.took(turnBytes - 1, 1)).toBe(true)
})

test('one who sends without end is read in turns, and all of it', async () => {
  const [ours, theirs] = duplexPair()
  const none = (): void => undefined
  const peer = createPeer(ours, { request: none, cancelled: none, started: none })
  const frames = Array.from({ length: 200 }, (_, n) =>
    encodeMessage(`{"jsonrpc":"2.0","id":${n + 1},"method":"x","params":"${'x'.repeat(16_000)}"}`),
  )
  for (const frame of frames) theirs.write(frame)
  while (peer.closing === undefined && peer.stats().open < frames.length) await nextTurn()
  expect(peer.closing).toBeUndefined()
  expect(peer.stats().busiest.bytes).toBeLessThan(turnBytes + 2 * 16_100)
  peer.close({ kind: 'closed', message: 'over' })
})
