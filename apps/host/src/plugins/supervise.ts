/** Keeps one provider's process running: start, probe, restart with back-off, quarantine after a violation, crash bundles. */
import type { CloseReason, WorkerPluginManifest } from '@muster/core'
import type { CallWitness, Fence, GuardedProvider, ProviderState, ProviderStatus } from './api.ts'
import { type BundleLimits, writeBundle } from './bundle.ts'
import { openBusiest } from './busiest.ts'
import { fitnessOf } from './fitness.ts'
import { type Current, unseen } from './door.ts'
import { createGuard, type Guard } from './guard.ts'
import { healthOf, probeOnce, whyOf } from './health.ts'
import { quarantineMs, restartPauseMs } from './pauses.ts'
import type { PluginProcess } from './process.ts'
import { openPulse, type PulseDeps, type PulseTimes } from './pulse.ts'
import type { Redactor } from './redactor.ts'
import { openRest } from './rest.ts'
import { once, retire } from './retire.ts'
import { type SecretReader, secretReader } from './secrets.ts'
import { describeEnd, startSession, StartFault } from './session.ts'
import { namesOf, type Target } from './target.ts'
import type { PluginUsers } from './users.ts'

export interface RoomLog {
  debug(data: object, message: string): void
  info(data: object, message: string): void
  warn(data: object, message: string): void
  error(data: object, message: string): void
}

export interface SuperviseDeps {
  target: Target
  redactor: Redactor
  /** A process of the target that runs already. */
  process?: PluginProcess
  /** It has worked until now, and is asked at once. */
  handed?: true
  owner: string
  users: PluginUsers
  fence: Fence
  /** The host's data folder. */
  dataDir: string
  /** The provider's own folder. */
  ownDir: string
  log: RoomLog
  now(): number
  keepBundles(): BundleLimits
  witness?: CallWitness
  pulse: PulseTimes
  /** 0 to 1; for the jitter. */
  random(): number
  onChange(status: ProviderStatus): void
  /** Its version cannot start, by its own fault, time after time; told again with each further try. */
  onUnfit(reason: string): void
}

export interface Supervised {
  readonly provider: GuardedProvider
  /** Settles when the first start has ended, well or not. */
  readonly first: Promise<void>
  readonly redactor: Redactor
  target(): Target
  /** Starts it now where it is left alone after a fault; settles when that start has ended, well or not. */
  wake(): Promise<void>
  /** A process that runs and was found well takes over at once. The one before it takes no more calls, and ends when its open ones have. */
  swap(target: Target, process: PluginProcess): void
  /** As {@link swap}, and the process before it, where there is one, is handed out instead of ended. */
  takeOver(target: Target, process: PluginProcess): PluginProcess | undefined
  /** Ends it once its open calls have. */
  retire(): Promise<void>
  stop(): Promise<void>
}

/** Running this long without a fault forgets the faults before. */
const healthyMs = 60_000

export function supervise(deps: SuperviseDeps): Supervised {
  const { redactor, log } = deps
  const { name } = deps.target.provider
  const stopping = new AbortController()
  let target = deps.target
  let secret: SecretReader = secretReader(target.provider.secrets)
  const manifest = (): WorkerPluginManifest => target.plugin.manifest as WorkerPluginManifest
  const first = Promise.withResolvers<void>()
  const status: Omit<ProviderStatus, 'breaker' | 'inFlight' | 'retiring' | 'pid' | 'oldestCall' | 'silentSince' | 'busiest'> = {
    name,
    ...namesOf(target),
    state: deps.handed === true ? 'ready' : 'starting',
    since: deps.now(),
    notes: [],
    facts: {},
    restarts: 0,
  }
  let child = deps.handed === true ? deps.process : undefined
  const busiest = openBusiest()
  let faults = 0
  let violations = 0
  const fitness = fitnessOf((reason) => deps.onUnfit(reason))
  let retryAt = 0
  /** What shall run next, when it runs already. */
  let incoming = deps.process
  let swapped = new AbortController()
  const rest = openRest(() => AbortSignal.any([stopping.signal, swapped.signal]))
  const retiring = new Set<Promise<void>>()
  const handedOut = new WeakSet<PluginProcess>()

  const health = healthOf(
    (process) => probeOnce(process, { epoch: deps.fence.epoch(), secret, redactor }),
    (found) => {
      status.notes = found.notes ?? []
      status.facts = found.facts ?? {}
      if (found.state === 'ready') fitness.well()
      else if (found.own === true) fitness.failed(whyOf(found, 'the probe failed').reason)
      if (found.state === 'ready') set('ready')
      else if (found.state === 'failed') set('degraded', whyOf(found, 'the probe failed'))
      else if (status.state !== 'starting') set('degraded', whyOf(found, 'it is initialising'))
    },
  )
  const tell: PulseDeps['tell'] = (why) => set('degraded', why)
  const pulse = openPulse({ now: deps.now, times: deps.pulse, tell, look: () => health.look() })
  const guard: Guard = createGuard({
    tags: { 'muster-owner': deps.owner, 'muster-provider': name },
    fence: deps.fence,
    secret: (wanted) => secret(wanted),
    redactor,
    witness: pulse.seeing(deps.witness ?? unseen),
    current: (): Current =>
      child === undefined || status.state === 'starting'
        ? { down: status.reason ?? 'it is starting', retryAfterMs: Math.max(100, retryAt - deps.now()) }
        : { worker: child.connection.worker, holds: child.holds, inFlight: manifest().limits.inFlight },
    onFailure(method, error) {
      // Only a call that failed for the vendor's or the plugin's sake asks for a look; a refused request does not.
      if (error.code === 'transient' || error.code === 'deadline' || error.code === 'auth') health.look()
      if (error.code === 'auth')
        set('degraded', { reason: `${method}: ${error.message}`, hint: error.hint ?? 'renew the credentials of this provider' })
    },
  })

  function show(): ProviderStatus {
    const { reason, hint, ...rest } = status
    return {
      ...rest,
      ...(reason === undefined ? {} : { reason }),
      ...(hint === undefined ? {} : { hint }),
      ...(child === undefined ? {} : { pid: child.pid }),
      breaker: fitness.isUnfit() ? 'open' : guard.breaker(),
      retiring: retiring.size,
      ...pulse.status(),
      inFlight: Math.max(0, (child?.connection.stats().asked ?? 0) - pulse.asking),
      busiest: busiest.with(child),
    }
  }

  function set(state: ProviderState, why: { reason?: string; hint?: string } = {}): void {
    if (stopping.signal.aborted && state !== 'stopped') return
    const same = status.state === state && status.reason === why.reason
    if (status.state !== state) status.since = deps.now()
    status.state = state
    delete status.reason
    delete status.hint
    Object.assign(status, why)
    if (!same) deps.onChange(show())
  }

  async function main(): Promise<void> {
    while (!stopping.signal.aborted) {
      const started = await next()
      first.resolve()
      const over = started === 'given-up' ? rest.lasting() : started === undefined ? undefined : live(started)
      rest.over()
      await over
      if (stopping.signal.aborted) return
      if (incoming !== undefined) continue
      await rest.pause(retryAt - deps.now())
      if (incoming === undefined) status.restarts += 1
    }
  }

  async function next(): Promise<PluginProcess | 'given-up' | undefined> {
    const started = incoming ?? (await start())
    // Another one took over while this one started.
    if (incoming !== undefined && typeof started === 'object' && started !== incoming) started.kill()
    const process = incoming ?? started
    incoming = undefined
    swapped = new AbortController()
    return process
  }

  async function start(): Promise<PluginProcess | 'given-up' | undefined> {
    try {
      const session = { ...target, owner: deps.owner, users: deps.users, dataDir: deps.ownDir, redactor }
      const process = await startSession({ ...session, onLine: (line) => log.debug({ provider: name }, line) })
      if (stopping.signal.aborted) {
        process.kill()
        return undefined
      }
      return process
    } catch (error) {
      const fault = error as StartFault
      const final = fault instanceof StartFault && fault.final
      if (incoming !== undefined) return undefined
      if (fault instanceof StartFault && fault.own) fitness.failed(fault.message, { final })
      await fell(fault.message, { output: fault instanceof StartFault ? fault.tail : [] })
      set(final ? 'failed' : 'degraded', { reason: fault.message, hint: fault.hint })
      return final ? 'given-up' : undefined
    }
  }

  /** From the first probe to the end of the process. */
  async function live(process: PluginProcess): Promise<void> {
    child = process
    const since = deps.now()
    const over = new AbortController()
    const closed = process.connection.closed.then((reason) => {
      over.abort()
      return reason
    })
    const mine = AbortSignal.any([over.signal, swapped.signal, stopping.signal])
    pulse.watch(process.connection, mine)
    await health.watch(process, mine)
    busiest.with(process)
    if (swapped.signal.aborted) return handedOut.has(process) ? undefined : retireAside(process)
    const reason = await closed
    if (child === process) child = undefined
    process.kill()
    const end = await process.exited
    if (stopping.signal.aborted || incoming !== undefined) return
    if (deps.now() - since > healthyMs) faults = violations = 0
    await ended(reason, { end, process })
  }

  async function ended(
    reason: CloseReason,
    { end, process }: { end: { code: number | null; signal: string | null }; process: PluginProcess },
  ): Promise<void> {
    const excess = process.excess()
    const violated = excess === undefined && (reason.kind === 'violation' || reason.kind === 'unresponsive')
    const text = excess ?? (violated ? `it broke the protocol: ${reason.message}` : `it ended by itself (${describeEnd(end)})`)
    fitness.ended(text, { violated, said: process.tail() })
    await fell(text, {
      exit: end,
      output: process.tail(),
      ...(reason.violation === undefined ? {} : { violation: reason.violation }),
    })
    if (incoming !== undefined) return
    if (!violated) return set('degraded', { reason: text, hint: `it is started again; why: muster providers crash ${name}` })
    violations += 1
    retryAt = deps.now() + quarantineMs(violations)
    set('quarantined', {
      reason: text,
      hint: `it is tried again at ${new Date(retryAt).toISOString()}, or now by: muster providers reconcile ${name}; tell the author of ${manifest().name}`,
    })
  }

  /** Counts a fault, keeps a bundle, and sets the time of the next start. */
  async function fell(
    reason: string,
    facts: { exit?: { code: number | null; signal: string | null }; violation?: string; output: string[] },
  ): Promise<void> {
    faults += 1
    retryAt = deps.now() + restartPauseMs(faults, deps.random())
    log.warn({ provider: name, reason, ...(facts.exit === undefined ? {} : { exit: facts.exit }) }, 'a plugin process fell')
    try {
      const bundle = {
        at: deps.now(),
        provider: name,
        plugin: { name: manifest().name, version: manifest().version },
        restarts: status.restarts,
      }
      status.crashBundle = await writeBundle(
        deps.dataDir,
        { ...bundle, reason, ...facts },
        { keep: deps.keepBundles(), clean: redactor.clean },
      )
    } catch (error) {
      // A full disk must not stop the restart.
      log.error({ provider: name, error: (error as Error).message }, 'a crash bundle could not be written')
    }
  }

  /** Its open calls end as they would, each by its own deadline at the latest; only then it is told to go. */
  function retireAside(process: PluginProcess): void {
    const { retireMs } = manifest().limits
    const quiet = Promise.race([process.holds.empty(), process.exited, once(stopping.signal)])
    const retired = quiet.then(() => retire(process, retireMs)).finally(() => retiring.delete(retired))
    retiring.add(retired)
  }

  const done = main().finally(() => first.resolve())
  return {
    provider: {
      name,
      get manifest() {
        return manifest()
      },
      get capabilities() {
        return manifest().capabilities
      },
      status: show,
      ...guard.calls,
    },
    first: first.promise,
    redactor,
    target: () => target,
    wake: () => (child === undefined ? Promise.race([rest.wake(), done]) : Promise.resolve()),
    swap,
    takeOver(next, process) {
      const before = child
      if (before !== undefined) handedOut.add(before)
      swap(next, process)
      return before
    },
    async retire() {
      const process = child
      if (process !== undefined) await Promise.race([process.holds.empty(), process.exited, once(stopping.signal)])
      await stop()
    },
    stop,
  }

  function swap(next: Target, process: PluginProcess): void {
    target = next
    secret = secretReader(next.provider.secrets)
    Object.assign(status, namesOf(next))
    faults = violations = retryAt = 0
    fitness.renew()
    guard.renew()
    // One that never came to its turn.
    if (incoming !== undefined && !handedOut.has(incoming)) retireAside(incoming)
    incoming = child = process
    // Told anew: whoever remembers what this provider could not do finds out again.
    status.state = 'starting'
    set('ready')
    swapped.abort()
  }

  async function stop(): Promise<void> {
    stopping.abort()
    if (child !== undefined) await retire(child, manifest().limits.retireMs)
    await Promise.all([done, ...retiring])
    set('stopped')
  }
}
