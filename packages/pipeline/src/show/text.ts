/** Values as people read them. */

/** `0.42 s`, `12.3 s`, `2 min 03 s`. */
export function duration(ms: number): string {
  if (ms < 10_000) return `${(ms / 1000).toFixed(2)} s`
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`
  const seconds = Math.round(ms / 1000)
  return `${Math.floor(seconds / 60)} min ${String(seconds % 60).padStart(2, '0')} s`
}

/** `812 B`, `4.0 KiB`, `1.2 MiB`. */
export function size(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  const step = Math.min(units.length - 1, bytes < 1 ? 0 : Math.floor(Math.log2(bytes) / 10))
  return `${(bytes / 1024 ** step).toFixed(step === 0 ? 0 : 1)} ${units[step]}`
}

/** `1 job`, `3 jobs`. */
export function count(number: number, one: string): string {
  return `${number} ${one}${number === 1 ? '' : 's'}`
}

/**
 * What a job printed, safe for a terminal: colours may stay, everything else that moves the cursor, rings, or talks to the terminal goes.
 */
export function harmless(line: string, { colours }: { colours: boolean }): string {
  // CSI, then OSC and its like up to BEL or ST, then two-character escapes, then other controls but tab.
  return line.replaceAll(
    // oxlint-disable-next-line no-control-regex
    /\x1b\[([0-?]*)[ -/]*([@-~])|\x1b[P\]X^_][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[ -/]*[0-~]?|[\x00-\x08\x0a-\x1f\x7f-\x9f]/g,
    (all, parameters: string | undefined, final: string | undefined) =>
      colours && final === 'm' && /^[\d;:]*$/.test(parameters ?? '') ? all : '',
  )
}

/** At most `width` columns, with an ellipsis for what is cut. Characters, not columns, are counted: names of jobs are mostly ASCII. */
export function fit(text: string, width: number): string {
  const characters = Array.from(text)
  return characters.length <= width ? text : `${characters.slice(0, Math.max(0, width - 1)).join('')}…`
}
