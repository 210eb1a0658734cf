/** The containers beside a worker's own: gates, services, locks. Each is made under a name, which an engine gives once. */
import { type LaunchSpec, ProviderError } from '@muster/core'
import type { ContainerInspect, Engine } from '../client.ts'
import { isNameTaken, isStatus } from '../errors.ts'
import { tagsOf } from '../labels.ts'
import { pause } from '@muster/provider-parts/waiting'

/** A name that is taken though nobody has it is being given to a container by somebody else: that is over within a second or two. */
const NAME_WAIT_MS = 10_000
const NAME_POLL_MS = 50

export interface Helper {
  name: string
  spec: LaunchSpec
  body: object
}

/** Makes the container, or finds it; answers the worker that it belongs to. Somebody else's is a `conflict`. */
export async function makeHelper(engine: Engine, { name, spec, body }: Helper, signal: AbortSignal): Promise<string> {
  const giveUpAt = performance.now() + NAME_WAIT_MS
  for (;;) {
    try {
      await engine.json({ method: 'POST', path: '/containers/create', query: { name }, body, signal })
      return spec.id
    } catch (error) {
      if (!isNameTaken(error)) throw error
      const tags = tagsOf((await find(engine, name, signal))?.Config.Labels ?? null)
      if (tags?.['muster-owner'] === spec.tags['muster-owner'] && tags['muster-provider'] === spec.tags['muster-provider'])
        return tags['muster-worker']
      if (tags !== undefined || performance.now() > giveUpAt)
        throw new ProviderError('conflict', `somebody else has the container ${name}`, { effect: 'possible', cause: error })
    }
    await pause(NAME_POLL_MS, signal)
  }
}

async function find(engine: Engine, name: string, signal: AbortSignal): Promise<ContainerInspect | undefined> {
  try {
    return await engine.json<ContainerInspect>({ method: 'GET', path: `/containers/${name}/json`, signal })
  } catch (error) {
    if (isStatus(error, 404)) return undefined
    throw error
  }
}

/** Starts it, unless it runs. */
export async function startHelper(engine: Engine, name: string, signal: AbortSignal): Promise<void> {
  try {
    await engine.json({ method: 'POST', path: `/containers/${name}/start`, signal })
  } catch (error) {
    if (!isStatus(error, 304)) throw error
  }
}
