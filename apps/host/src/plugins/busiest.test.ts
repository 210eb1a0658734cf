import { expect, test } from 'vitest'
import { openBusiest } from './busiest.ts'
import { straw } from './testing/straw.ts'

test('the most of each stays, whichever process had it, and when it is gone', () => {
  const busiest = openBusiest()
  expect(busiest.with(undefined)).toEqual({ bytes: 0, frames: 0 })
  const [one, two] = [straw(), straw()]
  one.busiest = { bytes: 9, frames: 1 }
  two.busiest = { bytes: 5, frames: 4 }
  expect(busiest.with(one.process)).toEqual({ bytes: 9, frames: 1 })
  expect(busiest.with(two.process)).toEqual({ bytes: 9, frames: 4 })
  expect(busiest.with(undefined)).toEqual({ bytes: 9, frames: 4 })
})
