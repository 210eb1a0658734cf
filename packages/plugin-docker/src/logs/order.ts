/**
 * Whether an engine goes back in a log that it sends as it comes. Seen in 20.10: where the log goes on in the next file, it begins anew with
 * entries from before. Nothing marks them, and counted with the others they would shift every cursor after them. But they are not newer than
 * the one before them of their stream, while what is written later is, unless a clock is set back. The files tell the two apart: what a read
 * without `follow` says is so. Pure.
 */
export interface LogOrder {
  /** The log is read anew, from a cursor on. */
  begin(): void
  /** Of an entry that the files have. */
  note(entry: Placed): void
  /** Of one that was sent as it came: may it stand here? What may is noted. */
  fits(entry: Placed): boolean
}

export interface Placed {
  stream: string
  /** As the engine wrote it, RFC 3339. */
  time: string
  /** Of the same line as the entry before: then both have one time. */
  continues: boolean
}

/** One for all reads of one log. */
export function createLogOrder(): LogOrder {
  const newest = new Map<string, string>()
  /** Has this log entries of one time that are two? Some engines stamp all lines of one write alike. */
  let twins = false
  const note: LogOrder['note'] = ({ stream, time, continues }) => {
    if (!continues && newest.get(stream) === time) twins = true
    newest.set(stream, time)
  }
  return {
    begin: () => newest.clear(),
    note,
    fits(entry) {
      const before = newest.get(entry.stream)
      if (before !== undefined) {
        if (before === entry.time) return entry.continues || twins
        if (isBefore(entry.time, before)) return false
      }
      newest.set(entry.stream, entry.time)
      return true
    },
  }
}

/** By their times, as the engine wrote them. */
export function isBefore(one: string, other: string): boolean {
  // So it is wherever an engine writes all nine digits.
  if (one.length === other.length) return one < other
  return sortable(one) < sortable(other)
}

/** Some engines leave out the zeros behind: `…:00.5Z` is after `…:00.12Z`. */
function sortable(time: string): string {
  const fraction = /^\.(\d+)/.exec(time.slice(19))?.[1] ?? ''
  return `${time.slice(0, 19)}.${fraction.padEnd(9, '0')}`
}
