/** What an operator says of images: mirrors, how long a pull may take, what is kept. Parsed once. */
import * as z from 'zod'
import { durationPattern, sizePattern, amountOf } from '@muster/provider-parts/sizes'

/** `always`: before each launch; `missing` (default): when the engine has it not; `never`: it must be there. */
export type PullPolicy = 'always' | 'missing' | 'never'

export const pullPolicySchema: z.ZodType<PullPolicy> = z
  .enum(['always', 'missing', 'never'])
  .describe('When images are pulled: before each launch, when the engine has them not (default), or not at all.')

export interface ImagesConfig {
  readonly logins?: readonly string[]
  readonly mirrors?: Readonly<Record<string, string>>
  readonly pullWithin?: string
  readonly unusedFor?: string
  readonly budget?: string
}

export interface ImageRules {
  /** Registries that are told a login of the secret `registry-logins`. */
  readonly logins: readonly string[]
  /** From `registry.example/team` to `mirror.example:5000/team`; longest first. */
  readonly mirrors: readonly (readonly [from: string, to: string])[]
  readonly pullWithinMs: number
  /** Images that this provider pulled go when nothing used them for so long; undefined: they stay. */
  readonly unusedForMs?: number
  /** What the images that this provider pulled may take together; undefined: no bound. */
  readonly budgetBytes?: number
}

/** 10 GiB at 6 MB/s. */
const PULL_WITHIN_MS = 30 * 60_000

/** A registry with a part of a path or without: what an image's name begins with. */
const prefix = z.string().regex(/^[a-z0-9]+(?:[._:-][a-z0-9]+)*(?:\/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*$/)

export const imagesSchema: z.ZodType<ImagesConfig> = z
  .strictObject({
    logins: z
      .array(z.string().regex(/^[a-z0-9]+(?:[.-][a-z0-9]+)*(?::\d{1,5})?$/))
      .describe('Registries that want a login, as `registry.example`: it is in the secret `registry-logins`.')
      .exactOptional(),
    mirrors: z
      .record(prefix, prefix)
      .describe('Where images are pulled from instead, by the beginning of their names: `docker.io` → `mirror.example:5000/hub`.')
      .exactOptional(),
    pullWithin: durationPattern.describe('The longest that one pull may take, as `45m`. Default 30m.').exactOptional(),
    unusedFor: durationPattern
      .describe('Images that this provider pulled are removed when unused for so long, as `14d`.')
      .exactOptional(),
    budget: sizePattern
      .describe('Images that this provider pulled may take so much together, as `50GiB`: the longest unused go first.')
      .exactOptional(),
  })
  .describe('How images come to the engine, and how long they stay.')

/** Pure. */
export function imageRulesOf({ logins = [], mirrors = {}, pullWithin, unusedFor, budget }: ImagesConfig): ImageRules {
  return {
    logins,
    mirrors: Object.entries(mirrors).toSorted(([left], [right]) => right.length - left.length),
    pullWithinMs: pullWithin === undefined ? PULL_WITHIN_MS : amountOf(pullWithin),
    ...(unusedFor === undefined ? {} : { unusedForMs: amountOf(unusedFor) }),
    ...(budget === undefined ? {} : { budgetBytes: amountOf(budget) }),
  }
}
