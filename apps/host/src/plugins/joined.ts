/**
 * One provider made of the version of its plugin that runs and of an older one that was kept: each worker is asked for where it belongs,
 * and lists show all of them once. Without an older one it is the one that runs.
 */
import { ProviderError, type WorkerObservation, type WorkerTarget } from '@muster/core'
import type { CallOptions, GuardedProvider, KeptStatus, ProviderPage, ProviderStatus } from './api.ts'
import { both } from './both.ts'

/** An older version of a provider's plugin. */
export interface Kept {
  version: string
  provider: GuardedProvider
}

export interface JoinedParts {
  main(): GuardedProvider
  kept(): Kept | undefined
  /** The version that a worker belongs to; undefined: it has no record. */
  ownerOf(worker: string): string | null | undefined
  /** Processes of kept versions that end once their open calls have. */
  retiring(): number
}

export interface Joined {
  provider: GuardedProvider
  /** As the one that serves this worker: its capabilities, and how it does. */
  serving(worker: string): GuardedProvider
  /** Another version was kept, or let go: streams of news begin anew. */
  changed(): void
}

/** The most that one inspect takes, by the contract. */
const BATCH = 100

export function joined({ main, kept, ownerOf, retiring }: JoinedParts): Joined {
  const watches = new Set<AbortController>()
  /** Workers without a record that the older version alone shows. */
  const strays = new Set<string>()

  function isKept(id: string): boolean {
    const older = kept()
    if (older === undefined) return false
    const owner = ownerOf(id)
    return owner === undefined ? strays.has(id) : owner === older.version
  }

  function serving(id: string): GuardedProvider {
    const older = kept()
    return older !== undefined && isKept(id) ? older.provider : main()
  }

  const at = ({ id }: Pick<WorkerTarget, 'id'>): GuardedProvider => serving(id)

  /** Cursors say whose they are: first come the pages of the one that runs. */
  async function list(
    { cursor, ...query }: Parameters<GuardedProvider['list']>[0],
    options?: CallOptions,
  ): Promise<ProviderPage> {
    if (cursor?.startsWith('kept:') === true) return listKept({ ...query, cursor: cursor.slice('kept:'.length) }, options)
    const own = cursor === undefined ? {} : { cursor: cursor.slice('main:'.length) }
    const { next, ...page } = await main().list({ ...query, ...own }, options)
    const after = next === undefined ? (kept() === undefined ? undefined : 'kept:') : `main:${next}`
    const workers = page.workers.filter(({ id }) => !isKept(id))
    return { ...page, workers, ...(after === undefined ? {} : { next: after }) }
  }

  async function listKept(query: { limit: number; cursor: string }, options?: CallOptions): Promise<ProviderPage> {
    const older = kept()
    const asOf = new Date().toISOString()
    if (older === undefined) return { workers: [], asOf }
    try {
      const { limit, cursor } = query
      const { next, ...page } = await older.provider.list({ limit, ...(cursor === '' ? {} : { cursor }) }, options)
      const unowned = page.workers.filter(({ id }) => ownerOf(id) === undefined)
      const known = await shownBy(main(), unowned, options)
      for (const { id } of unowned)
        if (known.has(id)) strays.delete(id)
        else strays.add(id)
      const workers = page.workers.filter(({ id }) => isKept(id))
      return { ...page, workers, ...(next === undefined ? {} : { next: `kept:${next}` }) }
    } catch (error) {
      // What ails it is no reason to be blind for the workers of the one that runs.
      if (!(error instanceof ProviderError) || options?.signal?.aborted === true) throw error
      return { workers: [], asOf, unseen: older.version }
    }
  }

  async function inspect(targets: readonly WorkerTarget[], options?: CallOptions): Promise<readonly WorkerObservation[]> {
    const older = kept()
    const theirs = older === undefined ? [] : targets.filter(({ id }) => isKept(id))
    if (older === undefined || theirs.length === 0) return main().inspect(targets, options)
    const ours = targets.filter(({ id }) => !isKept(id))
    const asked = [older.provider.inspect(theirs, options), ...(ours.length === 0 ? [] : [main().inspect(ours, options)])]
    return (await Promise.all(asked)).flat()
  }

  const watch: GuardedProvider['watch'] = (options) =>
    merged(options, {
      of: (one, given) => one.watch(given),
      tells: ({ capabilities }) => capabilities.watch,
    })

  const stats: GuardedProvider['stats'] = (query, options) =>
    merged(options, {
      of: (one, given) => one.stats(query, given),
      tells: ({ capabilities }) => capabilities.stats,
    })

  interface News<T> {
    of(one: GuardedProvider, options: CallOptions): AsyncIterable<T>
    tells(one: GuardedProvider): boolean
  }

  /** News of the version that runs and, where it tells any, of the older one; each of its own workers. */
  async function* merged<T extends { id: string }>(options: CallOptions | undefined, { of, tells }: News<T>): AsyncGenerator<T> {
    const over = new AbortController()
    watches.add(over)
    const signal = options?.signal === undefined ? over.signal : AbortSignal.any([over.signal, options.signal])
    const older = kept()
    try {
      const news = only(of(main(), { ...options, signal }), ({ id }) => !isKept(id))
      if (older === undefined || !tells(older.provider)) yield* news
      else
        yield* both(
          news,
          only(of(older.provider, { ...options, signal }), ({ id }) => isKept(id)),
        )
    } catch (error) {
      // The next one hears of both.
      if (!over.signal.aborted) throw error
    } finally {
      watches.delete(over)
      over.abort()
    }
  }

  function status(): ProviderStatus {
    const older = kept()
    const now = main().status()
    return {
      ...now,
      retiring: now.retiring + retiring(),
      ...(older === undefined ? {} : { kept: keptStatus(older) }),
    }
  }

  const calls: Omit<GuardedProvider, 'name' | 'manifest' | 'capabilities' | 'status'> = {
    list,
    inspect,
    watch,
    stats,
    probe: (...given) => main().probe(...given),
    headroom: (...given) => main().headroom(...given),
    quote: (...given) => main().quote(...given),
    preparePool: (...given) => main().preparePool(...given),
    unpreparePool: (...given) => main().unpreparePool(...given),
    launch: (...given) => at(given[0]).launch(...given),
    terminate: (...given) => at(given[0]).terminate(...given),
    logs: (...given) => at(given[0]).logs(...given),
    exec: (...given) => at(given[0]).exec(...given),
    execState: (...given) => at(given[0]).execState(...given),
    execKill: (...given) => at(given[0]).execKill(...given),
    copyIn: (...given) => at(given[0]).copyIn(...given),
    copyOut: (...given) => at(given[0]).copyOut(...given),
    forward: (...given) => at(given[0]).forward(...given),
    suspend: (...given) => at(given[0]).suspend(...given),
    resume: (...given) => at(given[0]).resume(...given),
    mark: (...given) => at(given[0]).mark(...given),
  }

  /** As one of them, while the calls still go where they belong by then. */
  function as(one: () => GuardedProvider, shown: () => ProviderStatus): GuardedProvider {
    return {
      name: main().name,
      get manifest() {
        return one().manifest
      },
      get capabilities() {
        return one().capabilities
      },
      status: shown,
      ...calls,
    }
  }

  return {
    provider: as(main, status),
    serving: (worker) =>
      as(
        () => serving(worker),
        () => serving(worker).status(),
      ),
    changed() {
      strays.clear()
      for (const one of watches) one.abort()
    },
  }
}

function keptStatus({ version, provider }: Kept): KeptStatus {
  const { state, since, reason, hint, pid, restarts } = provider.status()
  return {
    ...{ version, state, since, restarts },
    ...(reason === undefined ? {} : { reason }),
    ...(hint === undefined ? {} : { hint }),
    ...(pid === undefined ? {} : { pid }),
  }
}

/** Those of them that a version knows by name. */
async function shownBy(provider: GuardedProvider, seen: readonly { id: string }[], options?: CallOptions): Promise<Set<string>> {
  const known = new Set<string>()
  for (let from = 0; from < seen.length; from += BATCH) {
    // Without handles, which it may not be able to read.
    const ids = seen.slice(from, from + BATCH).map(({ id }) => ({ id }))
    for (const { id } of await provider.inspect(ids, options)) known.add(id)
  }
  return known
}

async function* only<T>(from: AsyncIterable<T>, fits: (one: T) => boolean): AsyncGenerator<T> {
  for await (const one of from) if (fits(one)) yield one
}
