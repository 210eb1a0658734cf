/** The API on its two addresses: TCP on loopback for tokens, a unix socket in the data folder for its owner. */
import { createServer as createTlsServer, type Server as TlsServer } from 'node:https'
import { renameSync, rmSync, writeFileSync } from 'node:fs'
import type { AddressInfo, Socket } from 'node:net'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { FastifyBaseLogger, FastifyRequest } from 'fastify'
import type { Apply } from '../apply.ts'
import type { Dev } from '../dev.ts'
import type { Upgrade } from '../upgrade.ts'
import type { Engine } from '../engine/api.ts'
import type { Runs } from '../engine/runs-api.ts'
import { openCopies } from '../engine/copies.ts'
import { openStorage } from '../engine/storage.ts'
import { openCrashes } from '../plugins/bundle.ts'
import { openBackups } from '../store/backup.ts'
import type { Sealer } from '../store/seal.ts'
import { urlHost } from '../config/address.ts'
import type { Change } from '../config/diff.ts'
import { readTls, type TlsFiles } from '../config/tls.ts'
import { buildApp, httpOptions } from './app.ts'
import { certificateKey, followCertificate } from './certificate.ts'
import type { ApiObserver } from './deps.ts'
import { openDoor } from './door-error.ts'
import { type DoorLimits, doorsOf } from './doors.ts'
import { unobserved } from './observing.ts'
import { idempotency, KEEP_MS } from './idempotency.ts'
import { limits, type LimitOptions } from './limits.ts'
import { closeServer, listenLocal, listenOn } from './listen.ts'
import { ignoreExpectations } from './refuse.ts'
import { streams } from './streams.ts'
import { dropAdminToken, ensureAdminToken, tokens } from './tokens.ts'

export interface ApiDeps {
  engine: Engine
  runs: Runs
  apply: Apply
  upgrade: Upgrade
  dev: Dev
  dataDir: string
  listen: { host: string; port: number }
  tls?: TlsFiles
  socket?: { path?: string; mode: number }
  version: string
  log: FastifyBaseLogger
  /** Absent: nobody looks. */
  observer?: ApiObserver
  /** Other than the defaults. */
  limits?: Partial<LimitOptions> & DoorLimits
  /** That may be open in this process. Default: as the system says. */
  openFiles?: number
}

export interface Api {
  /** As `http://127.0.0.1:7420`. */
  url: string
  /** Absent when the data folder's path is too long for one. */
  socket?: string
  /** Reads the certificate again and takes it; `only`: just looks. What differs; without TLS nothing ever does. */
  renewed(only?: 'only'): Promise<Change | undefined>
  /** Answers that stream now. */
  streams(): number
  /** Connections that are open now, over TCP. */
  connections(): Promise<number>
  /** Takes no new connections, cuts streams off, lets short requests finish. */
  close(): Promise<void>
}

/** Who shakes no hands holds a connection as well: no longer than one without a head. Node's own bound is two minutes. */
const shaken = { handshakeTimeout: httpOptions.headersTimeout }
/** Keys are kept for a day: looking once an hour is often enough. */
const SWEEP_MS = KEEP_MS / 24

/**
 * In the data folder, under a name that only whoever may list it or read its key knows, the same at each start: the file mode lets in the daemon's
 * user, and a plugin of that user that has the network and no files could open any name it knew. 48 bits: nobody guesses them, and a path of a socket has 107 bytes at most.
 */
export function socketPath(dataDir: string, sealer: Pick<Sealer, 'derive'>): string {
  return join(dataDir, `muster-${sealer.derive('socket').subarray(0, 6).toString('base64url')}.sock`)
}

/** Where clients of this machine find a running daemon: `{ pid, url, socket }`. */
export function endpointPath(dataDir: string): string {
  return join(dataDir, 'endpoint.json')
}

/** Listens. Errors: DoorError and StoreError. */
export async function startApi(deps: ApiDeps): Promise<Api> {
  const { engine, dataDir, listen, log, observer = unobserved } = deps
  await ensureAdminToken(engine.store, dataDir)
  const local = new WeakSet<Socket>()
  const doors = doorsOf(deps.openFiles, deps.limits)
  const known = tokens(engine.store, Date.now, (id) => dropAdminToken(dataDir, id))
  const isLocal = (request: FastifyRequest): boolean => local.has(request.raw.socket)
  const open = streams({ ...doors.streams, isLocal, ends: known.ends })
  observer.streams(open.count)
  const keys = idempotency(engine.store, engine.sealer, engine.clock)
  const material = deps.tls === undefined ? undefined : await readTls(deps.tls)
  const app = await buildApp({
    ...deps,
    ...(material === undefined
      ? {}
      : { makeServer: (handler) => createTlsServer({ ...httpOptions, ...shaken, ...material }, handler) }),
    streams: open,
    observer,
    idempotency: keys,
    backups: await openBackups({ store: engine.store, dataDir, version: deps.version }),
    copies: await openCopies({ dataDir, sealer: engine.sealer, clock: engine.clock }),
    storage: openStorage({ store: engine.store, dataDir }),
    crashes: openCrashes(dataDir, engine.plugins.clean),
    access: {
      tokens: known,
      agents: engine.agents,
      limits: limits(deps.limits),
      host: listen.host,
      tls: material !== undefined,
      isLocal,
      crowdOf: (request) => doors.crowdOf(request.raw.socket),
    },
  })
  ignoreExpectations(app.server, app)
  doors.watch(app.server)
  await openDoor('tcp', `${urlHost(listen.host)}:${listen.port}`, () => listenOn(app.server, listen))
  const { port } = app.server.address() as AddressInfo
  const url = `${material === undefined ? 'http' : 'https'}://${urlHost(listen.host)}:${port}`
  const path = deps.socket?.path ?? socketPath(dataDir, engine.sealer)
  const mode = deps.socket?.mode ?? 0o600
  const unix = await openDoor('socket', path, () => listenLocal(app, { path, mode, local, doors, log }))
  writeEndpoint(dataDir, { pid: process.pid, url, ...(unix === undefined ? {} : { socket: path }) })
  // Of a daemon before this one, which spoke TLS.
  if (material === undefined) engine.conditions.clear(certificateKey)
  const certificate =
    deps.tls === undefined || material === undefined
      ? undefined
      : followCertificate({
          server: app.server as TlsServer,
          files: deps.tls,
          current: material,
          conditions: engine.conditions,
          log,
        })
  // A failed sweep is repeated at the next hour; the store says by itself what ails it.
  const sweep = setInterval(() => void keys.sweep().catch(() => undefined), SWEEP_MS)
  sweep.unref()
  return {
    url,
    ...(unix === undefined ? {} : { socket: path }),
    renewed: async (only) => certificate?.look(only),
    streams: open.count,
    connections: () => promisify(app.server.getConnections.bind(app.server))(),
    close: async () => {
      certificate?.stop()
      clearInterval(sweep)
      open.stop()
      rmSync(endpointPath(dataDir), { force: true })
      const closing = Promise.all([closeServer(app.server), ...(unix === undefined ? [] : [unix.close()])])
      await closing
      await app.close()
    },
  }
}

function writeEndpoint(dataDir: string, endpoint: { pid: number; url: string; socket?: string }): void {
  const path = endpointPath(dataDir)
  writeFileSync(`${path}.part`, `${JSON.stringify(endpoint)}\n`, { mode: 0o600 })
  renameSync(`${path}.part`, path)
}
