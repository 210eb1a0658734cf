/** What a program that packs says on standard error, and whether what it packed is whole by that. */

/** What a message needs of it. */
const KEPT_CHARS = 2000
/** Longer than a path and what is said of it. */
const LINE_CHARS = 8192
/**
 * GNU tar exits with 1 when a file was another one at the end of its reading than at the beginning, or gone before it. What it packed is whole
 * then, but for a file that became shorter: that is filled up with zeros. Other tars know no such words, and their 1 is any error.
 */
const CHANGED = /: (?:file changed as we read it|File removed before we read it)$/
const FILLED_UP = /padding with zeros$/

export interface TarWords {
  add(text: string): void
  /** All but what has changed: the beginning of it. */
  said(): string
  /** Is what came all that there was? */
  isWhole(code: number | null | undefined): boolean
}

/** For a program whose words are English: `LC_ALL=C`. */
export function tarWords(): TarWords {
  let said = ''
  let rest = ''
  let changed = false
  let filledUp = false

  function take(line: string): void {
    if (CHANGED.test(line)) {
      changed = true
      return
    }
    filledUp ||= FILLED_UP.test(line)
    if (said.length < KEPT_CHARS) said += `${line}\n`
  }

  return {
    add(text) {
      const lines = `${rest}${text}`.split('\n')
      rest = (lines.pop() ?? '').slice(-LINE_CHARS)
      for (const line of lines) take(line)
    },
    said: () => `${said}${CHANGED.test(rest) ? '' : rest}`.slice(0, KEPT_CHARS).trim(),
    isWhole(code) {
      if (rest !== '') take(rest)
      rest = ''
      return code === 0 || (code === 1 && changed && !filledUp)
    },
  }
}
