/** What the routes are given: the fastify instance that they add themselves to, and the rooms behind them. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { FastifyBaseLogger, FastifyInstance, RawServerDefault } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import type { Engine } from '../engine/api.ts'
import type { StorageRoom } from '../engine/storage.ts'
import type { Runs } from '../engine/runs-api.ts'
import type { AccessOptions } from './access.ts'
import type { Backups } from '../store/backup.ts'
import type { Idempotency } from './idempotency.ts'
import type { Streams } from './streams.ts'

export type App = FastifyInstance<RawServerDefault, IncomingMessage, ServerResponse, FastifyBaseLogger, ZodTypeProvider>

export interface AppDeps {
  engine: Engine
  runs: Runs
  access: AccessOptions
  idempotency: Idempotency
  backups: Backups
  storage: StorageRoom
  streams: Streams
  version: string
  log: FastifyBaseLogger
}
