/** What one copy into a worker or out of it may hold; the rest is not taken from whoever sends it. */
import { type Effect, ProviderError } from '@muster/core'
import * as z from 'zod'
import { amountOf, sizePattern } from './sizes.ts'

export interface CopiesConfig {
  readonly size?: string
  readonly entries?: number
}

export interface CopyLimits {
  readonly bytes: number
  readonly entries: number
}

/** Of the files together. No workspace is so large, and a copy that does not end fills no engine's disk unseen. */
const USUAL_SIZE = '64GiB'
/** A large monorepo with all that it installs has some hundred thousand. */
const USUAL_ENTRIES = 1_000_000

export const copiesSchema: z.ZodType<CopiesConfig> = z
  .strictObject({
    size: sizePattern
      .describe(`The most that the files of one copy may hold together, as \`10GiB\`. Default ${USUAL_SIZE}.`)
      .exactOptional(),
    entries: z.int().min(1).describe(`The most files, folders and links of one copy. Default ${USUAL_ENTRIES}.`).exactOptional(),
  })
  .describe('What one copy into a worker or out of it may hold.')

/** Pure. */
export function copyLimitsOf({ size = USUAL_SIZE, entries = USUAL_ENTRIES }: CopiesConfig): CopyLimits {
  return { bytes: amountOf(size), entries }
}

/** Told of each entry, before its content; throws for the first one that is too much. */
export function countCopy({ bytes, entries }: CopyLimits, effect: Effect): (size: number) => void {
  const seen = { bytes: 0, entries: 0 }
  return (size) => {
    seen.entries += 1
    seen.bytes += size
    if (seen.entries > entries) throw tooMuch(`has more than ${entries} files, folders and links`, effect)
    if (seen.bytes > bytes) throw tooMuch(`holds more than ${bytes} bytes`, effect)
  }
}

function tooMuch(what: string, effect: Effect): ProviderError {
  return new ProviderError('invalid-spec', `the copy ${what}`, {
    effect,
    path: 'tar',
    hint: "Copy less at once, or raise `copies` in the provider's config.",
  })
}
