/** The two places where the API listens: a TCP address, and a unix socket of this machine. */
import { lstatSync, rmSync, statSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { connect, type Socket } from 'node:net'
import { dirname } from 'node:path'
import type { FastifyBaseLogger } from 'fastify'
import { SOCKET_PATH_BYTES } from '../config/places.ts'
import { httpOptions } from './app.ts'
import type { App } from './deps.ts'
import type { Doors } from './doors.ts'
import { ignoreExpectations, refuseBroken } from './refuse.ts'
import { nameSocket, pathBefore, type SocketFile } from './socket-file.ts'

/** Short requests that are under way when the daemon stops; streams are cut at once. */
const CLOSE_MS = 2000
/** A look costs one call of the system. */
const NAME_MS = 500

export function listenOn(server: Server, where: { host: string; port: number } | { path: string }): Promise<void> {
  return new Promise((resolve, reject) => {
    const failed = (error: Error): void => {
      server.removeListener('listening', listens)
      reject(error)
    }
    const listens = (): void => {
      server.removeListener('error', failed)
      resolve()
    }
    server.once('error', failed).once('listening', listens).listen(where)
  })
}

export interface LocalDoor {
  close(): Promise<void>
}

/** The same routes on a unix socket: whoever its mode lets open it may do everything. Errors: `EADDRINUSE`, `EEXIST`, `ENOENT`. */
export async function listenLocal(
  app: App,
  { path, mode, local, doors, log }: { path: string; mode: number; local: WeakSet<Socket>; doors: Doors; log: FastifyBaseLogger },
): Promise<LocalDoor | undefined> {
  if (Math.max(...[path, pathBefore(path)].map((one) => Buffer.byteLength(one))) > SOCKET_PATH_BYTES) {
    log.warn({ path }, 'the path is too long for a unix socket: clients use TCP and the token in admin.token')
    return undefined
  }
  await removeLeft(path)
  refuseNowhere(path)
  const server = createServer(httpOptions, (request, response) => app.routing(request, response))
  server.on('connection', (socket) => local.add(socket))
  server.on('clientError', refuseBroken)
  doors.watchLocal(server)
  ignoreExpectations(server, app)
  let file = await bind(server, path, mode)
  const name = keepName(path, {
    log,
    isGone: () => file.isGone(),
    again: async () => {
      // What came in by the old name stays open.
      server.close()
      file = await bind(server, path, mode)
    },
  })
  return {
    close: async () => {
      await name.stop()
      file.remove()
      await closeServer(server)
    },
  }
}

async function bind(server: Server, path: string, mode: number): Promise<SocketFile> {
  const made = pathBefore(path)
  // It appears with its mode: libuv binds within the call.
  const before = process.umask(0o777 & ~mode)
  const listening = listenOn(server, { path: made })
  process.umask(before)
  await listening
  try {
    return nameSocket(made, { path, mode })
  } catch (error) {
    server.close()
    throw error
  }
}

/** Whoever tidies up may take the name away: nobody would find the daemon, and no other could start in its place. */
function keepName(
  path: string,
  { log, isGone, again }: { log: FastifyBaseLogger; isGone: () => boolean; again: () => Promise<void> },
): { stop(): Promise<void> } {
  let making: Promise<void> | undefined
  let failed = false
  const make = async (): Promise<void> => {
    try {
      await again()
      log.warn({ path }, 'the name of the unix socket was gone: it is made again')
      failed = false
    } catch (error) {
      if (!failed) log.error({ path, err: error }, 'the name of the unix socket is gone, and cannot be made: clients use TCP')
      failed = true
    }
    making = undefined
  }
  const look = setInterval(() => {
    if (isGone()) making ??= make()
  }, NAME_MS)
  look.unref()
  return {
    stop: async () => {
      clearInterval(look)
      await making
    },
  }
}

/** libuv makes of a folder that is not there one that this user may not write in. */
function refuseNowhere(path: string): void {
  const folder = dirname(path)
  if (statSync(folder, { throwIfNoEntry: false }) === undefined)
    throw Object.assign(new Error(`there is no folder ${folder}`), { code: 'ENOENT' })
}

/** What a killed daemon left; never another daemon's, and nothing that is no socket. */
async function removeLeft(path: string): Promise<void> {
  const found = lstatSync(path, { throwIfNoEntry: false })
  if (found === undefined) return
  if (!found.isSocket()) throw Object.assign(new Error(`${path} exists and is no socket`), { code: 'EEXIST' })
  const answers = await new Promise<boolean>((resolve) => {
    const socket = connect(path, () => resolve(true))
    socket.once('error', () => resolve(false))
    socket.once('connect', () => socket.destroy())
  })
  if (answers) throw Object.assign(new Error(`another process listens on ${path}`), { code: 'EADDRINUSE', port: path })
  rmSync(path, { force: true })
}

export async function closeServer(server: Server): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()))
  server.closeIdleConnections()
  const timer = setTimeout(() => server.closeAllConnections(), CLOSE_MS)
  await closed
  clearTimeout(timer)
}
