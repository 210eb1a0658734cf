/** Pools and the providers they are placed on. */
import { z } from 'zod'
import { principalOf } from '../access.ts'
import type { App, AppDeps } from '../deps.ts'
import { needs } from '../describe.ts'
import { ApiProblem } from '../problems.ts'
import { orphanSchema, poolSchema, providerSchema } from '../schemas.ts'
import { orphanView, poolView, providerView } from '../pool-views.ts'

const byName = z.object({ name: z.string() })

export function poolRoutes(app: App, { engine }: AppDeps): void {
  app.get(
    '/v1/pools',
    {
      ...needs('viewer'),
      schema: {
        operationId: 'listPools',
        summary: 'All pools',
        response: { 200: z.object({ items: z.array(poolSchema) }) },
      },
    },
    async () => ({ items: engine.pools.list().map(poolView) }),
  )

  app.get(
    '/v1/pools/:name',
    {
      ...needs('viewer', 'not-found'),
      schema: { operationId: 'getPool', summary: 'A pool', params: byName, response: { 200: poolSchema } },
    },
    async ({ params }) => {
      const status = engine.pools.get(params.name)
      if (status !== undefined) return poolView(status)
      const names = engine.pools.list().map((pool) => pool.config.name)
      throw new ApiProblem('not-found', `there is no pool ${params.name}`, { hint: `Pools: ${names.join(', ')}.` })
    },
  )

  app.get(
    '/v1/providers',
    {
      ...needs('viewer'),
      schema: {
        operationId: 'listProviders',
        summary: 'All providers, and how each does',
        response: { 200: z.object({ items: z.array(providerSchema) }) },
      },
    },
    async () => ({ items: engine.plugins.list().map((one) => providerView(one, engine.providers)) }),
  )

  app.get(
    '/v1/providers/:name',
    {
      ...needs('viewer', 'not-found'),
      schema: {
        operationId: 'getProvider',
        summary: 'A provider',
        params: byName,
        response: { 200: providerSchema },
      },
    },
    async ({ params }) => {
      const providers = engine.plugins.list()
      const found = providers.find((provider) => provider.name === params.name)
      if (found !== undefined) return providerView(found, engine.providers)
      throw new ApiProblem('not-found', `there is no provider ${params.name}`, {
        hint: `Providers: ${providers.map((provider) => provider.name).join(', ')}.`,
      })
    },
  )

  app.get(
    '/v1/providers/:name/orphans',
    {
      ...needs('viewer', 'not-found'),
      schema: {
        operationId: 'listOrphans',
        summary: 'Workers of ours at a provider that no record knows',
        description: 'As its last list showed them, the longest known first. What a reclaim would remove are those that are due.',
        params: byName,
        response: { 200: z.object({ items: z.array(orphanSchema) }) },
      },
    },
    async ({ params }) => {
      if (!engine.plugins.list().some((provider) => provider.name === params.name))
        throw new ApiProblem('not-found', `there is no provider ${params.name}`)
      return { items: (await engine.orphans(params.name)).map((one) => orphanView(one, engine.clock)) }
    },
  )

  app.post(
    '/v1/providers/:name/reconcile',
    {
      ...needs('operator', 'not-found', 'provider-failed'),
      schema: {
        operationId: 'reconcileProvider',
        summary: 'Looks at a provider now',
        description:
          'Starts its plugin at once where that is left alone after a fault, lists its workers instead of at the next interval, and answers when the pass has been applied.',
        params: byName,
        response: { 200: z.object({ orphansReclaimed: z.int() }) },
        querystring: z.strictObject({
          reclaimOrphans: z
            .enum(['true', 'false'])
            .describe('Removes more orphans in one pass than the bound allows.')
            .exactOptional(),
        }),
      },
    },
    async (request) => {
      const { params, query } = request
      if (!engine.plugins.list().some((provider) => provider.name === params.name))
        throw new ApiProblem('not-found', `there is no provider ${params.name}`)
      const principal = principalOf(request)
      // It ends workers beyond the bound that protects them: who wanted that is on disk before.
      if (query.reclaimOrphans === 'true')
        await engine.store.write((tx, after) =>
          engine.journal.append(tx, after, {
            rule: 'orphans-reclaimed',
            decision: 'orphans are removed, however many',
            provider: params.name,
            inputs: { principal },
          }),
        )
      await engine.reconcile(params.name)
      const { looked, failed } = engine.looked(params.name)
      if (failed !== undefined || !looked)
        throw new ApiProblem('provider-failed', `${params.name} could not be listed: ${failed ?? 'its plugin is starting'}`, {
          hint: '`muster providers` says how its plugin is.',
        })
      return { orphansReclaimed: query.reclaimOrphans === 'true' ? await engine.reclaimOrphans(params.name) : 0 }
    },
  )
}
