/**
 * Times of records as people read them. Everything is decided by the steady clock, and records hold its times; `ahead` of a record says how far
 * the machine's clock was ahead of it as each of them was written. So neither a clock that is set nor a daemon that stood still
 * moves a deadline, and what is read is the machine's time all the same.
 */
import type { Clock } from './clock.ts'

export type TwoClocks = Pick<Clock, 'now' | 'wall'>

/** Less is no difference: two clocks are not read in the same instant. */
const LEAST_MS = 100

/** Columns that hold times and are not named so. */
const others: ReadonlySet<string> = new Set(['deadline', 'queue_deadline', 'kept_until'])

/** By how many ms the machine's clock is ahead now; 0 when the two agree. */
export function aheadNow(clock: TwoClocks): number {
  const ms = clock.wall() - clock.now()
  return Math.abs(ms) < LEAST_MS ? 0 : ms
}

/** The `ahead` of a record once these of its columns are written. */
export function noteAhead(clock: TwoClocks, written: object, before: string | null = null): string | null {
  const ms = aheadNow(clock)
  if (ms === 0 && before === null) return null
  const all = parse(before)
  for (const [column, value] of Object.entries(written)) {
    if (typeof value !== 'number' || !(column.endsWith('_at') || others.has(column))) continue
    if (ms === 0) delete all[column]
    else all[column] = ms
  }
  return Object.keys(all).length === 0 ? null : JSON.stringify(all)
}

type Row<C extends string> = Record<C, number | null> & { ahead: string | null }

/**
 * What has happened, by the machine's clock. `order`: the columns in the order in which these things happen. Where that clock was set back
 * between two of them, the later one is read as so long after the earlier one as was watched: none is before another that came first.
 */
export function toldTimes<C extends string>(row: Row<C>, order: readonly C[]): Record<C, number | null> {
  const ahead = parse(row.ahead)
  const told = {} as Record<C, number | null>
  let before = { time: -Infinity, told: -Infinity }
  for (const column of order) {
    const time = row[column]
    told[column] = null
    if (time === null) continue
    const own = time + (ahead[column] ?? 0)
    const watched = Math.max(0, time - before.time)
    before = { time, told: own < before.told ? before.told + watched : own }
    told[column] = before.told
  }
  return told
}

/** As {@link aheadNow}, in whole steps: what is shown by it does not change with every look while the difference is made up for. */
export function aheadInSteps(clock: TwoClocks, stepMs: number): number {
  return Math.round(aheadNow(clock) / stepMs) * stepMs
}

/**
 * What is to happen, by the machine's clock, which is `aheadMs` ahead now; in a record that has ended, as it was when that was decided.
 */
export function toldDeadline<C extends string>(
  row: Row<C> & { ended_at: number | null },
  column: C,
  aheadMs: number,
): number | null {
  const time = row[column]
  if (time === null) return null
  return time + (row.ended_at === null ? aheadMs : (parse(row.ahead)[column] ?? 0))
}

function parse(ahead: string | null): Record<string, number> {
  return ahead === null ? {} : (JSON.parse(ahead) as Record<string, number>)
}
