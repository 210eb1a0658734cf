/** What the routes are given: the fastify instance that they add themselves to, and the rooms behind them. */
import type { IncomingMessage, RequestListener, Server, ServerResponse } from 'node:http'
import type { FastifyBaseLogger, FastifyInstance, RawServerDefault } from 'fastify'
import type { ZodTypeProvider } from 'fastify-type-provider-zod'
import type { Apply } from '../apply.ts'
import type { Dev } from '../dev.ts'
import type { Upgrade } from '../upgrade.ts'
import type { Engine } from '../engine/api.ts'
import type { Copies } from '../engine/copies.ts'
import type { StorageRoom } from '../engine/storage.ts'
import type { Runs } from '../engine/runs-api.ts'
import type { CrashRoom } from '../plugins/bundle.ts'
import type { AccessOptions } from './access.ts'
import type { Backups } from '../store/backup.ts'
import type { Idempotency } from './idempotency.ts'
import type { Tracing } from '../observe/trace.ts'
import type { Streams } from './streams.ts'

export type App = FastifyInstance<RawServerDefault, IncomingMessage, ServerResponse, FastifyBaseLogger, ZodTypeProvider>

export interface AppDeps {
  engine: Engine
  runs: Runs
  apply: Apply
  upgrade: Upgrade
  dev: Dev
  access: AccessOptions
  idempotency: Idempotency
  backups: Backups
  storage: StorageRoom
  copies: Copies
  crashes: CrashRoom
  streams: Streams
  observer: ApiObserver
  version: string
  /** Makes the server; absent: one in clear. */
  makeServer?(handler: RequestListener): Server
  log: FastifyBaseLogger
}

export interface ApiObserver {
  tracing: Tracing
  /** The text of `GET /metrics`. */
  scrape(): Promise<string>
  /** Whoever reaches the address may read the metrics without a token. */
  publicMetrics: boolean
  /** Told of every answer that has been sent, or cut off. */
  answered(answer: { operation: string; status: number; seconds: number }): void
  /** Told once how to ask for the number of open streams. */
  streams(count: () => number): void
}
