/** A place where the daemon listens that cannot be opened: which one, why, and the setting that names it. */
import { isAbsent } from '../config/address.ts'

export type DoorKind = 'tcp' | 'socket' | 'metrics'

const kinds: Readonly<Record<DoorKind, { name: string; setting: string }>> = {
  tcp: { name: 'TCP address', setting: 'host.listen, or --listen' },
  socket: { name: 'unix socket', setting: 'host.socket.path' },
  metrics: { name: 'address for metrics', setting: 'host.metrics.listen' },
}

export class DoorError extends Error {
  override readonly name = 'DoorError'
  /** Of the system, as `EADDRINUSE`. */
  readonly code: string | undefined
  /** The port, or the path of a socket. */
  readonly port: number | string | undefined
  readonly hint: string

  constructor(kind: DoorKind, where: string, cause: NodeJS.ErrnoException & { port?: number | string }) {
    const { name, setting } = kinds[kind]
    const { code, port, message } = cause
    const reason = code === 'EADDRINUSE' && typeof port === 'number' ? `port ${port} is in use` : message
    super(`the ${name} ${where} cannot be opened: ${reason}`, { cause })
    this.code = code
    this.port = port
    this.hint = `${toDo(cause)}: ${setting}.`
  }
}

function toDo(error: NodeJS.ErrnoException): string {
  if (isAbsent(error)) return 'This machine has no such address: choose another'
  switch (error.code) {
    case 'EADDRINUSE':
      return 'Stop what listens there, or choose another'
    case 'EACCES':
    case 'EPERM':
      return 'Give this user the right to it, or choose another'
    case 'ENOENT':
      return 'Make that folder, or choose another'
    case 'EEXIST':
    case 'ENOTDIR':
      return 'It would replace something else: choose another'
    default:
      return 'Mend that, or choose another'
  }
}

/** Says of what fails in `open` which door it was. */
export async function openDoor<T>(kind: DoorKind, where: string, open: () => Promise<T>): Promise<T> {
  try {
    return await open()
  } catch (error) {
    throw new DoorError(kind, where, error as NodeJS.ErrnoException)
  }
}
