import { expect, test } from 'vitest'
import { createLogOrder } from './order.ts'

const placed = (end: string, parts: { stream?: string; continues?: boolean } = {}) => ({
  stream: 'stdout',
  continues: false,
  time: `2027-01-15T08:00:0${end}`,
  ...parts,
})

test('an entry stands where it is newer than the one before it of its stream, however many digits an engine writes', () => {
  const order = createLogOrder()
  for (const end of ['0Z', '0.12Z', '0.123Z', '0.5Z', '1Z', '1.000000001Z'])
    expect({ end, fits: order.fits(placed(end)) }).toEqual({ end, fits: true })
  for (const end of ['1Z', '0.5Z', '0.999999999Z']) expect({ end, fits: order.fits(placed(end)) }).toEqual({ end, fits: false })
  expect(order.fits(placed('0Z', { stream: 'stderr' }))).toBe(true)
  order.begin()
  expect(order.fits(placed('0.5Z'))).toBe(true)
})

test('the same once more is no entry of its own, unless it goes on with a line or the files have such', () => {
  const order = createLogOrder()
  expect(order.fits(placed('1Z'))).toBe(true)
  expect(order.fits(placed('1Z', { continues: true }))).toBe(true)
  expect(order.fits(placed('1Z'))).toBe(false)
  order.note(placed('2Z'))
  order.note(placed('2Z', { continues: true }))
  expect(order.fits(placed('2Z'))).toBe(false)
  order.note(placed('2Z'))
  expect(order.fits(placed('2Z'))).toBe(true)
})
