/** Durations and sizes as people write them. */
import { z } from 'zod'

const milliseconds: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }
const bytes: Readonly<Record<string, number>> = { '': 1, Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30, Ti: 2 ** 40 }

/** `90s`, `10m`, `1.5h`: milliseconds, at least one. */
export const durationSchema: z.ZodType<number> = z
  .string({ error: 'a duration is text with a unit, as 90s, 10m or 1h' })
  .transform((text, context) => {
    const value = scaled(text, /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/, milliseconds)
    if (value !== undefined) return value
    context.addIssue({ code: 'custom', message: 'a duration is text with a unit, as 90s, 10m or 1h' })
    return z.NEVER
  })

/** `512Mi`, `4Gi`: bytes, at least one. A bare number is bytes too. */
export const sizeSchema: z.ZodType<number> = z.union([z.int(), z.string()]).transform((given, context) => {
  const value = scaled(String(given), /^(\d+(?:\.\d+)?)(|Ki|Mi|Gi|Ti)$/, bytes)
  if (value !== undefined) return value
  context.addIssue({ code: 'custom', message: 'a size is a number with Ki, Mi, Gi or Ti, as 512Mi' })
  return z.NEVER
})

function scaled(text: string, pattern: RegExp, units: Readonly<Record<string, number>>): number | undefined {
  const match = pattern.exec(text)
  const value = Math.round(Number(match?.[1]) * (units[match?.[2] ?? ''] ?? Number.NaN))
  return Number.isSafeInteger(value) && value > 0 ? value : undefined
}
