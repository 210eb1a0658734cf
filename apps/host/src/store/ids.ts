/** Identifiers of everything Muster makes: one letter for the kind, then 26 base-32 digits that begin with the time. */
import { randomFillSync } from 'node:crypto'

/** worker · lease · run · exec · token */
export type IdKind = 'w' | 'l' | 'r' | 'x' | 't'

/** Crockford's base 32 in lower case: no i, l, o, u, so that nobody misreads one. */
const ALPHABET = '0123456789abcdefghjkmnpqrstvwxyz'
/** 48 bits of milliseconds are 10 digits (good until the year 10889), 80 random bits are 16. The layout of a ULID. */
const TIME_DIGITS = 10
const RANDOM_DIGITS = 16

/** Makes ids that sort by the order in which this process made them, also inside one millisecond or when the clock steps back. */
export function idSource(now: () => number = Date.now): (kind: IdKind) => string {
  let last = -1
  const digits = new Uint8Array(RANDOM_DIGITS)
  return (kind) => {
    const at = now()
    if (at > last) {
      last = at
      randomFillSync(digits)
      // One bit is kept free, so that counting up cannot overflow within a millisecond.
      for (let i = 0; i < RANDOM_DIGITS; i++) digits[i] = (digits[i] ?? 0) & (i === 0 ? 15 : 31)
    } else {
      increment(digits)
    }
    let text = ''
    let time = last
    for (let i = 0; i < TIME_DIGITS; i++) {
      text = ALPHABET.charAt(time % 32) + text
      time = Math.floor(time / 32)
    }
    for (const digit of digits) text += ALPHABET.charAt(digit)
    return kind + text
  }
}

function increment(digits: Uint8Array): void {
  for (let i = digits.length - 1; i >= 0; i--) {
    const next = (digits[i] ?? 0) + 1
    digits[i] = next % 32
    if (next < 32) return
  }
}

/** The process's own source: every id outside tests comes from here. */
export const newId: (kind: IdKind) => string = idSource()

/** When the id was made, in milliseconds since 1970. */
export function timeOfId(id: string): number {
  let time = 0
  for (const digit of id.slice(1, 1 + TIME_DIGITS)) time = time * 32 + ALPHABET.indexOf(digit)
  return time
}

/** An owner: `o` and 16 digits, short enough for a tag value. */
export function newOwner(): string {
  const bytes = randomFillSync(new Uint8Array(16))
  return 'o' + Array.from(bytes, (byte) => ALPHABET.charAt(byte & 31)).join('')
}
