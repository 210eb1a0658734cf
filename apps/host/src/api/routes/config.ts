/** The configuration of the daemon: applied without a restart. */
import { z } from 'zod'
import type { Change } from '../../config/diff.ts'
import { principalOf } from '../access.ts'
import type { App, AppDeps } from '../deps.ts'
import { needs } from '../describe.ts'
import { ApiProblem, errorsOf } from '../problems.ts'
import { named } from '../schemas.ts'

const changeSchema: z.ZodType<Change> = named(
  'ConfigChange',
  z.object({
    path: z.string().describe('As written in the file.'),
    kind: z.enum(['added', 'removed', 'changed']),
    before: z.string().describe('As written; absent where it may be secret.').exactOptional(),
    after: z.string().exactOptional(),
    effect: z.string().describe('What happens when it is applied.'),
    restart: z.literal(true).exactOptional(),
  }),
)

export function configRoutes(app: App, { apply }: AppDeps): void {
  app.post(
    '/v1/config/apply',
    {
      ...needs('admin', 'config-refused'),
      schema: {
        operationId: 'applyConfig',
        summary: 'Reads the configuration again, and applies what differs',
        description:
          'All of it or nothing: every plugin that is new or not as it was is started and probed first. Workers and leases go on; pools and providers that are named no longer are drained.',
        body: z
          .strictObject({ dryRun: z.boolean().describe('Only says what would change. Default false.').exactOptional() })
          .default({}),
        response: {
          200: z.object({
            applied: z.boolean().describe('False when nothing differs, and with `dryRun`.'),
            changes: z.array(changeSchema),
          }),
        },
      },
    },
    async (request) => {
      const principal = principalOf(request)
      const { problems, changes, applied } = await apply({ principal, dryRun: request.body.dryRun ?? false })
      if (problems.length === 0) return { applied, changes }
      throw new ApiProblem(
        'config-refused',
        `the configuration is refused: ${problems.length} problem${problems.length === 1 ? '' : 's'}`,
        {
          errors: errorsOf(problems),
        },
      )
    },
  )
}
