/** Removes the values that a plugin was given as secrets from everything it says. */
import type { SpanBatch } from '@muster/core'

export interface Redactor {
  /** From now on this value is shown as `[secret]`. */
  learn(value: string): void
  clean(text: string): string
}

/** Shorter values would cut holes into ordinary words. */
const shortest = 4
/** Output is read by lines: of a key in PEM each line alone must be known. Shorter ones, as `version: 1`, tell nothing. */
const shortestLine = 12

export function createRedactor(): Redactor {
  const values = new Set<string>()
  return {
    learn(value) {
      const lines = value.split(/\r?\n/).filter((line) => line.length >= shortestLine)
      for (const form of [...formsOf(value), ...lines]) if (form.length >= shortest) values.add(form)
    },
    clean(text) {
      let clean = text
      for (const value of values) if (clean.includes(value)) clean = clean.replaceAll(value, '[secret]')
      return clean
    },
  }
}

/** The same bytes as they come out of common encodings. */
function formsOf(value: string): string[] {
  const bytes = Buffer.from(value)
  return [
    value,
    bytes.toString('base64').replace(/=+$/, ''),
    bytes.toString('base64url'),
    bytes.toString('hex'),
    encodeURIComponent(value),
    JSON.stringify(value).slice(1, -1),
  ]
}

/** What a plugin did for a call, without what it was given as secrets. */
export function cleanSpans({ spans, dropped }: SpanBatch, { clean }: Redactor): SpanBatch {
  return {
    dropped,
    spans: spans.map(({ name, failed, facts, ...same }) => ({
      ...same,
      name: clean(name),
      ...(failed === undefined ? {} : { failed: clean(failed) }),
      ...(facts === undefined
        ? {}
        : {
            facts: Object.fromEntries(
              Object.entries(facts).map(([key, value]) => [clean(key), typeof value === 'string' ? clean(value) : value]),
            ),
          }),
    })),
  }
}
