/** The operator's hand: pools paused and drained, providers disabled, workers cordoned and forgotten. */
import type { FastifyRequest } from 'fastify'
import { z } from 'zod'
import type { Wishing } from '../../engine/api.ts'
import { principalOf } from '../access.ts'
import type { App, AppDeps } from '../deps.ts'
import { byId, needs } from '../describe.ts'
import { poolSchema, providerSchema, workerSchema } from '../schemas.ts'
import { poolView, providerView } from '../pool-views.ts'
import { workerView } from '../views.ts'

const byName = z.object({ name: z.string() })
const reason = z.string().min(1).max(500).describe('For whoever finds it so, and for the journal.')
const why = z.strictObject({ reason: reason.exactOptional() }).default({})

function wishing(request: FastifyRequest, body: { reason?: string }): Wishing {
  return { principal: principalOf(request), ...body }
}

export function operatorRoutes(app: App, deps: AppDeps): void {
  poolWishes(app, deps)
  providerWishes(app, deps)
  providerEnd(app, deps)
  workerWishes(app, deps)
}

function poolWishes(app: App, { engine }: AppDeps): void {
  app.post(
    '/v1/pools/:name/pause',
    {
      ...needs('operator', 'not-found'),
      schema: {
        operationId: 'pausePool',
        summary: 'Lets a pool start nothing',
        description:
          'Nothing is launched and nothing handed out, until it is resumed, also over restarts. New leases are taken and wait, leased workers go on, idle ones stay for as long as they may. A drain becomes a pause.',
        params: byName,
        body: why,
        response: { 200: poolSchema },
      },
    },
    async (request) => poolView(await engine.pools.pause(request.params.name, wishing(request, request.body))),
  )

  app.post(
    '/v1/pools/:name/drain',
    {
      ...needs('operator', 'not-found'),
      schema: {
        operationId: 'drainPool',
        summary: 'Empties a pool',
        description:
          'It keeps no worker that nobody holds, until it is resumed, also over restarts; what is asked for is still served, and a cordoned worker is left alone. A pause becomes a drain.',
        params: byName,
        body: why,
        response: { 200: poolSchema },
      },
    },
    async (request) => poolView(await engine.pools.drain(request.params.name, wishing(request, request.body))),
  )

  app.post(
    '/v1/pools/:name/resume',
    {
      ...needs('operator', 'not-found'),
      schema: {
        operationId: 'resumePool',
        summary: 'Ends the pause or the drain of a pool',
        params: byName,
        body: why,
        response: { 200: poolSchema },
      },
    },
    async (request) => poolView(await engine.pools.resume(request.params.name, wishing(request, request.body))),
  )
}

function providerWishes(app: App, { engine }: AppDeps): void {
  app.post(
    '/v1/providers/:name/disable',
    {
      ...needs('operator', 'not-found'),
      schema: {
        operationId: 'disableProvider',
        summary: 'Lets no launch go to a provider',
        description:
          'Pools use their next placement, and one without another waits, until it is enabled, also over restarts. Its workers and leases go on, and it is still asked about them and told to end them.',
        params: byName,
        body: why,
        response: { 200: providerSchema },
      },
    },
    async (request) => {
      const { name } = request.params
      return providerView(await engine.providers.disable(name, wishing(request, request.body)), engine.providers)
    },
  )

  app.post(
    '/v1/providers/:name/enable',
    {
      ...needs('operator', 'not-found'),
      schema: {
        operationId: 'enableProvider',
        summary: 'Lets launches go to a provider again',
        params: byName,
        body: why,
        response: { 200: providerSchema },
      },
    },
    async (request) => {
      const { name } = request.params
      return providerView(await engine.providers.enable(name, wishing(request, request.body)), engine.providers)
    },
  )
}

function providerEnd(app: App, { engine }: AppDeps): void {
  app.post(
    '/v1/providers/:name/forget',
    {
      ...needs('admin', 'not-found', 'conflict'),
      schema: {
        operationId: 'forgetProvider',
        summary: 'Gives up a provider that is named no longer',
        description:
          'For one that is `leaving`, or cannot be opened again: its plugin ends, and the next daemon does not open it. It must have no worker with a record; orphans and what was prepared for pools stay at its vendor, and the answer says what is known of them.',
        params: byName,
        body: z.strictObject({ reason }),
        response: {
          200: z.object({
            orphans: z.int().describe('Workers without a record that were known there.'),
            prepared: z.array(z.string()).describe('Pools for which something was prepared there, as a network.'),
          }),
        },
      },
    },
    async (request) =>
      engine.providers.forget(request.params.name, { principal: principalOf(request), reason: request.body.reason }),
  )
}

function workerWishes(app: App, { engine }: AppDeps): void {
  app.post(
    '/v1/workers/:id/cordon',
    {
      ...needs('operator', 'not-found', 'conflict'),
      schema: {
        operationId: 'cordonWorker',
        summary: 'Takes a worker out of hand-outs',
        description:
          'An idle one is left alone until its lifetime is over, and counts for no stock. A leased one goes on; afterwards it ends as it would, or stays idle where its pool would have used it again.',
        params: byId,
        body: why,
        response: { 200: workerSchema },
      },
    },
    async (request) => workerView(await engine.workers.cordon(request.params.id, wishing(request, request.body)), engine.clock),
  )

  app.post(
    '/v1/workers/:id/uncordon',
    {
      ...needs('operator', 'not-found', 'conflict'),
      schema: {
        operationId: 'uncordonWorker',
        summary: 'Hands a worker out again',
        description: 'One that is no longer ready ends instead.',
        params: byId,
        body: why,
        response: { 200: workerSchema },
      },
    },
    async (request) => workerView(await engine.workers.uncordon(request.params.id, wishing(request, request.body)), engine.clock),
  )

  app.post(
    '/v1/workers/:id/forget',
    {
      ...needs('admin', 'not-found', 'conflict'),
      schema: {
        operationId: 'forgetWorker',
        summary: 'Closes a record that cannot be closed otherwise',
        description:
          'For a worker whose end was asked for and cannot be confirmed, or whose provider has failed or is configured no longer; of others it says what to do first. Its lease ends, and the record closes as `disowned`. If the vendor still has it, it is an orphan, and is removed as one.',
        params: byId,
        body: z.strictObject({ reason }),
        response: { 200: workerSchema },
      },
    },
    async (request) => {
      const { id } = request.params
      const closed = await engine.workers.forget(id, { principal: principalOf(request), reason: request.body.reason })
      return workerView(closed, engine.clock)
    },
  )
}
