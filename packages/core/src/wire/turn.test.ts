import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { createTurnMeter } from './turn.ts'

test('what comes in one turn adds up, the most of all turns is kept, bytes and frames each by itself', async () => {
  const meter = createTurnMeter()
  expect(meter.busiest).toEqual({ bytes: 0, frames: 0 })
  meter.took(10, 1)
  await Promise.resolve()
  meter.took(5, 0)
  expect(meter.busiest).toEqual({ bytes: 15, frames: 1 })
  await nextTurn()
  meter.took(3, 7)
  expect(meter.busiest).toEqual({ bytes: 15, frames: 7 })
})
