/** Leases: a worker of one's own, for a time. */
import { z } from 'zod'
import type { LeaseView as EngineLease } from '../../engine/api.ts'
import type { LeaseRecord } from '../../engine/model.ts'
import { principalOf } from '../access.ts'
import { by, runOfLease } from '../../engine/words.ts'
import type { App, AppDeps } from '../deps.ts'
import { byId, keyHeader, needs } from '../describe.ts'
import { traceOf } from '../observing.ts'
import { pageOfRows } from '../pages.ts'
import { ApiProblem } from '../problems.ts'
import { checkInline, toLeaseRequest } from '../requests.ts'
import { asked, leaseBodySchema } from '../bodies.ts'
import { type LeaseAnswer, leaseAnswerSchema, leaseSchema, pageOf, pageParts } from '../schemas.ts'
import { leaseAnswer, leaseView } from '../views.ts'

const page = pageOf('LeasePage', leaseSchema)

/** Its run would go on without it, and nobody would be told. */
function ofRun(lease: LeaseRecord): ApiProblem {
  const run = runOfLease(lease) ?? ''
  return new ApiProblem('conflict', `lease ${lease.id} is that of run ${run}, and ends with it`, {
    hint: `\`muster runs cancel ${run}\` ends both.`,
  })
}

export function leaseRoutes(app: App, { engine, idempotency, streams }: AppDeps): void {
  const { leases } = engine

  async function answer(row: LeaseRecord): Promise<LeaseAnswer> {
    const worker = row.worker_id === null ? undefined : engine.workers.get(row.worker_id)
    return leaseAnswer({ lease: row, ...(worker === undefined ? {} : { worker }) }, engine.clock)
  }

  async function find(id: string): Promise<LeaseRecord> {
    const row = leases.get(id) ?? (await leases.find(id))
    if (row === undefined) throw new ApiProblem('not-found', `there is no lease ${id}`)
    return row
  }

  app.post(
    '/v1/leases',
    {
      ...needs('operator', 'refused', 'idempotency-mismatch'),
      schema: {
        operationId: 'createLease',
        summary: 'Asks for a worker',
        description: 'Answers at once with a queued lease; wait for it to become active.',
        headers: keyHeader,
        body: leaseBodySchema,
        response: { 201: leaseSchema },
      },
    },
    async (request, reply) => {
      const principal = principalOf(request)
      checkInline(request.body)
      const wanted = { ...toLeaseRequest(request.body, principal), ...traceOf(request) }
      const made = await idempotency.once(
        { key: request.headers['idempotency-key'], principal, request: { path: '/v1/leases', body: request.body } },
        (also) => leases.request(wanted, also),
        (row: LeaseRecord) => leaseView(row, engine.clock),
      )
      return reply.code(201).send(made)
    },
  )

  app.get(
    '/v1/leases',
    {
      ...needs('viewer'),
      schema: {
        operationId: 'listLeases',
        summary: 'Leases, newest first',
        querystring: z.strictObject({ ...pageParts('l'), pool: z.string().exactOptional() }),
        response: { 200: page },
      },
    },
    async ({ query }) =>
      pageOfRows(
        query,
        (slice) => leases.list({ ...query, ...slice }),
        (row) => leaseView(row, engine.clock),
      ),
  )

  app.get(
    '/v1/leases/:id',
    {
      ...needs('viewer', 'not-found'),
      schema: {
        operationId: 'getLease',
        summary: 'A lease and its worker',
        params: byId,
        response: { 200: leaseAnswerSchema },
      },
    },
    async ({ params }) => answer(await find(params.id)),
  )

  app.get(
    '/v1/leases/:id/wait',
    {
      ...needs('viewer', 'not-found'),
      schema: {
        operationId: 'waitLease',
        summary: 'A lease, once it is as wanted',
        description: 'Answers when it is, when it has ended, or when the time is over; look at its state.',
        params: byId,
        querystring: z.strictObject({
          until: z.enum(['assigned', 'active', 'ended']).default('active'),
          timeoutMs: z.coerce.number().int().min(1).max(60_000).default(30_000),
        }),
        response: { 200: leaseAnswerSchema },
      },
    },
    async ({ params, query }, reply) => {
      const row = await find(params.id)
      if (row.state === 'ended') return answer(row)
      const over = AbortSignal.timeout(query.timeoutMs)
      const signal = AbortSignal.any([streams.signalOf(reply), over])
      const reached = ({ lease }: EngineLease): boolean =>
        lease.state === 'active' ? query.until !== 'ended' : lease.state === 'assigned' && query.until === 'assigned'
      try {
        return leaseAnswer(await leases.wait(params.id, reached, signal), engine.clock)
      } catch (error) {
        if (!over.aborted) throw error
        return answer(await find(params.id))
      }
    },
  )

  app.post(
    '/v1/leases/:id/renew',
    {
      ...needs('operator', 'not-found', 'ended'),
      schema: {
        operationId: 'renewLease',
        summary: 'Extends a lease from now on',
        params: byId,
        body: z.strictObject({ ttlMs: asked.exactOptional() }).default({}),
        response: { 200: leaseSchema },
      },
    },
    async (request) => {
      const { ttlMs } = request.body
      const how = { principal: principalOf(request), ...(ttlMs === undefined ? {} : { ttlMs }) }
      return leaseView(await leases.renew(request.params.id, how), engine.clock)
    },
  )

  app.post(
    '/v1/leases/:id/release',
    {
      ...needs('operator', 'not-found', 'conflict'),
      schema: {
        operationId: 'releaseLease',
        summary: 'Ends a lease and lets its worker go',
        description: 'That of a run ends with its run: cancel that instead.',
        params: byId,
        body: z
          .strictObject({
            reason: z.string().min(1).max(500).exactOptional(),
            discard: z.boolean().describe('The worker is never used again, though its pool re-uses workers.').exactOptional(),
            force: z.boolean().describe('Kill at once.').exactOptional(),
          })
          .default({}),
        response: { 200: leaseSchema },
      },
    },
    async (request) => {
      const { reason: words = '', ...how } = request.body
      const lease = await find(request.params.id)
      if (lease.of_run === 1 && lease.state !== 'ended') throw ofRun(lease)
      const reason = `released ${by({ principal: principalOf(request), reason: words })}`
      return leaseView(await leases.release(lease.id, { reason, ...how }), engine.clock)
    },
  )
}
