/** The API as a fastify instance: every route, no socket yet. */
import swagger from '@fastify/swagger'
import { fastify, type FastifyRequest, LogController } from 'fastify'
import { jsonSchemaTransformObject, serializerCompiler, validatorCompiler, type ZodTypeProvider } from 'fastify-type-provider-zod'
import { newId } from '../store/ids.ts'
import { checkAccess, checkStill } from './access.ts'
import type { App, AppDeps } from './deps.ts'
import { rawBody } from './describe.ts'
import { readJsonBodies, refuseEncoded } from './json-bodies.ts'
import { observeRequests } from './observing.ts'
import { describeRoute } from './openapi.ts'
import { ApiProblem } from './problems.ts'
import { noteAnswer, refuse, refuseBroken, refuseQuery } from './refuse.ts'
import { backupRoutes } from './routes/backup.ts'
import { conditionRoutes } from './routes/conditions.ts'
import { configRoutes } from './routes/config.ts'
import { devRoutes } from './routes/dev.ts'
import { crashRoutes } from './routes/crashes.ts'
import { eventRoutes } from './routes/events.ts'
import { leaseRoutes } from './routes/leases.ts'
import { metaRoutes } from './routes/meta.ts'
import { operatorRoutes } from './routes/operator.ts'
import { pluginRoutes } from './routes/plugins.ts'
import { poolRoutes } from './routes/pools.ts'
import { reachRoutes } from './routes/reach.ts'
import { runDataRoutes } from './routes/run-data.ts'
import { runRoutes } from './routes/runs.ts'
import { selfRoutes } from './routes/self.ts'
import { storageRoutes } from './routes/storage.ts'
import { tokenRoutes } from './routes/tokens.ts'
import { workerRoutes } from './routes/workers.ts'
import { boundBodies } from './slow-bodies.ts'

/** JSON only: streams are not held in memory. The contract's own cap for one message is of the same size. */
const BODY_BYTES = 1_048_576

/** A request's head must come quickly; bodies and answers may be streams that last. A missing Host is refused as a wrong one is. */
export const httpOptions = {
  headersTimeout: 15_000,
  // Node looks every 30 s otherwise: a head that never ends stayed for more than twice its time.
  connectionsCheckingInterval: 2000,
  requestTimeout: 0,
  keepAliveTimeout: 60_000,
  // Of the socket: of a client whose machine is gone nothing is heard, and what waits without sending would wait, and count as a client, for ever.
  keepAlive: true,
  keepAliveInitialDelay: 60_000,
  requireHostHeader: false,
}

export async function buildApp(deps: AppDeps): Promise<App> {
  const app = fastify({
    loggerInstance: deps.log,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: BODY_BYTES,
    // Ids in paths are short; a longer one is no id.
    routerOptions: { maxParamLength: 100 },
    genReqId: () => newId('x').slice(1, 17),
    http: httpOptions,
    ...(deps.makeServer === undefined ? {} : { serverFactory: deps.makeServer }),
    clientErrorHandler: refuseBroken,
    frameworkErrors: refuse,
    return503OnClosing: false,
    forceCloseConnections: true,
  }).withTypeProvider<ZodTypeProvider>() as App
  app.setValidatorCompiler(validatorCompiler)
  app.setSerializerCompiler(serializerCompiler)
  app.decorateRequest('principal', undefined)
  app.decorateRequest('agent', undefined)
  observeRequests(app, deps.observer)
  app.addHook('onRequest', async (request, reply) => {
    noteAnswer(reply)
    await checkAccess(request, reply, deps.access)
    // Before a body is read: anybody may ask for what is not there.
    if (request.is404) nowhere(request)
  })
  refuseEncoded(app)
  boundBodies(app, deps.access)
  // A POST that says nothing more needs no body at all.
  app.addHook('preValidation', async (request) => {
    checkStill(request, deps.access)
    refuseQuery(request)
    const { schema } = request.routeOptions
    if (schema?.body !== undefined && schema.body !== rawBody) request.body ??= {}
  })
  app.addHook('onResponse', async (request, reply) => {
    request.log.debug({ method: request.method, url: request.url, status: reply.statusCode, ms: reply.elapsedTime }, 'answered')
  })
  app.setNotFoundHandler({}, nowhere)
  app.setErrorHandler(refuse)
  app.removeContentTypeParser('text/plain')
  readJsonBodies(app)
  app.addContentTypeParser('application/x-tar', (_request, body, done) => done(null, body))
  app.addContentTypeParser('application/octet-stream', { parseAs: 'buffer' }, (_request, body, done) => done(null, body))
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Muster',
        version: 'v1',
        description:
          'Workers for CI/CD: pools, leases, runs, logs and decisions. Bodies are sent plain, without a Content-Encoding; JSON is UTF-8.',
      },
      components: {
        securitySchemes: {
          token: { type: 'http', scheme: 'bearer' },
          ticket: { type: 'http', scheme: 'bearer', description: 'Of a worker, given to its agent with the launch.' },
          session: { type: 'http', scheme: 'bearer', description: 'Of a worker, for its ticket.' },
        },
      },
      security: [{ token: [] }],
    },
    transform: describeRoute,
    transformObject: jsonSchemaTransformObject,
  })
  for (const routes of [
    metaRoutes,
    poolRoutes,
    leaseRoutes,
    runRoutes,
    runDataRoutes,
    selfRoutes,
    workerRoutes,
    reachRoutes,
    operatorRoutes,
    conditionRoutes,
    eventRoutes,
    tokenRoutes,
    configRoutes,
    pluginRoutes,
    devRoutes,
    backupRoutes,
    storageRoutes,
    crashRoutes,
  ])
    // A scope of its own, so that swagger's hook sees the routes.
    await app.register(async (scope) => routes(scope as App, deps))
  await app.ready()
  return app
}

function nowhere({ method, url }: FastifyRequest): never {
  throw new ApiProblem('not-found', `there is no ${method} ${url.split('?')[0] ?? ''}`, {
    hint: 'GET /v1/openapi.json names all there is.',
  })
}
