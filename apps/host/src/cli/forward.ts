/** `muster forward`: ports of a worker that lives, on this machine. */
import { createServer, type Server, type Socket } from 'node:net'
import type { AddressInfo } from 'node:net'
import { pipeline } from 'node:stream/promises'
import { setTimeout as pause } from 'node:timers/promises'
import { isMusterError, type MusterClient, MusterError } from '@muster/client'
import type { Command } from 'commander'
import { isAbsent, urlHost } from '../config/address.ts'
import { acting, openClient, parsing, subcommand } from './context.ts'
import { exits, say } from './io.ts'

/** Between two looks whether its worker is there. */
const LOOK_MS = 5000

interface Ports {
  /** 0: any. */
  here: number
  there: number
}

export function forwardCommand(): Command {
  return subcommand('forward', 'reach ports of a worker that lives from this machine, until Ctrl-C or its end')
    .argument('<worker>')
    .argument(
      '<ports...>',
      'PORT or HERE:PORT; HERE 0: any',
      (text: string, before: Ports[]) => [...before, parsing(parsePorts, 'PORT or HERE:PORT, as 8080 or 0:80')(text)],
      [],
    )
    .option(
      '--address <address>',
      'address of this machine to listen on, as ::1',
      (text: string) => text.replace(/^\[(.*)\]$/, '$1'),
      '127.0.0.1',
    )
    .action(
      acting(async ([worker, ports]: [string, Ports[]], { address }: { address: string }, command: Command) =>
        forward(worker, { ports, address, command }),
      ),
    )
}

export function parsePorts(text: string): Ports | undefined {
  const [, here, there] = /^(?:(\d{1,5}):)?(\d{1,5})$/.exec(text) ?? []
  const ports = { here: Number(here ?? there), there: Number(there) }
  return there === undefined || ports.there === 0 || ports.here > 65_535 || ports.there > 65_535 ? undefined : ports
}

async function forward(
  worker: string,
  { ports, address, command }: { ports: Ports[]; address: string; command: Command },
): Promise<number> {
  const client = await openClient(command)
  const look = async (): Promise<void> => {
    const { endedAt, end = 'gone', terminateReason } = await client.workers.get(worker)
    if (endedAt !== undefined) throw ended(worker, terminateReason ?? end)
  }
  // A worker that is not there is said at once, not with the first connection.
  await look()
  const over = new AbortController()
  const stop = (): void => over.abort()
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(name, stop)
  const servers: Server[] = []
  try {
    for (const { here, there } of ports) {
      const server = createServer(
        { allowHalfOpen: true },
        (socket) => void connectOne(client, { worker, port: there, socket, over: over.signal }),
      )
      await listen(server, { port: here, host: address })
      servers.push(server)
      say(`${urlHost(address)}:${(server.address() as AddressInfo).port} is port ${there} of ${worker}`)
    }
    await untilEnded(look, over.signal)
  } finally {
    over.abort()
    for (const server of servers) server.close()
  }
  return exits.ok
}

/** Resolves when it is over. Error: its worker has ended, or is not known any more; a daemon that is away may come back. */
async function untilEnded(look: () => Promise<void>, over: AbortSignal): Promise<void> {
  for (;;) {
    await pause(LOOK_MS, undefined, { signal: over }).catch(() => undefined)
    if (over.aborted) return
    try {
      await look()
    } catch (error) {
      if (isMusterError(error) && ['ended', 'not-found', 'unauthorized', 'forbidden'].includes(error.code)) throw error
    }
  }
}

function ended(worker: string, why: string): MusterError {
  return new MusterError('ended', `worker ${worker} has ended: ${why}`, {
    hint: '`muster workers` shows those that live.',
  })
}

function listen(server: Server, where: { port: number; host: string }): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) =>
      reject(
        Object.assign(new Error(`cannot listen on ${urlHost(where.host)}:${where.port}: ${error.code ?? error.message}`), {
          name: 'MusterError',
          hint: isAbsent(error) ? 'Choose another address: --address.' : 'Choose another port here, as 0:PORT.',
        }),
      ),
    )
    server.listen(where, resolve)
  })
}

async function connectOne(
  client: MusterClient,
  { worker, port, socket, over }: { worker: string; port: number; socket: Socket; over: AbortSignal },
): Promise<void> {
  const gone = new AbortController()
  socket.on('error', () => gone.abort())
  socket.once('close', () => gone.abort())
  try {
    const input = socket.iterator({ destroyOnReturn: false }) as AsyncIterable<Uint8Array>
    const output = await client.workers.forward(worker, { port, input, signal: AbortSignal.any([gone.signal, over]) })
    await pipeline(output, socket)
  } catch (error) {
    if (!gone.signal.aborted && !over.aborted) say(`port ${port}: ${(error as Error).message}`)
  } finally {
    socket.destroy()
  }
}
