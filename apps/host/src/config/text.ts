/** Texts in files of the configuration. */
import { namePattern } from '@muster/core'
import { z } from 'zod'

export const text: z.ZodString = z.string().min(1)

/** Of a pool, a provider, an alias. */
export const shortName: z.ZodString = z.string().regex(namePattern, 'a name has 1 to 40 of a-z, 0-9 and -')
