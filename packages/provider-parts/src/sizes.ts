/** Sizes and times as an operator writes them. Pure. */
import * as z from 'zod'

export const durationPattern: z.ZodString = z.string().regex(/^\d{1,9}(?:s|m|h|d)$/)
export const sizePattern: z.ZodString = z.string().regex(/^\d{1,9}(?:MiB|GiB|TiB)$/)

const units: Readonly<Record<string, number>> = {
  ...{ s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 },
  ...{ MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40 },
}

/** `50GiB` in bytes, `14d` in milliseconds. */
export function amountOf(text: string): number {
  const [, count = '', unit = ''] = /^(\d+)(\D+)$/.exec(text) ?? []
  return Number(count) * (units[unit] ?? 1)
}
