/** What the command line says: tables and JSON on stdout, everything about Muster itself on stderr. */
import { styleText } from 'node:util'
import { inert } from '../observe/inert.ts'

/** As `sysexits` (66: no input) and shells have it: 124 of timeout(1), 125 of docker run, 130 of a shell after Ctrl-C. */
export const exits = {
  ok: 0,
  failed: 1,
  usage: 2,
  moved: 66,
  timeout: 124,
  infrastructure: 125,
  cancelled: 130,
  pipe: 141,
} as const

/** A line about Muster itself: never part of a command's output. */
export function say(text: string): void {
  process.stderr.write(`muster: ${harmless(text)}\n`)
}

export function print(text: string): void {
  const shown = harmless(text)
  process.stdout.write(shown.endsWith('\n') ? shown : `${shown}\n`)
}

/**
 * The exit code of a command whose output cannot be written. When whoever read it has gone it is quiet, as other programs that SIGPIPE ends;
 * a disk that is full, or a file that cannot grow, is told.
 */
export function tellUnwritable(error: Error, failed: number = exits.failed): number {
  const before = toldUnwritable.get(error)
  if (before !== undefined) return before
  const code = (error as NodeJS.ErrnoException).code === 'EPIPE' ? exits.pipe : failed
  toldUnwritable.set(error, code)
  if (code !== exits.pipe) say(`the output cannot be written: ${error.message}`)
  return code
}

/** What was told once, and the exit code that it has since. */
const toldUnwritable = new WeakMap<Error, number>()

/** The escape of ECMA-48, and what {@link styled} puts behind it. */
export const ESCAPE = '\u001b'
const OWN_STYLE = /^\[(?:1|2|22|3[123]|39)m/

/**
 * Commands, reasons and messages are other people's: what would steer the terminal is shown instead, in JSON's own form, so that JSON stays
 * what it is.
 */
export function harmless(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Zl}\p{Zp}\p{Bidi_Control}]/gu, (char, at: number) =>
    char === '\n' || char === '\t' || (char === ESCAPE && OWN_STYLE.test(text.slice(at + 1, at + 5)))
      ? char
      : `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}

/** What is wrong, in one line, and what to do; a hint of several lines, as a Role to apply, keeps them below it. */
export function withHint(words: string, hint = ''): string {
  if (!hint.includes('\n')) return inert(hint === '' ? words : `${words} (${hint})`)
  return [inert(words), ...hint.split('\n').map((line) => `  ${inert(line)}`)].join('\n')
}

export function printJson(value: unknown): void {
  print(JSON.stringify(value, null, 2))
}

export interface Column<T> {
  title: string
  /** The whole of it; for those of others' words no colours are Muster's. */
  of(row: T): string | undefined
  /** What `of` gives has colours of ours, and no words but ours. */
  styled?: true
}

/** Aligned columns with two blanks between; colours at a terminal only. */
export async function printTable<T>(rows: readonly T[], columns: readonly Column<T>[], empty: string): Promise<void> {
  if (rows.length === 0) {
    say(empty)
    return
  }
  const { default: Table } = await import('cli-table3')
  const none = ''
  const table = new Table({
    head: columns.map((column) => dim(column.title)),
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 2 },
    chars: {
      top: none,
      'top-mid': none,
      'top-left': none,
      'top-right': none,
      bottom: none,
      'bottom-mid': none,
      'bottom-left': none,
      'bottom-right': none,
      left: none,
      'left-mid': none,
      mid: none,
      'mid-mid': none,
      right: none,
      'right-mid': none,
      middle: none,
    },
  })
  table.push(...rows.map((row) => columns.map((column) => cellOf(column, row))))
  print(
    table
      .toString()
      .split('\n')
      .map((line) => line.trimEnd())
      .join('\n'),
  )
}

/** A line break in what somebody wrote would begin a line as of Muster's own. */
function cellOf<T>({ of, styled: ours }: Column<T>, row: T): string {
  const text = (of(row) ?? '-').replaceAll(/[\n\v\f\r]+/g, ' ')
  return ours === true ? text : text.replaceAll(ESCAPE, String.raw`\u001b`)
}

export function dim(text: string): string {
  return styled('dim', text)
}

export function bold(text: string): string {
  return styled('bold', text)
}

/** Green for what is well, red for what is not, yellow between. */
export function state(word: string, text: string = word): string {
  if (['ready', 'passed', 'active', 'leased', 'idle'].includes(word)) return styled('green', text)
  if (['failed', 'quarantined', 'oom', 'timeout', 'infrastructure', 'unknown', 'lost'].includes(word)) return styled('red', text)
  if (['degraded', 'cancelled', 'draining', 'terminating', 'leaving', 'paused', 'disabled', 'cordoned', 'kept'].includes(word))
    return styled('yellow', text)
  return text
}

function styled(style: 'dim' | 'bold' | 'green' | 'red' | 'yellow', text: string): string {
  // Looks at the terminal, NO_COLOR and FORCE_COLOR.
  return styleText(style, text, { stream: process.stdout })
}

/** `3s`, `5m`, `2h`, `4d`: one unit, rounded down. */
export function age(from: string, to: number = Date.now()): string {
  return duration(Math.max(0, to - Date.parse(from)))
}

export function duration(ms: number): string {
  const seconds = Math.floor(ms / 1000)
  if (seconds < 60) return `${seconds}s`
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m`
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)}h`
  return `${Math.floor(seconds / 86_400)}d`
}

/** `512 B`, `3.4 MiB`: as sizes are written in the configuration. */
export function bytes(count: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  const power = count < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(count) / 10))
  return `${power === 0 ? count : (count / 2 ** (10 * power)).toFixed(1)} ${units[power] ?? ''}`
}

/** Says how far the work is, after a second and then now and again. */
export function ticking(text: () => string): { stop(): void } {
  const first = setTimeout(() => say(text()), 1000)
  const again = setInterval(() => say(text()), 5000)
  return {
    stop: () => {
      clearTimeout(first)
      clearInterval(again)
    },
  }
}
