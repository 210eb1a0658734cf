/** A command in a worker, as the guard hands it on. */
import type { ExecInput, WorkerTarget } from '@muster/core'
import type { CallOptions, GuardedSession } from './api.ts'
import type { Door } from './door.ts'

/** What it began in has to last as long as a terminal, to which nobody attaches again; other commands go on without it. */
export async function sessionAt(
  door: Door,
  { target, command }: { target: WorkerTarget; command: ExecInput },
  options?: CallOptions,
): Promise<GuardedSession> {
  return door.once(
    'exec',
    async (worker, wire, holds) => {
      const leave = command.tty === undefined ? () => undefined : holds.hold()
      try {
        const session = await worker.exec(target, command, wire)
        if (command.tty !== undefined) void session.exit.catch(() => undefined).finally(leave)
        const { id } = command
        const resize: GuardedSession['resize'] = (size, how) =>
          door.once('execResize', (_now, o) => worker.execResize(target, { id, ...size }, o), how)
        return { ...session, resize }
      } catch (error) {
        leave()
        throw error
      }
    },
    options,
  )
}
