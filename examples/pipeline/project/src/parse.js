import { units } from './units.js'

const lengths = new Map(units)

/** Milliseconds of text as `1h 30m`; throws a RangeError that names what it could not read. */
export function parse(text) {
  const parts = text.trim().split(/\s+/)
  let total = 0
  for (const part of parts) {
    const match = /^(\d+(?:\.\d+)?)(ms|w|d|h|m|s)$/.exec(part)
    if (match === null) throw new RangeError(`cannot read '${part}' as a duration`)
    total += Number(match[1]) * lengths.get(match[2])
  }
  return total
}
