/** Plugins of a daemon that runs: another version of one takes over without a lost call. */
import { z } from 'zod'
import { candidateName } from '../../plugins/lock.ts'
import { type Upgraded, type UpgradeStep, upgradeSteps } from '../../upgrade.ts'
import { principalOf } from '../access.ts'
import type { App, AppDeps } from '../deps.ts'
import { needs } from '../describe.ts'
import { ApiProblem, errorsOf } from '../problems.ts'
import { named } from '../schemas.ts'

interface Answer extends Pick<Upgraded, 'alias' | 'before' | 'after' | 'go' | 'switched' | 'steps'> {
  lost: Upgraded['lost']
  errors: { path: string; message: string }[]
}

const stepSchema: z.ZodType<UpgradeStep> = named(
  'UpgradeStep',
  z.object({
    step: z
      .enum(upgradeSteps)
      .describe('verify: its bytes and the configuration · start: beside the one that runs · account: for all live workers.'),
    ok: z.boolean(),
    fact: z.string().describe('What was found.'),
  }),
)

const answerSchema: z.ZodType<Answer> = named(
  'PluginUpgrade',
  z.object({
    alias: z.string(),
    before: z.string().describe('The version that ran.'),
    after: z.string(),
    go: z.boolean().describe('Nothing stands in the way.'),
    switched: z.boolean().describe('It has taken over. False with `rehearse`, and when it is what runs.'),
    steps: z.array(stepSchema).describe('As far as it came.'),
    lost: z
      .array(z.object({ provider: z.string(), worker: z.string(), why: z.string() }))
      .describe('Live workers that it does not account for.'),
    errors: z.array(z.object({ path: z.string(), message: z.string() })).describe('Why it cannot be loaded or started.'),
  }),
)

export function pluginRoutes(app: App, { upgrade }: AppDeps): void {
  app.post(
    '/v1/plugins/:name/upgrade',
    {
      ...needs('admin', 'not-found', 'conflict', 'plugin-refused', 'not-accounted'),
      schema: {
        operationId: 'upgradePlugin',
        summary: 'Lets the version of a plugin that the lock holds take over',
        description:
          'It is verified, started beside the one that runs, and must account for every live worker; then it takes all new calls at once, and the one before ends once its open calls have. Refused, nothing has changed. The same way leads back: the lock keeps the version before.',
        params: z.object({ name: z.string().describe('Its alias.') }),
        body: z
          .strictObject({
            rehearse: z
              .boolean()
              .describe('All but the switch; what stands in its way is an answer, not a problem. Default false.')
              .exactOptional(),
            candidate: z
              .string()
              .regex(candidateName)
              .describe('By `plugins.next-CANDIDATE.json` and its lock instead of `plugins.json`. Absent: by `plugins.json`.')
              .exactOptional(),
          })
          .default({}),
        response: { 200: answerSchema },
      },
    },
    async (request) => {
      const { rehearse = false, candidate } = request.body
      const done = await upgrade(request.params.name, {
        ...{ principal: principalOf(request), rehearse },
        ...(candidate === undefined ? {} : { candidate }),
      })
      if (!done.go && !rehearse) throw refusalOf(done)
      const { problems, ...told } = done
      return { ...told, errors: errorsOf(problems) }
    },
  )
}

function refusalOf({ alias, before, after, steps, lost, problems }: Upgraded): ApiProblem {
  const fact = steps.at(-1)?.fact ?? ''
  const detail = `version ${after} of '${alias}' does not take over from ${before}: ${fact}`
  if (problems.length > 0) return new ApiProblem('plugin-refused', detail, { errors: errorsOf(problems) })
  return new ApiProblem('not-accounted', detail, {
    hint: 'End these workers first, or use a version that knows them. The version that ran goes on.',
    errors: lost.map(({ provider, worker, why }) => ({ path: `${provider}/${worker}`, message: why })),
  })
}
