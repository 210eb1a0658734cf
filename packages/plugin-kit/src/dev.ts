/** What a daemon is told of a plugin under development. Pure. */

const units = { s: 1000, m: 60_000, h: 3_600_000 } as const
/** A daemon takes nothing for longer. */
const longestMs = 24 * units.h

/** Milliseconds of `30m` or `4h`; undefined when it is none, or too long. */
export function durationOf(text: string): number | undefined {
  const { count, unit } = /^(?<count>\d{1,5})(?<unit>[smh])$/.exec(text)?.groups ?? {}
  const ms = Number(count) * units[unit as keyof typeof units]
  return ms >= 1000 && ms <= longestMs ? ms : undefined
}

/** As a daemon names it: no more than 40 characters, and seen to be what it is. */
export function devNameOf(name: string): string {
  const alias = name
    .replace(/^.*\//, '')
    .replace(/^(?:muster-)?plugin-/, '')
    .replaceAll(/[^a-z0-9-]/g, '-')
  return `dev-${alias.slice(0, 36)}`
}

export interface Shown {
  package: string
  version: string
  name: string
  folder: string
  until: Date
}

export function bannerOf({ package: name, version, name: pool, folder, until }: Shown): string {
  const lines = [
    `DEVELOPMENT  ${name}@${version} from ${folder}`,
    `is provider and pool ${pool} until ${until.toISOString()}; the daemon takes it away then, whatever becomes of this command`,
    'Nobody checks its files; no configuration and no lock has it.',
    `Try it: muster run --pool ${pool} -- COMMAND. Each build takes over; Ctrl-C ends it.`,
  ]
  const rule = '='.repeat(Math.max(...lines.map((line) => line.length)))
  return [rule, ...lines, rule].join('\n')
}
