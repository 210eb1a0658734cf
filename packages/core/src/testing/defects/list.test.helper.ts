/** Defects of list, inspect and watch. */
import type { ListQuery, WorkerObservation, WorkerPage, WorkerProvider } from '../../provider.ts'
import type { OwnerTags, WorkerId } from '../../spec.ts'
import { type Defect, listing, recordOf, type Spot } from './defect.test.helper.ts'

/** Adds to the longest pages the workers of others that a careless filter lets through. */
function alsoListing(
  provider: WorkerProvider,
  spot: Spot,
  lets: (theirs: OwnerTags, query: ListQuery) => boolean,
): Pick<WorkerProvider, 'list'> {
  return {
    async list(query, call) {
      const page = await provider.list(query, call)
      if (query.limit < 500 || page.next !== undefined) return page
      const others = spot.control
        .workers()
        .filter(({ tags, id }) => lets(tags, query) && !page.workers.some((one) => one.id === id))
      return {
        ...page,
        workers: [...page.workers, ...(await provider.inspect(others.map(({ id }) => ({ id })).slice(0, 90), call))],
      }
    },
  }
}

/** Ids that were terminated, each with its last observation. */
function graveyard(provider: WorkerProvider): {
  graves: Map<WorkerId, WorkerObservation & { at: number }>
  terminate: WorkerProvider['terminate']
} {
  const graves = new Map<WorkerId, WorkerObservation & { at: number }>()
  return {
    graves,
    async terminate(target, how, call) {
      const [last] = await provider.inspect([target], call)
      const answer = await provider.terminate(target, how, call)
      if (last !== undefined) graves.set(last.id, { ...last, at: Date.now() })
      return answer
    },
  }
}

/** Longer than the way from one call to the next. */
const lagMs = 300

export const listDefects: readonly Defect[] = [
  {
    name: 'the cursor of a page of one points past the next worker',
    caughtBy: 'pages of one walk over every worker once',
    wrap: (provider) => ({
      async list(query, call) {
        const page = await provider.list(query, call)
        if (query.limit !== 1 || page.next === undefined) return page
        const after = await provider.list({ ...query, cursor: page.next }, call)
        return { ...page, next: after.next ?? page.next }
      },
    }),
  },
  {
    name: 'pages have one worker too many',
    caughtBy: 'a long list comes in pages no longer than asked for',
    wrap: (provider) => ({
      list: (query, call) =>
        provider.list(query.limit > 2 && query.limit < 500 ? { ...query, limit: query.limit + 1 } : query, call),
    }),
  },
  {
    name: 'a cursor is lost with the worker it names',
    caughtBy: 'a list goes on where it was, also when the last worker of a page goes meanwhile',
    wrap: (provider, { control }) => ({
      async list(query, call) {
        const page = await provider.list(query, call)
        if (query.cursor === undefined || recordOf(control.dir, query.cursor) !== undefined) return page
        return { workers: [], asOf: page.asOf }
      },
    }),
  },
  {
    name: 'owners are compared by their beginning',
    caughtBy: "a foreign owner's workers are not listed",
    wrap: (provider, spot) =>
      alsoListing(
        provider,
        spot,
        (theirs, { tags }) =>
          theirs['muster-owner'] !== tags['muster-owner'] &&
          theirs['muster-owner'].startsWith(tags['muster-owner']) &&
          theirs['muster-provider'] === tags['muster-provider'],
      ),
  },
  {
    name: 'the provider of a worker is not compared',
    caughtBy: "another provider's workers are not listed",
    wrap: (provider, spot) =>
      alsoListing(
        provider,
        spot,
        (theirs, { tags }) =>
          theirs['muster-owner'] === tags['muster-owner'] && theirs['muster-provider'] !== tags['muster-provider'],
      ),
  },
  {
    name: 'a list does not say what it could not see',
    caughtBy: 'a part that cannot be seen is named blind, and its workers are not called gone',
    wrap: (provider) => listing(provider, ({ blind: _blind, ...page }) => page),
  },
  {
    name: 'list does not know exits',
    caughtBy: 'inspect agrees with list',
    wrap: (provider) => listing(provider, (page) => ({ ...page, workers: page.workers.map(({ exit: _exit, ...one }) => one) })),
  },
  {
    name: 'in a batch, inspect still shows the dead',
    caughtBy: 'a worker that inspect leaves out is gone, and only such a one',
    wrap(provider) {
      const { graves, terminate } = graveyard(provider)
      return {
        terminate,
        async inspect(targets, call) {
          const seen = await provider.inspect(targets, call)
          if (targets.length < 2) return seen
          const dead = targets.flatMap(({ id }) => (seen.some((one) => one.id === id) ? [] : (graves.get(id) ?? [])))
          return [...seen, ...dead.map(({ at: _at, ...one }): WorkerObservation => ({ ...one, phase: 'lost' }))]
        },
      }
    },
  },
  {
    name: 'inspect looks at the first fifty only',
    caughtBy: 'inspect answers for 100 workers at once',
    wrap: (provider) => ({ inspect: (targets, call) => provider.inspect(targets.slice(0, 50), call) }),
  },
  {
    name: 'a new worker is listed later than declared',
    caughtBy: 'a new worker is listed within the declared lag',
    wrap: (provider, { control }) =>
      listing(provider, (page) => ({
        ...page,
        workers: page.workers.filter(({ id }) => (recordOf(control.dir, id)?.createdAt ?? 0) < Date.now() - lagMs),
      })),
  },
  {
    name: 'a gone worker is listed longer than declared',
    caughtBy: 'a gone worker leaves the list within the declared lag',
    wrap(provider) {
      const { graves, terminate } = graveyard(provider)
      return {
        terminate,
        async list(query, call) {
          const page = await provider.list(query, call)
          if (query.limit < 500 || query.cursor !== undefined) return page
          const ghosts = [...graves.values()].filter(
            ({ at, id }) => at > Date.now() - lagMs && !page.workers.some((one) => one.id === id),
          )
          return {
            ...page,
            workers: [
              ...page.workers,
              ...ghosts.map(({ at: _at, ...one }): WorkerObservation => ({ ...one, phase: 'stopping' })),
            ],
          }
        },
      }
    },
  },
  {
    name: 'a page is said to be of long ago',
    caughtBy: 'a page says when it was true',
    wrap: (provider) => listing(provider, (page): WorkerPage => ({ ...page, asOf: '2020-01-01T00:00:00.000Z' })),
  },
  {
    name: 'watch does not tell of exits',
    caughtBy: 'watch tells of a launch and of an exit',
    wrap: (provider) => ({
      async *watch(query, call) {
        for await (const one of provider.watch?.(query, call) ?? []) if (one.exit === undefined) yield one
      },
    }),
  },
  {
    name: 'watch tells of every owner',
    caughtBy: "watch tells of nobody else's workers",
    wrap: (provider, { control }) => ({
      async *watch(query, call) {
        for await (const one of provider.watch?.(query, call) ?? []) {
          const foreign = control.workers().filter(({ tags }) => tags['muster-owner'] !== query.tags['muster-owner'])
          yield* await provider.inspect(
            foreign.slice(-5).map(({ id }) => ({ id })),
            call,
          )
          yield one
        }
      },
    }),
  },
]
