/** An engine over a real store and scripted providers, with time turned by hand; it can be crashed and started again. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { GuardedProvider, PluginRoom } from '../../plugins/api.ts'
import { openSqliteStore } from '../../store/open.ts'
import { sealer } from '../../store/seal.ts'
import { type Store, StoreError, type StoreErrorCode } from '../../store/store.ts'
import type { Engine } from '../api.ts'
import type { Clock } from '../clock.ts'
import { type EngineOptions, startEngine } from '../engine.ts'
import type { KillPoint } from '../killpoint.ts'
import type { LeaseRequest, PoolConfig } from '../model.ts'
import { type TestClock, testClock } from './clock.ts'
import { type Joined, joined } from '../../plugins/joined.ts'
import { type ScriptedProvider, type ScriptOptions, scriptedProvider } from './vendor.ts'

export interface Harness {
  /** Where its store is. */
  readonly dir: string
  readonly clock: TestClock
  readonly engine: Engine
  readonly reports: { message: string; error: unknown }[]
  provider(name?: string): ScriptedProvider
  /** Older versions beside those that run, by the name of their provider; the engine takes them out when it lets them go. */
  readonly kept: Map<string, ScriptedProvider>
  /** Another version of its plugin is the one that runs, as a committed switch has it. */
  takeOver(next: ScriptedProvider, how?: { keep: boolean }): void
  /** Providers that the configuration names no longer; the engine takes them out when it lets them go. */
  readonly leaving: Set<string>
  /** Those that it has taken out. */
  readonly gone: Set<string>
  /** Lets everything happen that needs no time to pass. */
  settle(): Promise<void>
  /** Lets time pass, with everything that happens in it. */
  pass(ms: number): Promise<void>
  /** Ends the engine as SIGKILL would, and starts a new one on the same store, `downMs` later. */
  crash(downMs?: number): Promise<void>
  /** Crashes at the nth passing of a point from now on. `crashed` is true from then until the restart. */
  crashAt(point: KillPoint, count?: number): void
  readonly crashed: boolean
  /** Names of providers that the next start does not find configured. */
  readonly absent: Set<string>
  /** While set, every write fails with this, as with a full disk. */
  ill: StoreErrorCode | undefined
  close(): Promise<void>
}

export interface HarnessOptions {
  pools: PoolConfig[]
  providers: Omit<ScriptOptions, 'owner' | 'clock'>[]
  engine?: Partial<EngineOptions>
  random?: () => number
}

export const owner = 'o-test'

export function poolConfig(
  given: Partial<Omit<PoolConfig, 'scale'>> & { scale?: Partial<PoolConfig['scale']> } = {},
): PoolConfig {
  return {
    name: 'ci',
    placement: ['one'],
    work: 'auto',
    worker: {},
    lifetimeMs: 3_600_000,
    graceMs: 1000,
    startDeadlineMs: 60_000,
    uses: 1,
    queueTimeoutMs: 600_000,
    credentials: [],
    ...given,
    scale: { min: 0, max: 10, warm: 0, idleMs: 300_000, ...given.scale },
  }
}

export function leaseRequest(given: Partial<LeaseRequest> = {}): LeaseRequest {
  return { pool: 'ci', requirements: {}, ttlMs: 600_000, principal: 'tester', ...given }
}

export async function openHarness(options: HarnessOptions): Promise<Harness> {
  const dir = mkdtempSync(join(tmpdir(), 'muster-engine-'))
  const clock = testClock(undefined, options.random)
  const providers = options.providers.map((given) => scriptedProvider({ ...given, owner, clock }))
  const reports: Harness['reports'] = []
  const leaving = new Set<string>()
  const gone = new Set<string>()
  const absent = new Set<string>()
  const kept = new Map<string, ScriptedProvider>()
  /** Those that took over since the start. */
  const current = new Map<string, ScriptedProvider>()
  const keptListeners = new Set<(name: string) => void>()
  let epoch = 0
  let life = { dead: false }
  let armed: { point: KillPoint; left: number } | undefined
  let activity = 0
  let pending = 0
  let ill: StoreErrorCode | undefined
  let store: Store
  let engine: Engine

  async function start(): Promise<void> {
    const mine = { dead: false }
    life = mine
    epoch += 1
    store = await openSqliteStore(dir, { now: clock.now })
    engine = await startEngine({
      owner,
      reconcileMs: 30_000,
      orphanGraceMs: 120_000,
      retention: { recordsMs: 1e12, journalMs: 1e12 },
      sealer: sealer(new Uint8Array(32)),
      fence: { epoch: () => epoch, mayAct: () => !mine.dead },
      pools: options.pools,
      // A dead engine's store is closed under its reads, and a process that was killed says nothing.
      report: (message, error) => {
        if (!mine.dead) reports.push({ message, error })
      },
      drainMs: 1000,
      ...options.engine,
      store: mortalStore(store, mine),
      clock: mortalClock(clock, mine),
      plugins: roomOf(
        providers.filter((one) => !absent.has(one.name)),
        { mine, leaving, gone, kept, keptListeners, current },
      ),
      killpoint: (name) => {
        activity += 1
        if (mine.dead || armed?.point !== name) return
        armed.left -= 1
        if (armed.left === 0) mine.dead = true
      },
    })
  }

  function mortalStore(inner: Store, mine: { dead: boolean }): Store {
    return {
      ...inner,
      write: (work) => {
        if (mine.dead) return new Promise(() => {})
        activity += 1
        if (ill !== undefined) return Promise.reject(new StoreError(ill, 'as the test asked'))
        pending += 1
        return inner.write(work).finally(() => {
          pending -= 1
          activity += 1
        })
      },
    }
  }

  async function settle(): Promise<void> {
    for (let quiet = 0, before = -1; quiet < 5;) {
      await new Promise((resolve) => setImmediate(resolve))
      const now = activity + clock.activity + providers.reduce((sum, one) => sum + one.vendor.calls.length, 0)
      quiet = now === before && (pending === 0 || life.dead) ? quiet + 1 : 0
      before = now
    }
  }

  await start()
  await settle()
  return {
    dir,
    clock,
    reports,
    leaving,
    gone,
    absent,
    kept,
    takeOver: (next, { keep } = { keep: false }) => {
      const at = providers.findIndex((one) => one.name === next.name)
      const before = providers.splice(at, 1, next)[0]
      current.set(next.name, next)
      if (!keep || before === undefined) return
      kept.set(next.name, before)
      before.onChange(() => {
        for (const listener of keptListeners) listener(next.name)
      })
    },
    get engine() {
      return engine
    },
    get crashed() {
      return life.dead
    },
    get ill() {
      return ill
    },
    set ill(code) {
      ill = code
    },
    provider: (name) => {
      const found = name === undefined ? providers[0] : providers.find((one) => one.name === name)
      if (found === undefined) throw new Error(`no provider ${name}`)
      return found
    },
    settle,
    pass: async (ms) => {
      await settle()
      const until = clock.now() + ms
      while (!life.dead && clock.step(until)) await settle()
      await settle()
    },
    crashAt: (point, count = 1) => {
      armed = { point, left: count }
    },
    crash: async (downMs = 0) => {
      life.dead = true
      const until = clock.now() + downMs
      while (clock.step(until));
      armed = undefined
      await store.close()
      pending = 0
      await start()
      await settle()
    },
    close: async () => {
      await eachSaysWhy(store)
      life.dead = true
      await store.close()
      rmSync(dir, { recursive: true, force: true })
    },
  }
}

/** Rules whose name and subject say it all. */
const bare: readonly string[] = ['orphan-gone', 'pool-unprepared', 'worker-reached']

/** A decision without what it was made from explains nothing: in no test is there one. */
async function eachSaysWhy(store: Store): Promise<void> {
  const rows = await store.read.selectFrom('journal').select(['rule', 'inputs']).execute()
  const mute = rows.filter(({ rule, inputs }) => inputs === '{}' && !bare.includes(rule)).map(({ rule }) => rule)
  if (mute.length > 0) throw new Error(`decisions without inputs: ${[...new Set(mute)].join(', ')}`)
}

/** What gives no promise. */
const direct = new Set<string | symbol>(['status', 'watch', 'stats', 'logs', 'copyOut', 'forward'])

interface RoomParts extends Pick<Harness, 'leaving' | 'gone' | 'kept'> {
  mine: { dead: boolean }
  current: ReadonlyMap<string, ScriptedProvider>
  keptListeners: Set<(name: string) => void>
}

/** Calls made by a dead engine reach nobody, and answers to it are never read. */
function mortal(provider: ScriptedProvider, mine: { dead: boolean }): GuardedProvider {
  return new Proxy(provider, {
    get: (target, key) => {
      const value = Reflect.get(target, key) as unknown
      if (typeof value !== 'function' || direct.has(key)) return value
      return (...given: unknown[]) => {
        if (mine.dead) return new Promise(() => {})
        const answer = Reflect.apply(value, target, given) as Promise<unknown>
        const settled = (): Promise<never> | undefined => (mine.dead ? new Promise<never>(() => {}) : undefined)
        return answer.then(
          (result) => settled() ?? result,
          (error: unknown) => settled() ?? Promise.reject(error as Error),
        )
      }
    },
  })
}

function roomOf(
  providers: readonly ScriptedProvider[],
  { mine, leaving, gone, kept, keptListeners, current }: RoomParts,
): PluginRoom {
  let ownerOf: Parameters<PluginRoom['ownedBy']>[0] = () => undefined
  const faces = providers.map((provider) => {
    const { name } = provider
    return joined({
      main: () => mortal(current.get(name) ?? provider, mine),
      kept: () => {
        const older = kept.get(name)
        return older && { version: older.manifest.version, provider: mortal(older, mine) }
      },
      ownerOf: (worker) => ownerOf(worker),
      retiring: () => 0,
    })
  })
  const face = (name: string): Joined | undefined =>
    gone.has(name) ? undefined : faces.find((one) => one.provider.name === name)
  const find: PluginRoom['find'] = (name, worker) => (worker === undefined ? face(name)?.provider : face(name)?.serving(worker))
  return {
    list: () => faces.map((one) => one.provider).filter((one) => !gone.has(one.name)),
    find,
    onKept: (listener) => {
      const told = (name: string): void => {
        if (!mine.dead) listener(name)
      }
      keptListeners.add(told)
      return () => keptListeners.delete(told)
    },
    ownedBy: (owner) => {
      ownerOf = owner
    },
    wake: async () => undefined,
    letGo: (name) => {
      kept.delete(name)
      face(name)?.changed()
    },
    leaving: () => [...leaving],
    clean: (_name, text) => text,
    drop: async (name) => {
      if (leaving.delete(name)) gone.add(name)
    },
    provider: (name) => {
      const found = find(name)
      if (found === undefined) throw new Error(`no provider ${name}`)
      return found
    },
    onChange: (listener) => {
      const stops = providers.map((provider) => provider.onChange((status) => !mine.dead && listener(status)))
      return () => {
        for (const stop of stops) stop()
      }
    },
    stop: async () => {},
  }
}

function mortalClock(clock: TestClock, mine: { dead: boolean }): Clock {
  return {
    now: clock.now,
    wall: clock.wall,
    random: clock.random,
    after: (ms, run) => clock.after(ms, () => !mine.dead && run()),
  }
}
