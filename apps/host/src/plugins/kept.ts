/** Older versions of plugins that were kept beside those that run, one of a provider at the most: for workers that only they account for. */
import { createGuard } from './guard.ts'
import type { Fence, GuardedProvider } from './api.ts'
import type { DiscoveredPlugin } from './package.ts'
import type { Kept } from './joined.ts'
import type { Redactor } from './redactor.ts'
import type { Supervised } from './supervise.ts'

/** One that a host before this one has kept. */
export interface KeptPlugin {
  provider: string
  version: string
  found: { plugin: DiscoveredPlugin } | { refused: Refused }
}

/** Why it cannot be loaded. */
export interface Refused {
  reason: string
  hint: string
}

export interface KeptRoom {
  of(name: string): Kept | undefined
  supervised(name: string): Supervised | undefined
  add(name: string, kept: Kept & { supervised?: Supervised }): void
  /** Ends once its open calls have. */
  letGo(name: string): void
  /** Those of this provider that have not ended yet. */
  retiring(name: string): number
  /** Folders of all of them. */
  roots(): string[]
  stop(): Promise<void>
}

/** `changed`: another version of this provider is kept, or none. */
export function openKeptRoom(changed: (name: string) => void): KeptRoom {
  const all = new Map<string, Kept & { supervised?: Supervised }>()
  const leaving = new Map<Supervised, string>()

  function letGo(name: string): void {
    const supervised = all.get(name)?.supervised
    if (!all.delete(name)) return
    changed(name)
    if (supervised === undefined) return
    leaving.set(supervised, name)
    void supervised.retire().finally(() => leaving.delete(supervised))
  }

  const processes = (): Supervised[] => [...[...all.values()].flatMap((one) => one.supervised ?? []), ...leaving.keys()]
  return {
    of: (name) => all.get(name),
    supervised: (name) => all.get(name)?.supervised,
    add(name, kept) {
      letGo(name)
      all.set(name, kept)
      changed(name)
    },
    letGo,
    retiring: (name) => [...leaving.values()].filter((one) => one === name).length,
    roots: () => processes().map((one) => one.target().plugin.root),
    async stop() {
      await Promise.all(processes().map((one) => one.stop()))
    },
  }
}

/** Of one that cannot be loaded: nobody speaks for its workers until it can be, and none of them is taken for gone. */
export function refusedProvider(
  { reason, hint }: Refused,
  { main, redactor, fence, since }: { main: () => GuardedProvider; redactor: Redactor; fence: Fence; since: number },
): GuardedProvider {
  const { calls } = createGuard({
    tags: { 'muster-owner': '', 'muster-provider': main().name },
    fence,
    // Only an operator can mend it, and then the daemon is started anew.
    current: () => ({ down: reason, retryAfterMs: 60_000 }),
    secret: () => Promise.reject(new Error('it runs not')),
    redactor,
    onFailure: () => undefined,
  })
  return {
    name: main().name,
    get manifest() {
      return main().manifest
    },
    get capabilities() {
      return main().capabilities
    },
    status: () => ({ ...main().status(), state: 'failed', since, reason, hint, restarts: 0 }),
    ...calls,
  }
}
