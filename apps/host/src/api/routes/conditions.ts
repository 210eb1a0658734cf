/** What lasts and deserves an operator's eye; and why things are as they are. */
import { z } from 'zod'
import type { App, AppDeps } from '../deps.ts'
import { needs } from '../describe.ts'
import { decisionPageSchema } from '../decision-schemas.ts'
import { ApiProblem } from '../problems.ts'
import { conditionSchema } from '../schemas.ts'
import { conditionView, decisionView, instant } from '../views.ts'

/** As many as a reader takes in at once. */
const MOST_DECISIONS = 200

export function conditionRoutes(app: App, { engine, runs }: AppDeps): void {
  const exists = {
    worker: async (id: string) => (engine.workers.get(id) ?? (await engine.workers.find(id))) !== undefined,
    lease: async (id: string) => (engine.leases.get(id) ?? (await engine.leases.find(id))) !== undefined,
    run: async (id: string) => (runs.get(id) ?? (await runs.find(id))) !== undefined,
    pool: (name: string) => Promise.resolve(engine.pools.get(name) !== undefined),
    provider: (name: string) => Promise.resolve(engine.plugins.find(name) !== undefined),
  }

  app.get(
    '/v1/conditions',
    {
      ...needs('viewer'),
      schema: {
        operationId: 'listConditions',
        summary: 'Conditions that hold now, oldest first',
        response: { 200: z.object({ items: z.array(conditionSchema) }) },
      },
    },
    async () => ({ items: engine.conditions.list().map(conditionView) }),
  )

  app.get(
    '/v1/why/:kind/:id',
    {
      ...needs('viewer', 'not-found'),
      schema: {
        operationId: 'why',
        summary: 'Every decision about one thing, oldest first: the newest page of them',
        params: z.object({ kind: z.enum(['worker', 'lease', 'run', 'pool', 'provider']), id: z.string() }),
        querystring: z.strictObject({
          limit: z.coerce.number().int().min(1).max(500).default(MOST_DECISIONS),
          before: z
            .string()
            .regex(/^\d{1,15}$/, 'not a `next` that this list gave')
            .describe('`next` of the page before: those that were decided earlier.')
            .exactOptional(),
        }),
        response: { 200: decisionPageSchema },
      },
    },
    async ({ params: { kind, id }, query: { limit, before } }) => {
      const asked = { limit, ...(before === undefined ? {} : { before: Number(before) }) }
      const rows = kind === 'run' ? await runs.why(id, asked) : await engine.journal.why(kind, id, asked)
      if (rows.length === 0 && !(await exists[kind](id))) throw new ApiProblem('not-found', `there is no ${kind} ${id}`)
      const first = rows.length === limit ? rows[0]?.seq : undefined
      const dropped = await (kind === 'run' ? runs.whyDroppedBefore(id) : engine.journal.droppedBefore([{ kind, id }]))
      return {
        items: rows.map(decisionView),
        ...(first === undefined ? {} : { next: String(first) }),
        ...(dropped === undefined ? {} : { droppedBefore: instant(dropped) }),
      }
    },
  )
}
