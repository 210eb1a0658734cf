import { getEventListeners } from 'node:events'
import { expect, test } from 'vitest'
import { createDesk, type Desk, type Seat } from './desk.ts'

function desk(): Desk {
  return createDesk({ changes: { onWorker: () => undefined, onLease: () => undefined, onDecision: () => undefined } })
}

test('who waits is told what comes, and leaves nothing behind at whoever waits for longer', async () => {
  const room = desk()
  const signal = new AbortController().signal
  const looks = { first: 0, second: 0 }
  let seat: Seat | undefined
  const look = (who: keyof typeof looks) => (): Seat | undefined => {
    looks[who] += 1
    return who === 'first' ? seat : undefined
  }
  const first = room.until('w', look('first'), signal)
  room.until('w', look('second'), signal).catch(() => undefined)
  seat = { runId: 'r1' } as Seat
  room.tell('w')
  expect(await first).toBe(seat)
  const before = { ...looks }
  room.tell('w')
  await new Promise((resolve) => setImmediate(resolve))
  expect(looks).toEqual({ first: before.first, second: before.second + 1 })
  expect(getEventListeners(signal, 'abort')).toHaveLength(1)
})
