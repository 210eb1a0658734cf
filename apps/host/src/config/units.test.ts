import { expect, it } from 'vitest'
import { durationSchema, parseDuration, parseSize, sizeSchema } from './units.ts'

it.each([
  ['500ms', 500],
  ['10s', 10_000],
  ['1.5m', 90_000],
  ['2h', 7_200_000],
  ['30d', 2_592_000_000],
  ['10', undefined],
  ['10 s', undefined],
  ['-5s', undefined],
  ['', undefined],
])('reads the duration %j as %j', (text, wanted) => {
  expect(parseDuration(text)).toBe(wanted)
})

it.each([
  ['1024', 1024],
  ['1G', 1e9],
  ['4Gi', 4 * 2 ** 30],
  ['10GiB', 10 * 2 ** 30],
  ['512Mi', 512 * 2 ** 20],
  ['4g', undefined],
  ['Gi', undefined],
])('reads the size %j as %j', (text, wanted) => {
  expect(parseSize(text)).toBe(wanted)
})

it('refuses a bare number as a duration and nothing as a size', () => {
  expect(durationSchema.safeParse(30).error?.issues[0]?.message).toMatch(/with a unit/)
  expect(durationSchema.safeParse('soon').error?.issues[0]?.message).toMatch(/'soon' is no duration/)
  expect(sizeSchema.safeParse('0').error?.issues[0]?.message).toMatch(/is no size/)
  expect(sizeSchema.parse(4096)).toBe(4096)
})
