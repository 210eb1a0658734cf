/** Durations and sizes as people write them, to milliseconds and bytes. */
import { z } from 'zod'

const durationUnits: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }
const sizeUnits: Readonly<Record<string, number>> = {
  '': 1,
  K: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  Ki: 2 ** 10,
  Mi: 2 ** 20,
  Gi: 2 ** 30,
  Ti: 2 ** 40,
  KiB: 2 ** 10,
  MiB: 2 ** 20,
  GiB: 2 ** 30,
  TiB: 2 ** 40,
}

/** Milliseconds of `500ms`, `10s`, `5m`, `2h`, `30d`; undefined when it is none of these. */
export function parseDuration(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(text.trim())
  if (match === null) return undefined
  const unit = durationUnits[match[2] ?? '']
  return unit === undefined ? undefined : Math.round(Number(match[1]) * unit)
}

/** Bytes of `512Mi`, `4Gi`, `10GiB`, `1G` or a plain number; undefined when it is none of these. */
export function parseSize(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)\s*([KMGT](?:i|iB)?)?$/.exec(text.trim())
  if (match === null) return undefined
  const unit = sizeUnits[match[2] ?? '']
  return unit === undefined ? undefined : Math.round(Number(match[1]) * unit)
}

/** Ten years: longer ones are slips, and a date that far off can be no number of a database. */
const LONGEST_MS = 3650 * 86_400_000

/** A duration in a file: text with a unit. A bare number is refused, since nobody can tell its unit. */
export const durationSchema: z.ZodType<number> = z
  .string({ error: 'a duration is text with a unit, as 30s, 5m or 2h' })
  .meta({ pattern: String.raw`^\d+(\.\d+)?(ms|s|m|h|d)$` })
  .transform((text, context) => {
    const value = parseDuration(text)
    if (value !== undefined && value <= LONGEST_MS) return value
    if (value !== undefined) {
      context.addIssue({ code: 'custom', message: `'${text}' is longer than 3650d` })
      return z.NEVER
    }
    context.addIssue({ code: 'custom', message: `'${text}' is no duration: write 500ms, 30s, 5m, 2h or 30d` })
    return z.NEVER
  })

/** A duration that is no shorter than makes sense: less would only burn the machine. */
export function atLeast(least: string): z.ZodType<number> {
  const minimum = parseDuration(least) ?? 0
  return durationSchema.refine((value) => value >= minimum, `it is at least ${least}`).meta({ formatMinimum: least })
}

/** A size in a file: bytes as a number, or text with a unit. */
export const sizeSchema: z.ZodType<number> = z
  .union([z.number().int().min(1), z.string().meta({ pattern: String.raw`^\d+(\.\d+)?\s*([KMGT](i|iB)?)?$` })])
  .transform((given, context) => {
    const value = typeof given === 'number' ? given : parseSize(given)
    if (value !== undefined && value >= 1 && Number.isSafeInteger(value)) return value
    context.addIssue({ code: 'custom', message: `'${String(given)}' is no size: write 512Mi, 4Gi or a number of bytes` })
    return z.NEVER
  })
