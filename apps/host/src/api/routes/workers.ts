/** Workers: seen, ended, and given commands. */
import { z } from 'zod'
import { principalOf } from '../access.ts'
import type { RunRecord } from '../../engine/model.ts'
import type { App, AppDeps } from '../deps.ts'
import { byId, keyHeader, needs } from '../describe.ts'
import { traceOf } from '../observing.ts'
import { pageOfRows } from '../pages.ts'
import { ApiProblem } from '../problems.ts'
import { checkInline, toExecRequest } from '../requests.ts'
import { execBodySchema } from '../bodies.ts'
import { pageOf, pageParts, runSchema, workerSchema } from '../schemas.ts'
import { runView, workerView } from '../views.ts'

const page = pageOf('WorkerPage', workerSchema)

export function workerRoutes(app: App, { engine, runs, idempotency }: AppDeps): void {
  app.get(
    '/v1/workers',
    {
      ...needs('viewer'),
      schema: {
        operationId: 'listWorkers',
        summary: 'Workers, newest first',
        querystring: z.strictObject({
          ...pageParts('w'),
          pool: z.string().exactOptional(),
          provider: z.string().exactOptional(),
        }),
        response: { 200: page },
      },
    },
    async ({ query }) =>
      pageOfRows(
        query,
        (slice) => engine.workers.list({ ...query, ...slice }),
        (row) => workerView(row, engine.clock, engine.usage.of(row.id)),
      ),
  )

  app.get(
    '/v1/workers/:id',
    {
      ...needs('viewer', 'not-found'),
      schema: { operationId: 'getWorker', summary: 'A worker', params: byId, response: { 200: workerSchema } },
    },
    async ({ params }) => {
      const row = engine.workers.get(params.id) ?? (await engine.workers.find(params.id))
      if (row === undefined) throw new ApiProblem('not-found', `there is no worker ${params.id}`)
      return workerView(row, engine.clock, engine.usage.of(row.id))
    },
  )

  app.post(
    '/v1/workers/:id/terminate',
    {
      ...needs('operator', 'not-found', 'leased'),
      schema: {
        operationId: 'terminateWorker',
        summary: 'Ends a worker',
        description: 'A worker that somebody holds is ended with `force` only.',
        params: byId,
        body: z
          .strictObject({
            reason: z.string().min(1).max(500).exactOptional(),
            force: z.boolean().describe('Also a leased one, and kill at once.').exactOptional(),
          })
          .default({}),
        response: { 200: workerSchema },
      },
    },
    async (request) => {
      const principal = principalOf(request)
      return workerView(
        await engine.workers.terminate(request.params.id, { principal, force: false, ...request.body }),
        engine.clock,
      )
    },
  )

  app.post(
    '/v1/workers/:id/exec',
    {
      ...needs('operator', 'not-found', 'not-ready', 'unsupported', 'idempotency-mismatch'),
      schema: {
        operationId: 'execInWorker',
        summary: 'Runs a command in a worker that lives',
        description:
          'Makes a run of kind exec: logs, standard input, wait and cancel are those of runs. The worker goes on after it.',
        params: byId,
        headers: keyHeader,
        body: execBodySchema,
        response: { 201: runSchema },
      },
    },
    async (request, reply) => {
      const principal = principalOf(request)
      checkInline(request.body)
      const wanted = { ...toExecRequest(request.body), ...traceOf(request) }
      const { id } = request.params
      const made = await idempotency.once(
        { key: request.headers['idempotency-key'], principal, request: { path: `/v1/workers/${id}/exec`, body: request.body } },
        (also) => runs.exec(id, wanted, { principal, ...(also === undefined ? {} : { also }) }),
        (run: RunRecord) => runView(run, engine.clock),
      )
      return reply.code(201).send(made)
    },
  )
}
