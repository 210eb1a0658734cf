/**
 * Observes one provider: watch for news, lists to repair what the news missed, and the absence rule. It hands what it sees to
 * `pool.observe()` and decides nothing itself.
 */
import { isProviderError, toProviderError, type WorkerCapabilities, type WorkerObservation } from '@muster/core'
import type { GuardedProvider } from '../plugins/api.ts'
import { StoreError } from '../store/store.ts'
import { absenceExcuse, type ListFacts, sawAll } from './absence.ts'
import { askedPause, ceiling, fullJitter, providerBackoff, watchBackoff } from './backoff.ts'
import type { Look } from './api.ts'
import type { CallQueues } from './calls.ts'
import { background, type Context, pause } from './context.ts'
import type { Follower } from './follow.ts'
import { type Memory, throttle } from './memory.ts'
import { configOf, shown } from './elsewhere.ts'
import { strandedBy } from './kept.ts'
import type { LiveWorker } from './model.ts'
import type { Orphans } from './orphans.ts'
import { walkPages } from './pages.ts'
import type { PoolRoom } from './pool.ts'
import { brief } from './words.ts'

export interface Observer {
  /** Starts what does not run yet: a newer version of the plugin may be able to watch. */
  start(): void
  stop(): void
  /** Lists now, or joins the list that is asked for already. Resolves when what it showed is applied. */
  list(): Promise<void>
  look(): Look
  /** When the last list began that showed all there is; 0: none did. */
  sawAllAt(): number
}

export interface ObserverParts {
  memory: Memory
  pool: PoolRoom
  follower: Follower
  calls: CallQueues
  orphans: Orphans
  /** Told of a provider when all that a list of it has shown is applied. */
  listed: ReadonlySet<(name: string) => void>
}

/** The contract's largest page. */
const PAGE = 500
/** A list that fails this often in a row is an operator's matter. */
const CONDITION_AT = 3

export function observerOf(context: Context, provider: GuardedProvider, parts: ObserverParts): Observer {
  const { state, clock } = context
  const { name } = provider
  let running: Promise<void> | undefined
  let next: Promise<void> | undefined
  let failures = 0
  let look: Look = { looked: false }
  let sawAllAt = 0
  let cancelTimer = (): void => {}
  let started = false
  let watches = false
  const mine = new AbortController()
  const over = AbortSignal.any([context.stopping, mine.signal])

  function accept(seen: WorkerObservation): boolean {
    // A provider that shows others' workers is wrong; nothing of theirs may change because of it.
    return seen.tags['muster-owner'] === context.settings.owner && seen.tags['muster-provider'] === name
  }

  async function readAll(): Promise<{ facts: ListFacts; seen: Map<string, WorkerObservation> }> {
    const startedAt = clock.now()
    const seen = new Map<string, WorkerObservation>()
    const blind = new Set<string>()
    const unseen: string[] = []
    const complete = await walkPages(
      (at) => provider.list({ limit: PAGE, ...at }, { signal: over }),
      (page) => {
        for (const one of page.workers.filter(accept)) {
          seen.set(one.id, one)
          parts.pool.observe(name, one)
        }
        for (const part of page.blind ?? []) blind.add(part)
        if (page.unseen !== undefined) unseen.push(page.unseen)
      },
    )
    return { facts: { startedAt, complete, blind: [...blind], unseen }, seen }
  }

  async function pass(): Promise<void> {
    const held = parts.memory.heldUntil(name, 'read') - clock.now()
    if (held > 0) await pause(context, held)
    if (over.aborted) return
    const asked = configOf(context, name)
    const { facts, seen } = await readAll()
    shown(context, name, { ids: seen.keys(), asked })
    const suspects: string[] = []
    for (const id of state.ofProvider(name)) {
      const worker = state.workers.get(id)
      if (worker === undefined || seen.has(id)) continue
      // One that it knows by name is its own from then on.
      if (isStranded(worker) || (settledPhase(worker) && excuse(worker, facts) === undefined)) suspects.push(id)
    }
    const answers = suspects.length === 0 ? [] : await parts.follower.verify(provider, suspects)
    shown(context, name, { ids: answers.flatMap(({ id, seen: found }) => (found === undefined ? [] : [id])), asked })
    await Promise.all(
      answers.map(async ({ id, seen: found, askedAt }) => {
        const worker = state.workers.get(id)
        if (found !== undefined) parts.pool.observe(name, found)
        else if (worker !== undefined && settledPhase(worker) && excuse(worker, facts) === undefined)
          await parts.pool.lost(id, { by: 'list and inspect', listedAt: facts.startedAt, inspectedAt: askedAt })
      }),
    )
    tellStranded(answers.flatMap(({ id, seen: found }) => (found === undefined ? (state.workers.get(id) ?? []) : [])))
    await parts.orphans.sweep(provider, { seen, facts })
    if (sawAll(facts)) sawAllAt = facts.startedAt
    for (const tell of parts.listed) tell(name)
  }

  function excuse(worker: LiveWorker, facts: ListFacts): string | undefined {
    return absenceExcuse(
      {
        part: worker.part,
        version: worker.plugin_version,
        stranded: isStranded(worker),
        settledAt: parts.calls.settledAt(worker.id),
        open: parts.calls.isOpen(worker.id),
        launchedAt: worker.launched_at,
        visibilityMs: capabilitiesOf(worker).visibility.launchMs,
      },
      facts,
    )
  }

  const isStranded = (worker: LiveWorker): boolean => strandedBy(context, worker) !== undefined

  /** Of those that neither its list nor an inspect has shown. */
  function tellStranded(absent: readonly LiveWorker[]): void {
    const left = absent.flatMap((worker) => strandedBy(context, worker) ?? [])
    const key = { scope: 'provider', name, type: 'stranded' } as const
    if (left.length === 0) return context.conditions.clear(key)
    const workers = left.length === 1 ? '1 worker' : `${left.length} workers`
    const whom = left.length === 1 ? 'it' : 'them'
    const known = 'What is known to be gone: muster workers terminate ID --force, then forget.'
    if (left.every((one) => one.elsewhere === true))
      return context.conditions.raise({
        ...key,
        message: `it was configured otherwise when it made ${workers}, and as it is configured now it does not show ${whom}`,
        hint: `If that is another place, configure it as it was and restart, and give the new place a provider of its own. ${known}`,
      })
    const { name: plugin, version } = provider.manifest
    const others = left.some((one) => one.package !== undefined)
    const versions = [...new Set(left.map(whose))].sort().join(', ')
    context.conditions.raise({
      ...key,
      message: `${workers} ${left.length === 1 ? 'belongs' : 'belong'} to version ${versions}, and ${others ? `${plugin} ` : ''}${version}, which was started, does not show ${whom}`,
      hint: `${others ? 'Name that plugin again in plugins.json, lock it, and restart' : 'Let that version take over again, with muster plugins rollback'}. ${known}`,
    })
  }

  const capabilitiesOf = ({ id }: LiveWorker): WorkerCapabilities => (context.plugins.find(name, id) ?? provider).capabilities

  async function guarded(): Promise<void> {
    try {
      await pass()
      failures = 0
      look = { looked: true }
      context.conditions.clear({ scope: 'provider', name, type: 'list-failing' })
    } catch (thrown) {
      // Of a process that is not there yet nothing was asked: it is listed as soon as it is.
      if (over.aborted || (isProviderError(thrown) && provider.status().state === 'starting')) return
      failures += 1
      if (!isProviderError(thrown)) {
        // Not the provider's doing: the store could not take what was seen, or the engine is wrong.
        if (!(thrown instanceof StoreError)) context.report('a list could not be handled', thrown)
        return
      }
      const error = thrown
      look = { looked: true, failed: `${error.code}: ${brief(error.message)}` }
      if (error.code === 'throttled') throttle(parts.memory, name, { error, scope: 'read', now: clock.now() })
      if (failures === CONDITION_AT)
        context.conditions.raise({
          scope: 'provider',
          name,
          type: 'list-failing',
          message: `its workers cannot be listed: ${error.code}: ${brief(error.message)}`,
          hint: error.hint ?? 'Until a list succeeds, lost workers and orphans are not noticed.',
        })
    }
  }

  /** One list at a time; who asks while one runs gets the one after it, which begins later than the question. */
  function list(): Promise<void> {
    if (over.aborted) return Promise.resolve()
    if (running !== undefined) {
      next ??= running.then(() => {
        next = undefined
        return list()
      })
      return next
    }
    cancelTimer()
    running = guarded().finally(() => {
      running = undefined
      if (over.aborted) return
      // A failed list comes again sooner than the interval, but not at once; jitter keeps providers apart.
      const retry = failures === 0 ? Infinity : ceiling(providerBackoff, failures)
      const interval = context.settings.reconcileMs * (0.9 + 0.2 * clock.random())
      cancelTimer = clock.after(Math.min(interval, retry), () => background(context, 'a list failed', list))
    })
    return running
  }

  async function watchOn(): Promise<void> {
    let broken = 0
    while (!over.aborted && provider.capabilities.watch) {
      const began = clock.now()
      try {
        for await (const seen of provider.watch({ signal: over })) {
          broken = 0
          if (accept(seen)) parts.pool.observe(name, seen)
        }
      } catch (thrown) {
        const error = toProviderError(thrown)
        // Its deadline is a watch's normal end.
        if (error.code !== 'deadline') broken += 1
        await pause(context, askedPause(error, 0))
      }
      if (over.aborted) break
      // One that ends as soon as it began is broken too, however politely it ends.
      if (clock.now() - began < watchBackoff.baseMs) broken += 1
      if (broken > 0) await pause(context, Math.max(1, fullJitter(watchBackoff, broken, clock.random())))
      // What happened between two watches is seen by a list only.
      background(context, 'a list failed', list)
    }
    watches = false
  }

  return {
    list,
    look: () => look,
    sawAllAt: () => sawAllAt,
    start: () => {
      if (!started) over.addEventListener('abort', () => cancelTimer())
      if (!started) background(context, 'a list failed', list)
      started = true
      if (watches || !provider.capabilities.watch) return
      watches = true
      background(context, 'a watch failed', watchOn)
    },
    stop: () => mine.abort(),
  }
}

/** Starting and ending workers are followed one by one; a list adds nothing to that. */
function settledPhase(worker: LiveWorker): boolean {
  return worker.phase === 'idle' || worker.phase === 'leased' || worker.phase === 'draining' || worker.phase === 'suspended'
}

function whose({ version, package: other = 'its plugin' }: { version: string; package?: string }): string {
  return `${version} of ${other}`
}
