/** Removes what a plugin was given as secrets, and what runs were given, from everything it says. */
import { inspect } from 'node:util'
import type { LaunchSpec, SpanBatch } from '@muster/core'

export interface Redactor {
  /** From now on this value is shown as `[secret]`. */
  learn(value: string): void
  /** These too, as long as there is room: see {@link givenIn}. */
  learnGiven(values: readonly string[]): void
  /** Resolves when it knows what was given before it was made; nobody speaks before that. Rejects where that cannot be read, and may be asked again. */
  informed(): Promise<void>
  clean(text: string): string
}

/** Shorter values would cut holes into ordinary words. */
const shortest = 4
/** What runs are given is mostly no secret, as `true` or `release`. */
const shortestGiven = 8
/** Output is read by lines: of a key in PEM each line alone must be known. Shorter ones, as `version: 1`, tell nothing. */
const shortestLine = 12
/** Most values known at once, as in a plugin's own log. */
const most = 512
/** A host has many runs, each with some values. */
const mostGiven = 4096
/** Of all forms of what runs were given, in characters: those of some launches with as many files as a spec can hold. */
const mostGivenChars = 16 * 1024 * 1024
/** So much of the beginning of a longer value is it for sure: whoever prints may cut. What is cut may end in less than this of a secret. */
export const surelyKnown = 64

/** `before`: what workers that still live were given by a host before this one. */
export function createRedactor(before?: () => AsyncIterable<Partial<LaunchSpec>>): Redactor {
  const index = createIndex()
  // Runs come and go: theirs take no place from the provider's own.
  const own = createRing(index, { most, chars: Infinity })
  const given = createRing(index, { most: mostGiven, chars: mostGivenChars })
  const learnGiven = (values: readonly string[]): void => {
    for (const value of values) if (value.length >= shortestGiven) given(value)
  }
  async function learnBefore(): Promise<void> {
    for await (const one of before?.() ?? []) learnGiven(givenIn(one))
  }
  let informed: Promise<void> | undefined
  return {
    learn: own,
    learnGiven,
    informed() {
      informed ??= learnBefore().catch((error: unknown) => {
        informed = undefined
        throw error
      })
      return informed
    },
    clean: (text) => index.clean(text),
  }
}

/** Holds values and their forms in an index; the one that was not given for longest goes first. */
function createRing(index: Index, limits: { most: number; chars: number }): (value: string) => void {
  const held = new Map<string, { forms: Set<string>; chars: number }>()
  let chars = 0
  return (value) => {
    const known = held.get(value)
    if (known !== undefined) {
      held.delete(value)
      held.set(value, known)
      return
    }
    const forms = formsOf(value)
    let size = 0
    for (const form of forms) {
      index.add(form)
      size += form.length
    }
    held.set(value, { forms, chars: size })
    chars += size
    for (const [oldest, gone] of held) {
      // One that is too large by itself is known until the next one.
      if (oldest === value || (held.size <= limits.most && chars <= limits.chars)) break
      held.delete(oldest)
      chars -= gone.chars
      for (const form of gone.forms) index.remove(form)
    }
  }
}

interface Index {
  add(form: string): void
  remove(form: string): void
  clean(text: string): string
}

/** Forms by how they begin: a text costs its length, however many there are. */
function createIndex(): Index {
  /** How often a form was added, by form, by a number of its beginning, by one of its first characters, which most places do not have. */
  const all = new Map<number, Map<number, Map<string, number>>>()

  /** Characters of the text from `at` on that are a form, or enough of one. */
  function knownAt(text: string, at: number): number {
    const group = all.get(numberOf(text, at, shortest))
    if (group === undefined) return 0
    let longest = 0
    for (const beginning of [none, numberOf(text, at, shortestLine)])
      for (const form of group.get(beginning)?.keys() ?? []) {
        let same = 0
        while (same < form.length && text.charCodeAt(at + same) === form.charCodeAt(same)) same += 1
        if (same >= Math.min(form.length, surelyKnown)) longest = Math.max(longest, same)
      }
    return longest
  }

  return {
    add(form) {
      const [first, beginning] = placeOf(form)
      const group = all.get(first) ?? new Map<number, Map<string, number>>()
      const forms = group.get(beginning) ?? new Map<string, number>()
      all.set(first, group.set(beginning, forms.set(form, (forms.get(form) ?? 0) + 1)))
    },
    remove(form) {
      const [first, beginning] = placeOf(form)
      const group = all.get(first)
      const forms = group?.get(beginning)
      const left = (forms?.get(form) ?? 1) - 1
      if (left > 0) forms?.set(form, left)
      else forms?.delete(form)
      if (forms?.size === 0) group?.delete(beginning)
      if (group?.size === 0) all.delete(first)
    },
    clean(text) {
      if (all.size === 0) return text
      let clean = ''
      // The text up to here is in `clean`, and no secret reaches beyond.
      let done = 0
      for (let at = 0; at + shortest <= text.length; at += 1) {
        const end = at + knownAt(text, at)
        if (end > at && at >= done) clean += `${text.slice(done, at)}[secret]`
        // One that begins inside another goes with it.
        if (end > at) done = Math.max(done, end)
      }
      return clean + text.slice(done)
    },
  }
}

/** The place of forms that are too short for a longer beginning. */
const none = 0

function placeOf(form: string): [first: number, beginning: number] {
  return [numberOf(form, 0, shortest), form.length < shortestLine ? none : numberOf(form, 0, shortestLine)]
}

/** Equal for equal characters; others may have it too. */
function numberOf(text: string, at: number, length: number): number {
  let number = 0
  for (let n = at; n < at + length; n += 1) number = (Math.imul(number, 31) + text.charCodeAt(n)) | 0
  return number
}

/** The same bytes as they come out of common encodings, and their lines. */
function formsOf(value: string): Set<string> {
  const bytes = Buffer.from(value)
  const forms = [
    value,
    bytes.toString('base64').replace(/=+$/, ''),
    bytes.toString('base64url'),
    bytes.toString('hex'),
    encodeURIComponent(value.toWellFormed()),
    ...quoted(value),
  ]
  const lines = value.split(/\r?\n/).flatMap((line) => [line.trim(), ...quoted(line.trim())])
  return new Set([...forms.filter((form) => form.length >= shortest), ...lines.filter((line) => line.length >= shortestLine)])
}

/** As JSON has it, and as `console.error` of an object; and again in JSON, as a log has an error that quotes them. */
function quoted(text: string): string[] {
  const json = (one: string): string => JSON.stringify(one).slice(1, -1)
  const once = [json(text), inspect(text, { breakLength: Infinity, maxStringLength: null }).slice(1, -1)]
  return [...once, ...once.map(json)]
}

/** What a worker or a command is given that nobody else may see: values of env, contents of files, the ticket of an agent. */
export function givenIn({ env, files, services, work }: Partial<LaunchSpec>): string[] {
  const envs = [env, ...(services ?? []).map((service) => service.env)]
  return [
    ...envs.flatMap((one) => Object.values(one ?? {})),
    ...(files ?? []).flatMap(({ base64 }) => [base64, Buffer.from(base64, 'base64').toString()]),
    ...(work?.mode === 'agent' ? [work.ticket.$secret] : []),
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
