/** Workers that stand still: frozen, with all their memory, or ended to be started again, with what is on disk. */
import type { Call, SuspendHow, WorkerId } from '@muster/core'
import type { Containers, Found } from './containers.ts'
import { EngineFailure, isStatus } from './errors.ts'
import { containerPath, label } from './labels.ts'
import { refuse } from './settings.ts'
import { isOnDisk, suspendSignal } from './translate.ts'

export interface Suspender {
  suspend(id: WorkerId, how: SuspendHow, call: Call): Promise<void>
  resume(id: WorkerId, call: Call): Promise<void>
}

export function createSuspender(containers: Containers): Suspender {
  const { engine } = containers
  const post = (
    id: WorkerId,
    what: string,
    { signal, query = {} }: Pick<Call, 'signal'> & { query?: object },
  ): Promise<unknown> => engine.json({ method: 'POST', path: `${containerPath(id)}/${what}`, query: { ...query }, signal })

  async function toDisk(id: WorkerId, { container }: Found, { signal }: Call): Promise<void> {
    if (container.Config.Labels[label.holds] === undefined)
      throw conflict('what it runs would begin again: only a worker that holds is suspended to disk')
    if (container.State.Paused) throw conflict('it is suspended with its memory: resume it first')
    if (container.State.Status !== 'running') throw conflict(`the worker is not running: it is ${container.State.Status}`)
    await ignoring(/is not running|can only kill running/i, post(id, 'kill', { signal, query: { signal: suspendSignal } }))
    await post(id, 'wait', { signal, query: { condition: 'not-running' } })
    if (!isOnDisk((await containers.get(id, signal)).container)) throw conflict('the worker has ended meanwhile')
  }

  return {
    async suspend(id, { keeps }, call) {
      const found = await containers.get(id, call.signal)
      if (keeps === 'nothing') throw refuse('unsupported', 'keeps', 'a container keeps its files')
      const onDisk = isOnDisk(found.container)
      if (keeps === 'disk') return onDisk ? undefined : toDisk(id, found, call)
      if (onDisk) throw conflict('it is suspended to disk: resume it first')
      await ignoring(/already paused/i, post(id, 'pause', call))
    },

    async resume(id, call) {
      const { container } = await containers.get(id, call.signal)
      if (container.State.Status === 'running') return
      if (!isOnDisk(container)) return void (await post(id, 'unpause', call))
      try {
        await post(id, 'start', call)
      } catch (error) {
        if (!isStatus(error, 304)) throw error
      }
    },
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
