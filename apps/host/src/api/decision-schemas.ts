/** Shapes of what was decided. */
import { z } from 'zod'
import { instant, named, pageFields } from './schemas.ts'
import type { DecisionView } from './views.ts'

const id = z.string()

export const decisionSchema: z.ZodType<DecisionView> = named(
  'Decision',
  z.object({
    seq: z.int(),
    at: instant,
    rule: z.string().describe('Stable name of the rule that decided.'),
    decision: z.string(),
    pool: z.string().exactOptional(),
    provider: z.string().exactOptional(),
    worker: id.exactOptional(),
    lease: id.exactOptional(),
    run: id.exactOptional(),
    inputs: z.record(z.string(), z.unknown()).describe('What the rule looked at.'),
    change: z.string().describe('What would change the decision; empty when nothing would.'),
  }),
)

export const decisionPageSchema: z.ZodType<{ items: DecisionView[]; next?: string; droppedBefore?: string }> = named(
  'DecisionPage',
  z.object({
    ...pageFields(decisionSchema),
    droppedBefore: instant
      .describe(
        'The story begins in the middle: decisions are kept since then, and its first ones were dropped; absent: it is whole.',
      )
      .exactOptional(),
  }),
)
