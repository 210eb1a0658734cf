/** Plugins of a daemon that runs: another version of one takes over without a lost call. */
import { z } from 'zod'
import { candidateName } from '../../plugins/lock.ts'
import { type Upgraded, type UpgradeStep, upgradeSteps } from '../../upgrade-report.ts'
import { principalOf } from '../access.ts'
import type { App, AppDeps } from '../deps.ts'
import { needs } from '../describe.ts'
import { ApiProblem, errorsOf } from '../problems.ts'
import { named } from '../schemas.ts'

interface Answer extends Pick<Upgraded, 'alias' | 'before' | 'after' | 'go' | 'switched' | 'steps'> {
  lost: ShownWorker[]
  kept: ShownWorker[]
  errors: { path: string; message: string }[]
}

type ShownWorker = Pick<Upgraded['lost'][number], 'provider' | 'worker' | 'why'>

const workerSchema: z.ZodType<ShownWorker> = z.object({ provider: z.string(), worker: z.string(), why: z.string() })

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
    lost: z.array(workerSchema).describe('Live workers that it does not account for, and that stand in its way.'),
    kept: z.array(workerSchema).describe('Those for which the version before stays, with `keepOld`.'),
    errors: z.array(z.object({ path: z.string(), message: z.string() })).describe('Why it cannot be loaded or started.'),
  }),
)

export function pluginRoutes(app: App, deps: AppDeps): void {
  const { upgrade } = deps
  acknowledgeRoute(app, deps)
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
            keepOld: z
              .boolean()
              .describe(
                'Its process stays for workers that the other version does not account for, until the last of them is gone. The lock must hold it as the one before. Default false: such a worker stands in the way.',
              )
              .exactOptional(),
          })
          .default({}),
        response: { 200: answerSchema },
      },
    },
    async (request) => {
      const { rehearse = false, candidate, keepOld = false } = request.body
      const done = await upgrade(request.params.name, {
        ...{ principal: principalOf(request), rehearse, keepOld },
        ...(candidate === undefined ? {} : { candidate }),
      })
      if (!done.go && !rehearse) throw refusalOf(done)
      const { problems, lost, kept, ...told } = done
      return { ...told, lost: lost.map(shownWorker), kept: kept.map(shownWorker), errors: errorsOf(problems) }
    },
  )
}

function shownWorker({ provider, worker, why }: Upgraded['lost'][number]): ShownWorker {
  return { provider, worker, why }
}

interface Seen {
  alias: string
  pools: string[]
}

const seenSchema: z.ZodType<Seen> = named(
  'PluginAcknowledged',
  z.object({ alias: z.string(), pools: z.array(z.string()).describe('That showed it, and do no longer.') }),
)

function acknowledgeRoute(app: App, { engine }: AppDeps): void {
  app.post(
    '/v1/plugins/:name/acknowledge',
    {
      ...needs('operator', 'not-found'),
      schema: {
        operationId: 'acknowledgePlugin',
        summary: 'Says that it was seen that a plugin fell back to the version before',
        description: 'Ends the condition `fell-back` of its pools. What runs stays as it is.',
        params: z.object({ name: z.string().describe('Its alias.') }),
        response: { 200: seenSchema },
      },
    },
    async (request) => {
      const alias = request.params.name
      return { alias, pools: await engine.upgrades.acknowledge(alias, { principal: principalOf(request) }) }
    },
  )
}

function refusalOf({ alias, before, after, steps, lost, problems }: Upgraded): ApiProblem {
  const fact = steps.at(-1)?.fact ?? ''
  const what = after === before ? 'stays as it is' : `does not take over from ${before}`
  const detail = `version ${after} of '${alias}' ${what}: ${fact}`
  if (problems.length > 0) return new ApiProblem('plugin-refused', detail, { errors: errorsOf(problems) })
  return new ApiProblem('not-accounted', detail, {
    hint: 'End these workers first, use a version that knows them, or let the version that ran stay for them (keepOld). It goes on.',
    errors: lost.map(({ provider, worker, why }) => ({ path: `${provider}/${worker}`, message: why })),
  })
}
