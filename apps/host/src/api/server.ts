/** The API on its two addresses: TCP on loopback for tokens, a unix socket in the data folder for its owner. */
import { createServer, type Server } from 'node:http'
import { chmodSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import type { AddressInfo, Socket } from 'node:net'
import { join } from 'node:path'
import type { FastifyBaseLogger } from 'fastify'
import type { Engine } from '../engine/api.ts'
import type { Runs } from '../engine/runs-api.ts'
import { openStorage } from '../engine/storage.ts'
import { openBackups } from '../store/backup.ts'
import { buildApp } from './app.ts'
import type { App } from './deps.ts'
import { idempotency, KEEP_MS } from './idempotency.ts'
import { streams } from './streams.ts'
import { ensureAdminToken, tokens } from './tokens.ts'

export interface ApiDeps {
  engine: Engine
  runs: Runs
  dataDir: string
  listen: { host: string; port: number }
  version: string
  log: FastifyBaseLogger
}

export interface Api {
  /** As `http://127.0.0.1:7420`. */
  url: string
  /** Absent when the data folder's path is too long for one. */
  socket?: string
  /** Takes no new connections, cuts streams off, lets short requests finish. */
  close(): Promise<void>
}

/** `sun_path` of Linux and the BSDs, less the final NUL; macOS has 103. */
const SOCKET_PATH_BYTES = 103
/** Keys are kept for a day: looking once an hour is often enough. */
const SWEEP_MS = KEEP_MS / 24
/** Short requests that are under way when the daemon stops; streams are cut at once. */
const CLOSE_MS = 2000

export function socketPath(dataDir: string): string {
  return join(dataDir, 'muster.sock')
}

/** Where clients of this machine find a running daemon: `{ pid, url, socket }`. */
export function endpointPath(dataDir: string): string {
  return join(dataDir, 'endpoint.json')
}

/** Listens. Errors: those of listen (`EADDRINUSE`, `EACCES`) and StoreError. */
export async function startApi(deps: ApiDeps): Promise<Api> {
  const { engine, dataDir, listen, log } = deps
  await ensureAdminToken(engine.store, dataDir)
  const local = new WeakSet<Socket>()
  const open = streams()
  const keys = idempotency(engine.store, engine.sealer)
  const app = await buildApp({
    ...deps,
    streams: open,
    idempotency: keys,
    backups: await openBackups({ store: engine.store, dataDir, version: deps.version }),
    storage: openStorage({ store: engine.store, dataDir }),
    access: { tokens: tokens(engine.store), host: listen.host, isLocal: (request) => local.has(request.raw.socket) },
  })
  await listenOn(app.server, listen)
  const { port } = app.server.address() as AddressInfo
  const url = `http://${listen.host.includes(':') ? `[${listen.host}]` : listen.host}:${port}`
  const unix = await listenLocal(app, { path: socketPath(dataDir), local, log })
  writeEndpoint(dataDir, { pid: process.pid, url, ...(unix === undefined ? {} : { socket: socketPath(dataDir) }) })
  // A failed sweep is repeated at the next hour; the store says by itself what ails it.
  const sweep = setInterval(() => void keys.sweep().catch(() => undefined), SWEEP_MS)
  sweep.unref()
  return {
    url,
    ...(unix === undefined ? {} : { socket: socketPath(dataDir) }),
    close: async () => {
      clearInterval(sweep)
      open.stop()
      rmSync(endpointPath(dataDir), { force: true })
      const closing = Promise.all([closeServer(app.server), ...(unix === undefined ? [] : [closeServer(unix)])])
      await closing
      await app.close()
    },
  }
}

function listenOn(server: Server, where: { host: string; port: number } | { path: string }): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(where, () => {
      server.removeListener('error', reject)
      resolve()
    })
  })
}

/** The same routes on a unix socket, 0600: who can open it owns the data folder, or is root. */
async function listenLocal(
  app: App,
  { path, local, log }: { path: string; local: WeakSet<Socket>; log: FastifyBaseLogger },
): Promise<Server | undefined> {
  if (Buffer.byteLength(path) > SOCKET_PATH_BYTES) {
    log.warn({ path }, 'the path of the data folder is too long for a unix socket: clients use TCP and the token in admin.token')
    return undefined
  }
  const server = createServer({ headersTimeout: 15_000, requestTimeout: 0, keepAliveTimeout: 60_000 }, (request, response) =>
    app.routing(request, response),
  )
  server.on('connection', (socket) => local.add(socket))
  // Left by a daemon that was killed; the lock of the data folder says that it is gone.
  rmSync(path, { force: true })
  // The name appears with its mode: libuv binds within the call.
  const before = process.umask(0o177)
  const listening = listenOn(server, { path })
  process.umask(before)
  await listening
  chmodSync(path, 0o600)
  return server
}

async function closeServer(server: Server): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()))
  server.closeIdleConnections()
  const timer = setTimeout(() => server.closeAllConnections(), CLOSE_MS)
  await closed
  clearTimeout(timer)
}

function writeEndpoint(dataDir: string, endpoint: { pid: number; url: string; socket?: string }): void {
  const path = endpointPath(dataDir)
  writeFileSync(`${path}.part`, `${JSON.stringify(endpoint)}\n`, { mode: 0o600 })
  renameSync(`${path}.part`, path)
}
