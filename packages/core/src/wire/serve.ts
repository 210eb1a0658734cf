/** The process of a plugin: {@link serve} is its whole main module. */
import { Socket } from 'node:net'
import type { Plugin } from '../plugin.ts'
import { createLog, type LogTarget } from './log.ts'
import { createRedactor } from './redact.ts'
import { createService } from './service.ts'

/** The host's end of the connection is the parent's fourth pipe. */
const wireFd = 3
/** After the host went away: time for author code to see its signals; the process is gone within a second. */
const goodbyeMs = 800
const exitBroken = 70
const exitUsage = 64

/**
 * Serves one plugin over file descriptor 3 until the host retires it (exit 0) or goes away (exit 0 within 1 s, open calls
 * aborted). A broken protocol or an uncaught error ends the process with 70. stdout and stderr are log only.
 */
export function serve(plugin: Plugin): void {
  const target: LogTarget = { write: (line) => process.stderr.write(line), redactor: createRedactor() }
  const log = createLog(target, { plugin: plugin.manifest.name })
  let socket: Socket
  try {
    socket = new Socket({ fd: wireFd })
  } catch {
    process.stderr.write(`${plugin.manifest.name} is a Muster plugin: the muster daemon starts it\n`)
    process.exit(exitUsage)
  }
  const crash = (message: string) => (error: unknown) => {
    log.error(message, { error })
    process.exit(exitBroken)
  }
  process.on('uncaughtException', crash('uncaught exception'))
  process.on('unhandledRejection', crash('unhandled rejection'))
  // Ctrl-C in the daemon's terminal reaches the whole process group; the daemon decides what ends when.
  process.on('SIGINT', () => undefined)

  const service = createService(socket, plugin, target)
  void service.closed.then(async (reason) => {
    if (reason.kind === 'violation' || reason.kind === 'failed') log.error('connection ended', { ...reason })
    const late = new Promise<void>((resolve) => {
      setTimeout(resolve, goodbyeMs)
    })
    await Promise.race([service.idle(), late])
    process.exit(reason.kind === 'ended' || reason.kind === 'closed' ? 0 : exitBroken)
  })
}
