/** The one clever thing between engine and provider: what each method asks, ownership of answers, what is learned as secret. */
import { ProviderError, type WorkerObservation } from '@muster/core'
import { breakerState, createDoor, type DoorDeps, newBreaker, type ProviderCalls } from './door.ts'
import { givenIn } from './redactor.ts'
import { sessionAt } from './session-at.ts'

export interface Guard {
  calls: ProviderCalls
  breaker(): 'closed' | 'open' | 'half-open'
  /** Another process is asked from now on: what the one before it did says nothing of it. */
  renew(): void
}

export function createGuard(deps: DoorDeps): Guard {
  let breaker = newBreaker()
  const door = createDoor(deps, () => breaker)
  const { tags, redactor } = deps
  return {
    breaker: () => breakerState(breaker),
    renew: () => {
      breaker = newBreaker()
    },
    calls: {
      probe: (options) => door.once('probe', (w, o) => w.probe(o), options),
      launch: (spec, options) => {
        redactor.learnGiven(givenIn(spec))
        return door.once('launch', (w, o) => w.launch(spec, o), options)
      },
      terminate: (target, how, options) => door.once('terminate', (w, o) => w.terminate(target, how, o), options),
      list: (query, options) =>
        door.once(
          'list',
          async (w, o) => {
            const page = await w.list({ ...query, tags }, o)
            for (const one of page.workers) checkOwner(one, tags)
            return page
          },
          options,
        ),
      inspect: (targets, options) =>
        door.once(
          'inspect',
          async (w, o) => {
            const found = await w.inspect(targets, o)
            const asked = new Set(targets.map((target) => target.id))
            for (const one of found) {
              checkOwner(one, tags)
              if (!asked.has(one.id))
                throw new ProviderError('internal', `inspect: it answered for ${one.id}, which was not asked`, { effect: 'none' })
            }
            return found
          },
          options,
        ),
      watch: (options) => door.stream('watch', (w, o) => w.watch({ tags, limit: 500 }, o), options),
      logs: (target, query, options) => door.stream('logs', (w, o) => w.logs(target, query, o), options),
      exec: (target, command, options) => {
        redactor.learnGiven(Object.values(command.env ?? {}))
        return sessionAt(door, { target, command }, options)
      },
      execState: (target, id, options) => door.once('execState', (w, o) => w.execState(target, id, o), options),
      execKill: (target, kill, options) => door.once('execKill', (w, o) => w.execKill(target, kill, o), options),
      copyIn: (target, input, options) => door.once('copyIn', (w, o) => w.copyIn(target, input, o), options),
      copyOut: (target, path, options) => door.stream('copyOut', (w, o) => w.copyOut(target, path, o), options),
      forward: (target, input, options) => door.stream('forward', (w, o) => w.forward(target, input, o), options),
      suspend: (target, how, options) => door.once('suspend', (w, o) => w.suspend(target, how, o), options),
      resume: (target, options) => door.once('resume', (w, o) => w.resume(target, o), options),
      mark: (target, mark, options) => door.once('mark', (w, o) => w.mark(target, mark, o), options),
      stats: (query, options) => door.stream('stats', (w, o) => w.stats({ ...query, tags }, o), options),
      headroom: (options) => door.once('headroom', (w, o) => w.headroom(o), options),
      quote: (shape, options) => door.once('quote', (w, o) => w.quote(shape, o), options),
      preparePool: (pool, options) =>
        door.once('preparePool', (w, o) => w.preparePool({ ...pool, tags: { ...tags, 'muster-pool': pool.pool } }, o), options),
      unpreparePool: ({ pool, handle }, options) =>
        door.once(
          'unpreparePool',
          (w, o) => w.unpreparePool({ pool: { ...pool, tags: { ...tags, 'muster-pool': pool.pool } }, handle }, o),
          options,
        ),
    },
  }
}

function checkOwner(one: WorkerObservation, tags: DoorDeps['tags']): void {
  for (const tag of ['muster-owner', 'muster-provider'] as const)
    if (one.tags[tag] !== tags[tag])
      throw new ProviderError('internal', `it answered with a worker of another ${tag.slice('muster-'.length)}: ${one.id}`, {
        effect: 'none',
      })
}
