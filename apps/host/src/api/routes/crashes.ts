/** Crash bundles of plugins, for whoever has to find out why. */
import { z } from 'zod'
import { type CrashHead, crashIdPattern } from '../../plugins/bundle.ts'
import type { App, AppDeps } from '../deps.ts'
import { byId, needs } from '../describe.ts'
import { ApiProblem } from '../problems.ts'
import { named, pageOf, pageParts } from '../schemas.ts'
import { instant } from '../views.ts'

type CrashView = Omit<CrashHead, 'at'> & { at: string }

const shape = {
  id: z.string(),
  at: z.iso.datetime(),
  provider: z.string(),
  plugin: z.object({ name: z.string(), version: z.string() }),
  reason: z.string(),
  exit: z
    .object({ code: z.int().nullable(), signal: z.string().nullable() })
    .describe('Absent when it was never started.')
    .exactOptional(),
  violation: z.string().describe('The rule of the protocol that it broke.').exactOptional(),
  restarts: z.int().describe('Of this provider before, since the daemon was started.'),
}
const crashSchema: z.ZodType<CrashView> = named('Crash', z.object(shape))
const bundleSchema: z.ZodType<CrashView & { output: string[] }> = named(
  'CrashBundle',
  z.object({ ...shape, output: z.array(z.string()).describe('The last lines of its output, without secrets.') }),
)
const page = pageOf('CrashPage', crashSchema)
const { limit } = pageParts('')

export function crashRoutes(app: App, { crashes }: AppDeps): void {
  app.get(
    '/v1/crashes',
    {
      ...needs('admin'),
      schema: {
        operationId: 'listCrashes',
        summary: 'Crash bundles of plugins, the newest first',
        description: 'Kept as `retention.crashes` and `retention.crashAge` say.',
        querystring: z.strictObject({
          provider: z.string().exactOptional(),
          limit,
          before: z
            .string()
            .regex(crashIdPattern, 'not a `next` that this list gave')
            .describe('`next` of the page before.')
            .exactOptional(),
        }),
        response: { 200: page },
      },
    },
    async ({ query }) => {
      const { items, next } = await crashes.list(query)
      return { items: items.map(crashView), ...(next === undefined ? {} : { next }) }
    },
  )

  app.get(
    '/v1/crashes/:id',
    {
      ...needs('admin', 'not-found'),
      schema: {
        operationId: 'getCrash',
        summary: 'A crash bundle',
        description:
          'To give to the author of the plugin: secrets that the plugin was given, values of env, files and tickets are taken out.',
        params: byId,
        response: { 200: bundleSchema },
      },
    },
    async ({ params }) => {
      const found = await crashes.get(params.id)
      if (found !== undefined) return { ...found, at: instant(found.at) }
      throw new ApiProblem('not-found', `there is no crash bundle ${params.id}`, {
        hint: '`muster providers crashes` lists those that are kept.',
      })
    },
  )
}

function crashView({ at, ...facts }: CrashHead): CrashView {
  return { ...facts, at: instant(at) }
}
