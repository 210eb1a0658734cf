/** Keeps one provider's process running: start, probe, restart with back-off, quarantine after a violation, crash bundles. */
import { setTimeout as sleep } from 'node:timers/promises'
import { type CloseReason, type Probe, type ProviderError, type WorkerPluginManifest } from '@muster/core'
import type { ProviderConfig } from '../config/load.ts'
import type { Fence, GuardedProvider, ProviderState, ProviderStatus } from './api.ts'
import { type BundleLimits, writeBundle } from './bundle.ts'
import type { DiscoveredPlugin } from './discover.ts'
import { createGuard, type Current, type Guard } from './guard.ts'
import type { PluginProcess } from './process.ts'
import { createRedactor } from './redactor.ts'
import { type SecretReader, secretReader } from './secrets.ts'
import { describeEnd, startSession, StartFault } from './session.ts'

export interface RoomLog {
  debug(data: object, message: string): void
  info(data: object, message: string): void
  warn(data: object, message: string): void
  error(data: object, message: string): void
}

export interface SuperviseDeps {
  plugin: DiscoveredPlugin
  provider: ProviderConfig
  owner: string
  fence: Fence
  /** The host's data folder. */
  dataDir: string
  /** The provider's own folder. */
  ownDir: string
  log: RoomLog
  now(): number
  keepBundles: BundleLimits
  /** 0 to 1; for the jitter. */
  random(): number
  onChange(status: ProviderStatus): void
}

export interface Supervised {
  readonly provider: GuardedProvider
  /** Settles when the first start has ended, well or not. */
  readonly first: Promise<void>
  stop(): Promise<void>
}

const second = 1000
const minute = 60 * second
/** The first restart is near at once, a broken plugin costs one start in half a minute. */
const restartBaseMs = 200
const restartCapMs = 30 * second
/** Running this long without a fault forgets the faults before. */
const healthyMs = minute
/** A plugin that broke the protocol is left alone this long, then tried once more, twice as long each time. */
const quarantineBaseMs = 5 * minute
const quarantineCapMs = 60 * minute
/** How often a degraded provider is asked again. */
const probeEveryMs = 15 * second
/** A plugin that says `initialising` is asked again after this. */
const initialisingMs = second

export function supervise(deps: SuperviseDeps): Supervised {
  const { plugin, provider, log } = deps
  const manifest = plugin.manifest as WorkerPluginManifest
  const redactor = createRedactor()
  const stopping = new AbortController()
  const first = Promise.withResolvers<void>()
  const status: Omit<ProviderStatus, 'breaker' | 'inFlight'> = {
    name: provider.name,
    alias: provider.alias,
    plugin: { name: manifest.name, version: manifest.version, contract: plugin.contract },
    state: 'starting',
    since: deps.now(),
    notes: [],
    facts: {},
    restarts: 0,
  }
  let child: PluginProcess | undefined
  let faults = 0
  let violations = 0
  let retryAt = 0
  let probeNow = Promise.withResolvers<void>()

  const secret: SecretReader = secretReader(provider.secrets)
  const guard: Guard = createGuard({
    tags: { 'muster-owner': deps.owner, 'muster-provider': provider.name },
    fence: deps.fence,
    secret,
    redactor,
    current: (): Current =>
      child === undefined || status.state === 'starting'
        ? { down: status.reason ?? 'it is starting', retryAfterMs: Math.max(100, retryAt - deps.now()) }
        : { worker: child.connection.worker },
    onFailure(method, error) {
      // Only a call that failed for the vendor's or the plugin's sake asks for a look; a refused request does not.
      if (error.code === 'transient' || error.code === 'deadline' || error.code === 'auth') probeNow.resolve()
      if (error.code === 'auth')
        set('degraded', { reason: `${method}: ${error.message}`, hint: error.hint ?? 'renew the credentials of this provider' })
    },
  })

  function show(): ProviderStatus {
    const { reason, hint, pid, ...rest } = status
    return {
      ...rest,
      ...(reason === undefined ? {} : { reason }),
      ...(hint === undefined ? {} : { hint }),
      ...(pid === undefined ? {} : { pid }),
      breaker: guard.breaker(),
      inFlight: child?.connection.stats().asked ?? 0,
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
      const started = await start()
      first.resolve()
      if (started === 'given-up') return
      if (started !== undefined) await live(started)
      if (stopping.signal.aborted) return
      await pause(Math.max(0, retryAt - deps.now()))
      status.restarts += 1
    }
  }

  async function start(): Promise<PluginProcess | 'given-up' | undefined> {
    try {
      const session = { plugin, provider, owner: deps.owner, dataDir: deps.ownDir, redactor }
      const process = await startSession({ ...session, onLine: (line) => log.debug({ provider: provider.name }, line) })
      if (stopping.signal.aborted) {
        process.kill()
        return undefined
      }
      return process
    } catch (error) {
      const fault = error as StartFault
      const final = fault instanceof StartFault && fault.final
      await fell(fault.message, { output: fault instanceof StartFault ? fault.tail : [] })
      set(final ? 'failed' : 'degraded', { reason: fault.message, hint: fault.hint })
      return final ? 'given-up' : undefined
    }
  }

  /** From the first probe to the end of the process. */
  async function live(process: PluginProcess): Promise<void> {
    child = process
    status.pid = process.pid
    const since = deps.now()
    const over = new AbortController()
    const closed = process.connection.closed.then((reason) => {
      over.abort()
      return reason
    })
    await watchHealth(process, over.signal)
    const reason = await closed
    child = undefined
    delete status.pid
    process.kill()
    const end = await process.exited
    if (stopping.signal.aborted) return
    if (deps.now() - since > healthyMs) faults = violations = 0
    await ended(reason, { end, process })
  }

  async function ended(
    reason: CloseReason,
    { end, process }: { end: { code: number | null; signal: string | null }; process: PluginProcess },
  ): Promise<void> {
    const violated = reason.kind === 'violation' || reason.kind === 'unresponsive'
    const text = violated ? `it broke the protocol: ${reason.message}` : `it ended by itself (${describeEnd(end)})`
    await fell(text, {
      exit: end,
      output: process.tail(),
      ...(reason.violation === undefined ? {} : { violation: reason.violation }),
    })
    if (!violated) return set('degraded', { reason: text, hint: 'it is started again; see its crash bundle' })
    violations += 1
    retryAt = deps.now() + Math.min(quarantineCapMs, quarantineBaseMs * 2 ** (violations - 1))
    set('quarantined', {
      reason: text,
      hint: `it is tried again at ${new Date(retryAt).toISOString()}; tell the author of ${manifest.name}`,
    })
  }

  /** Counts a fault, keeps a bundle, and sets the time of the next start. */
  async function fell(
    reason: string,
    facts: { exit?: { code: number | null; signal: string | null }; violation?: string; output: string[] },
  ): Promise<void> {
    faults += 1
    // Full jitter: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    retryAt = deps.now() + deps.random() * Math.min(restartCapMs, restartBaseMs * 2 ** faults)
    log.warn(
      { provider: provider.name, reason, ...(facts.exit === undefined ? {} : { exit: facts.exit }) },
      'a plugin process fell',
    )
    try {
      const bundle = {
        at: deps.now(),
        provider: provider.name,
        plugin: { name: manifest.name, version: manifest.version },
        restarts: status.restarts,
      }
      status.crashBundle = await writeBundle(deps.dataDir, { ...bundle, reason, ...facts }, deps.keepBundles)
    } catch (error) {
      // A full disk must not stop the restart.
      log.error({ provider: provider.name, error: (error as Error).message }, 'a crash bundle could not be written')
    }
  }

  /** Probes until it is ready, then again whenever a call has failed or the provider is degraded. Ends with the connection. */
  async function watchHealth(process: PluginProcess, over: AbortSignal): Promise<void> {
    while (!over.aborted && !stopping.signal.aborted) {
      probeNow = Promise.withResolvers<void>()
      const found = await ask(process)
      if (over.aborted || stopping.signal.aborted) return
      status.notes = found.notes ?? []
      status.facts = found.facts ?? {}
      if (found.state === 'ready') set('ready')
      else if (found.state === 'failed') set('degraded', why(found, 'the probe failed'))
      else if (status.state !== 'starting') set('degraded', why(found, 'it is initialising'))
      const wait = found.state === 'ready' ? undefined : found.state === 'failed' ? probeEveryMs : initialisingMs
      await untilNextProbe(wait, over)
    }
  }

  async function untilNextProbe(wait: number | undefined, over: AbortSignal): Promise<void> {
    const ends = AbortSignal.any([over, stopping.signal])
    const aborted = new Promise<void>((resolve) => ends.addEventListener('abort', () => resolve(), { once: true }))
    if (wait !== undefined)
      return Promise.race([sleep(wait, undefined, { signal: ends, ref: false }).catch(() => undefined), aborted])
    await Promise.race([probeNow.promise, aborted])
    // Many calls fail together; one look is enough.
    await sleep(second, undefined, { signal: ends, ref: false }).catch(() => undefined)
  }

  async function ask(process: PluginProcess): Promise<Probe> {
    try {
      return await process.connection.worker.probe({
        deadlineMs: 10 * second,
        idempotencyKey: 'probe',
        epoch: deps.fence.epoch(),
        attempt: 1,
        traceparent: noTrace,
        secret: learn,
      })
    } catch (error) {
      const { message, hint } = error as ProviderError
      return { state: 'failed', message: redactor.clean(message), ...(hint === undefined ? {} : { hint: redactor.clean(hint) }) }
    }
  }

  async function learn(name: string): ReturnType<SecretReader> {
    const found = await secret(name)
    redactor.learn(found.value)
    return found
  }

  async function pause(ms: number): Promise<void> {
    await sleep(ms, undefined, { signal: stopping.signal }).catch(() => undefined)
  }

  const done = main().finally(() => first.resolve())
  return {
    provider: { name: provider.name, manifest, capabilities: manifest.capabilities, status: show, ...guard.calls },
    first: first.promise,
    async stop() {
      const process = child
      stopping.abort()
      if (process !== undefined) await retire(process, manifest.limits.retireMs)
      await done
      set('stopped')
    },
  }
}

/** Lets open calls end, then ends the process; kills it when it does not go in time. */
export async function retire(process: PluginProcess, retireMs: number): Promise<void> {
  await process.connection.retire({ deadlineMs: retireMs }).catch(() => undefined)
  process.connection.close('retired')
  const timer = setTimeout(() => process.kill(), retireMs)
  await process.exited
  clearTimeout(timer)
}

function why(found: Probe, otherwise: string): { reason: string; hint?: string } {
  return { reason: found.message ?? otherwise, ...(found.hint === undefined ? {} : { hint: found.hint }) }
}

const noTrace = `00-${'0'.repeat(31)}1-${'0'.repeat(15)}1-00`
