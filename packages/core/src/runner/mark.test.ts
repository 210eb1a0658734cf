import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createTrack } from './mark.ts'

const MARK = Buffer.from('aabaabaac')

/** Cuts `data` at the given places. */
function slices(data: Buffer, cuts: readonly number[]): Buffer[] {
  const places = [0, ...cuts.map((cut) => cut % (data.length + 1)).sort((a, b) => a - b), data.length]
  return places.slice(1).map((end, index) => data.subarray(places[index], end))
}

test('whatever the chunks, what precedes the mark comes out once and in order, and nothing after it', () => {
  // An alphabet of the mark's own letters makes false beginnings of it likely.
  const letters = fc.array(fc.constantFrom('a', 'b', 'aab', 'aabaa', 'c', 'x'), { maxLength: 30 }).map((parts) => parts.join(''))
  fc.assert(
    fc.property(fc.record({ before: letters, after: letters, cuts: fc.array(fc.nat()), start: fc.nat() }), (sample) => {
      const { before, after, cuts, start } = sample
      fc.pre(!before.includes(MARK.toString()) && (before + MARK.toString()).indexOf(MARK.toString()) === before.length)
      const track = createTrack(start)
      const parts = slices(Buffer.concat([Buffer.from(before), MARK, Buffer.from(after)]), cuts)
      track.watch(MARK)
      const out = parts.flatMap((part) => track.push(part))
      let offset = start
      for (const chunk of out) {
        expect(chunk.offset).toBe(offset)
        expect(chunk.data.length).toBeGreaterThan(0)
        offset += chunk.data.length
      }
      expect(Buffer.concat(out.map(({ data }) => data)).toString()).toBe(before)
      expect(track.ended).toBe(true)
      expect(track.flush()).toEqual([])
    }),
  )
})

test('before the end is known nothing is held back or searched', () => {
  const track = createTrack(7)
  expect(track.push(MARK)).toEqual([{ offset: 7, data: MARK }])
  track.watch(MARK)
  expect(track.push(Buffer.from('aab'))).toEqual([])
  expect(track.ended).toBe(false)
  expect(track.flush()).toEqual([{ offset: 16, data: Buffer.from('aab') }])
  expect(track.push(Buffer.alloc(0))).toEqual([])
})
