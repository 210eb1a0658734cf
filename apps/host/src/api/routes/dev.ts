/** Plugins under development, attached until a deadline. */
import { z } from 'zod'
import { type DevAttached, devName } from '../../dev.ts'
import { principalOf } from '../access.ts'
import type { App, AppDeps } from '../deps.ts'
import { needs } from '../describe.ts'
import { ApiProblem, errorsOf } from '../problems.ts'
import { named } from '../schemas.ts'

const answerSchema: z.ZodType<Omit<DevAttached, 'until'> & { until: string }> = named(
  'DevPlugin',
  z.object({
    name: z.string().describe('Of plugin, provider and pool.'),
    version: z.string(),
    until: z.iso.datetime().describe('The daemon takes it away then.'),
    changed: z.boolean().describe('A process of these files has taken over. False: it is what runs.'),
  }),
)

const section = z.record(z.string(), z.unknown())
const params = z.object({ name: z.string().regex(devName).describe('It begins with `dev-`.') })

export function devRoutes(app: App, { dev }: AppDeps): void {
  app.put(
    '/v1/dev/:name',
    {
      ...needs('admin', 'not-found', 'conflict', 'config-refused'),
      schema: {
        operationId: 'attachDevPlugin',
        summary: 'Attaches a plugin under development, with a provider and a pool of its own',
        description:
          'Only where `host.development` allows it; no configuration and no lock has it. The same name again lets the files as they are now take over in another process, without a lost call. At its deadline the daemon takes it away: its provider goes once its last worker is gone.',
        params,
        body: z.strictObject({
          folder: z.string().min(1).max(4096).describe('Absolute path of its package, on the machine of the daemon.'),
          until: z.iso.datetime().describe('Its deadline, at most 24 hours from now.'),
          provider: section.exactOptional().describe('As `providers.NAME` of muster.yaml, without `plugin`.'),
          pool: section.exactOptional().describe('As `pools.NAME` of muster.yaml, without `placement`.'),
        }),
        response: { 200: answerSchema },
      },
    },
    async (request) => {
      const { folder, until, provider = {}, pool = {} } = request.body
      const asked = { name: request.params.name, folder, until: Date.parse(until), provider, pool }
      const { attached, problems } = await dev.attach(asked, principalOf(request))
      if (attached !== undefined) return { ...attached, until: new Date(attached.until).toISOString() }
      throw new ApiProblem(
        'config-refused',
        `${asked.name} is refused: ${problems.length} problem${problems.length === 1 ? '' : 's'}`,
        {
          errors: errorsOf(problems),
        },
      )
    },
  )
  app.delete(
    '/v1/dev/:name',
    {
      ...needs('admin', 'not-found', 'conflict'),
      schema: {
        operationId: 'detachDevPlugin',
        summary: 'Takes a plugin under development away',
        description: 'Its pool takes nothing new, and its provider goes once its last worker is gone.',
        params,
        response: { 204: z.undefined() },
      },
    },
    async (request, reply) => {
      await dev.detach(request.params.name, principalOf(request))
      return reply.code(204).send()
    },
  )
}
