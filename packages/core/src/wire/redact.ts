/** Takes known secrets out of texts that leave the process as logs or errors. */

/** A shorter value would blacken half of every text and protects nothing. */
const shortest = 6
/** Most values held; the oldest is forgotten first. */
const most = 512

export interface Redactor {
  add(value: string): void
  /** Adds every `{ $secret }` inside. */
  addFrom(value: unknown): void
  clean(text: string): string
}

/** Knows each value as it is, as JSON writes it, in base64 and percent-encoded. */
export function createRedactor(): Redactor {
  const known = new Map<string, string[]>()
  function add(value: string): void {
    if (value.length < shortest) return
    known.delete(value)
    known.set(value, spellings(value))
    for (const oldest of known.keys()) {
      if (known.size <= most) break
      known.delete(oldest)
    }
  }
  return {
    add,
    addFrom(value) {
      const open = [value]
      while (open.length > 0) {
        const one = open.pop()
        if (typeof one !== 'object' || one === null || one instanceof Uint8Array) continue
        const secret = (one as Record<string, unknown>)['$secret']
        if (typeof secret === 'string') add(secret)
        // One by one: a call takes only so many arguments, and a list may be longer.
        else for (const inner of Object.values(one)) open.push(inner)
      }
    },
    clean(text) {
      let clean = text
      for (const forms of known.values())
        for (const form of forms) if (clean.includes(form)) clean = clean.replaceAll(form, '[secret]')
      return clean
    },
  }
}

function spellings(value: string): string[] {
  const forms = new Set([
    value,
    JSON.stringify(value).slice(1, -1),
    Buffer.from(value).toString('base64').replace(/=+$/, ''),
    Buffer.from(value).toString('base64url'),
    encodeURIComponent(value.toWellFormed()),
  ])
  // Longest first, so that a form inside another one does not leave its rest.
  return [...forms].toSorted((a, b) => b.length - a.length)
}
