/** Workers that stand still: frozen, with all their memory, or ended to be started again, with what is on disk. */
import { type Call, ProviderError, type SuspendHow, type WorkerId } from '@muster/core'
import type { Containers, Found } from './containers.ts'
import { EngineFailure, isStatus } from '../errors.ts'
import { containerPath, label } from '../labels.ts'
import { runProgram } from '../engine/programs.ts'
import { refuse } from '../settings.ts'
import { isOnDisk, suspendSignal, suspendTrap } from '../translate.ts'
import { pause } from '@muster/provider-parts/waiting'
import type { Turns } from './turns.ts'

export interface Suspender {
  suspend(id: WorkerId, how: SuspendHow, call: Call): Promise<void>
  resume(id: WorkerId, call: Call): Promise<void>
}

export interface SuspenderParts {
  turns: Turns
  /** Is it being ended by this process, or has been? */
  isEnding(id: WorkerId): boolean
}

/**
 * From TRAP: looks for the shell that holds the worker and has that trap, and does not find itself. SIGUSR1 is bit 9 of the signals that a
 * process catches (proc_pid_status(5)). What cannot be told is any other code.
 */
const LOOK = `
for p in /proc/[0-9]*; do
  [ "$p" = "/proc/$$" ] && continue
  grep -q "$1" "$p/cmdline" 2>/dev/null || { [ $? -gt 1 ] && [ -e "$p/cmdline" ] && exit 4; continue; }
  while read -r key value; do
    if [ "$key" = SigCgt: ] && [ $((0x\${value#?????????????} & 512)) -ne 0 ]; then exit 0; fi
  done <"$p/status"
done
exit 3`
const NOT_YET = 3

/** A shell needs some milliseconds to its trap, and some 10 on a busy machine. */
const LOOK_AGAIN_MS = 50

export function createSuspender(containers: Containers, { turns, isEnding }: SuspenderParts): Suspender {
  const { engine } = containers
  const post = (
    id: WorkerId,
    what: string,
    { signal, query = {} }: Pick<Call, 'signal'> & { query?: object },
  ): Promise<unknown> => engine.json({ method: 'POST', path: `${containerPath(id)}/${what}`, query: { ...query }, signal })

  /** One at a time with all that begins or ends it: what is about to be removed is not started. */
  const inTurn = (id: WorkerId, call: Call, work: (signal: AbortSignal) => Promise<void>): Promise<void> =>
    turns.take(id, call.signal, async (doomed) => {
      if (isEnding(id)) throw conflict('the worker is being ended')
      try {
        await work(AbortSignal.any([call.signal, doomed]))
      } catch (error) {
        if (!doomed.aborted || call.signal.aborted) throw error
        throw new ProviderError('cancelled', 'the worker was terminated meanwhile', { effect: 'possible' })
      }
    })

  /** Before its trap a signal would end it, and with it all that is to be kept. */
  async function catches(id: WorkerId, signal: AbortSignal): Promise<void> {
    const argv = ['/bin/sh', '-c', LOOK, 'sh', suspendTrap]
    // One that is full of programs holds for long.
    const look = (): Promise<number | undefined> =>
      runProgram({ engine, path: containerPath(id), argv, signal }).then(
        ({ code }) => code,
        () => undefined,
      )
    while ((await look()) === NOT_YET) await pause(LOOK_AGAIN_MS, signal)
    signal.throwIfAborted()
  }

  async function toDisk(id: WorkerId, { container }: Found, signal: AbortSignal): Promise<void> {
    if (container.Config.Labels[label.holds] === undefined)
      throw conflict('what it runs would begin again: only a worker that holds is suspended to disk')
    if (container.State.Paused) throw conflict('it is suspended with its memory: resume it first')
    if (container.State.Status !== 'running') throw conflict(`the worker is not running: it is ${container.State.Status}`)
    await catches(id, signal)
    await ignoring(/is not running|can only kill running/i, post(id, 'kill', { signal, query: { signal: suspendSignal } }))
    await post(id, 'wait', { signal, query: { condition: 'not-running' } })
    if (!isOnDisk((await containers.get(id, signal)).container)) throw conflict('the worker has ended meanwhile')
  }

  return {
    suspend: (id, { keeps }, call) =>
      inTurn(id, call, async (signal) => {
        const found = await containers.get(id, signal)
        if (keeps === 'nothing') throw refuse('unsupported', 'keeps', 'a container keeps its files')
        const onDisk = isOnDisk(found.container)
        if (keeps === 'disk') return onDisk ? undefined : toDisk(id, found, signal)
        if (onDisk) throw conflict('it is suspended to disk: resume it first')
        await ignoring(/already paused/i, post(id, 'pause', { signal }))
      }),

    resume: (id, call) =>
      inTurn(id, call, async (signal) => {
        const { container } = await containers.get(id, signal)
        if (container.State.Status === 'running') return
        if (!isOnDisk(container)) return void (await post(id, 'unpause', { signal }))
        try {
          await post(id, 'start', { signal })
        } catch (error) {
          if (!isStatus(error, 304)) throw error
        }
      }),
  }
}

function conflict(message: string): EngineFailure {
  return new EngineFailure(message, { status: 409, sent: false })
}

async function ignoring(words: RegExp, work: Promise<unknown>): Promise<void> {
  try {
    await work
  } catch (error) {
    // Podman says 500.
    if (!isStatus(error, 409, words) && !isStatus(error, 500, words)) throw error
  }
}
