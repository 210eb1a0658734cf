/** Another configuration while the engine runs: pools and settings change between two plans, and what is no longer named is drained. */
import { type ConfigureHow, type EngineConfig, EngineError } from './api.ts'
import { background, type Context, mutate, persist } from './context.ts'
import { configsOf, moveTo } from './elsewhere.ts'
import { beginEnd } from './ending.ts'
import { forgetEntry, noteEntries } from './entries.ts'
import { endFallBacks } from './fallback.ts'
import { helpless } from './forget.ts'
import type { Observer } from './loop.ts'
import type { KeptVersions } from './kept.ts'
import type { Memory } from './memory.ts'
import type { LiveWorker } from './model.ts'
import type { Passes } from './passes.ts'
import type { Preparation } from './prepare.ts'
import { journal, writing } from './records.ts'
import { clearStale } from './stale.ts'
import { forgetSwitch } from './versions.ts'

export interface Configure {
  /** Durable first; then `commit` and the change of the engine happen in one turn, so that no plan sees half of it. */
  (next: EngineConfig, how: ConfigureHow): Promise<void>
}

export interface ConfigureParts {
  memory: Memory
  preparation: Preparation
  kept: Pick<KeptVersions, 'takeAll' | 'show'>
  passes: Passes
  /** Observes the providers that are there now, and no others. */
  observe(): void
  observer(name: string): Observer | undefined
  /** What operators have decided about the pools and providers that are there now is shown, and no more. */
  showHeld(): void
  orphans: { count(provider: string): number }
}

export function configureOf(context: Context, parts: ConfigureParts): Configure {
  const { state, clock, plugins, conditions } = context
  /** When the last worker of a provider was closed that may be there all the same. */
  const forgotten = new Map<string, number>()
  /** Ends the wait for the next look at a leaving provider. */
  const waits = new Map<string, () => void>()
  context.stopping.addEventListener('abort', () => {
    for (const cancel of waits.values()) cancel()
  })
  state.onWorker((now, before) => {
    if (now.phase === 'idle' && (before?.phase !== 'idle' || before.cordoned !== now.cordoned)) endMisplaced(now)
    if (now.ended_at === null) return
    if (now.end === 'disowned') forgotten.set(now.provider, now.ended_at)
    dropEmpty(now.provider)
  })
  for (const worker of state.workers.values()) endMisplaced(worker)
  parts.preparation.onEmpty(dropEmpty)

  /** An idle worker at a provider that its pool has no more would be handed out otherwise. */
  function endMisplaced({ id, phase, cordoned }: LiveWorker): void {
    if (phase !== 'idle' || cordoned === 1) return
    background(context, 'a worker at a provider that its pool no longer names could not be ended', () =>
      mutate(context, async (tx, after) => {
        const worker = state.workers.get(id)
        if (worker?.phase !== 'idle' || worker.cordoned === 1) return
        const { placement } = state.pool(worker.pool).config
        if (placement.includes(worker.provider)) return
        await beginEnd(writing(context, tx, after), worker, {
          rule: 'placement-removed',
          reason: 'its pool no longer names this provider',
          inputs: { placement },
          change: 'The pool names the provider.',
        })
      }),
    )
  }

  /** A leaving provider goes when nothing of ours is left there. */
  function dropEmpty(name: string): void {
    if (!plugins.leaving().includes(name) || state.ofProvider(name).size > 0 || parts.orphans.count(name) > 0) return
    // One that is kept beside ends first, once it has nothing left.
    if (context.kept.has(name) && !isHelpless(name)) return
    if (!knownEmpty(name) || (parts.preparation.holds(name) && !isHelpless(name))) return
    background(context, 'a provider could not be let go', async () => {
      const dropped = plugins.drop(name)
      forgotten.delete(name)
      parts.kept.show(name)
      clearStale(context, parts.memory)
      parts.observe()
      await dropped
      await persist(context, async (tx) => {
        // It may be named again since.
        if (plugins.find(name) === undefined) await forgetEntry(tx, name)
      })
    })
  }

  function isHelpless(name: string): boolean {
    const provider = plugins.find(name)
    return provider === undefined || helpless.includes(provider.status().state)
  }

  /** What was forgotten is an orphan if it is still there, and nobody but this provider can remove it: a list must have said that it is not. */
  function knownEmpty(name: string): boolean {
    const at = forgotten.get(name)
    const provider = plugins.find(name)
    if (at === undefined || provider === undefined || isHelpless(name)) return true
    return (parts.observer(name)?.sawAllAt() ?? 0) > at + provider.capabilities.visibility.goneMs
  }

  /** Orphans end without a record that would tell. */
  function lookAfter(name: string): void {
    waits.get(name)?.()
    waits.delete(name)
    dropEmpty(name)
    if (!plugins.leaving().includes(name)) return
    conditions.raise({
      scope: 'provider',
      name,
      type: 'leaving',
      message: 'the configuration names it no longer; it goes on until its last worker is gone',
      hint: `See what holds them with: muster workers --provider ${name}. A daemon that is started anew knows it too.`,
    })
    waits.set(
      name,
      clock.after(context.settings.reconcileMs, () => lookAfter(name)),
    )
  }

  /** One that leaves goes on as it is. */
  function configsWith(next: EngineConfig['configs']): NonNullable<EngineConfig['configs']> {
    const before = context.settings.configs
    const left = plugins.leaving().flatMap((name) => (before?.[name] === undefined ? [] : [[name, before[name]] as const]))
    return { ...Object.fromEntries(left), ...next }
  }

  // Of a daemon before this one, or of a file that was edited while there was none.
  for (const name of plugins.leaving()) lookAfter(name)

  return async (next, { principal, changes, versions = {}, known = {}, entries = [], commit }) => {
    await mutate(context, async (tx, after) => {
      if (context.stopping.aborted) throw new EngineError('stopping', 'the daemon is stopping')
      await journal(writing(context, tx, after), {
        rule: 'config-applied',
        decision: `another configuration is in force: ${changes.length} change${changes.length === 1 ? '' : 's'}`,
        inputs: { principal, changes },
        change: 'The file says something else, and is applied again.',
      })
      after(() => {
        commit()
        const { pools, ...settings } = next
        context.settings = { ...context.settings, ...settings, configs: configsWith(settings.configs) }
        const changed = state.configure(pools)
        parts.memory.reconfigured(changed)
        parts.memory.mended(new Set([...changed].flatMap((name) => state.pools.get(name)?.config.placement ?? [])))
        parts.preparation.reconfigured(changed)
        parts.observe()
        parts.showHeld()
        clearStale(context, parts.memory)
        for (const worker of state.workers.values()) if (changed.has(worker.pool)) endMisplaced(worker)
        for (const name of plugins.leaving()) lookAfter(name)
        parts.passes.poke()
      })
      await noteEntries(tx, entries)
      for (const [provider, ids] of Object.entries(known)) {
        const now = next.configs?.[provider]
        const made = configsOf(context, ids)
        if (now !== undefined && [...made].some((one) => one !== now))
          await moveTo(writing(context, tx, after), { provider, made, now })
      }
      for (const [provider, by] of Object.entries(versions)) {
        await parts.kept.takeAll(writing(context, tx, after), provider, by)
        // The next start goes by what was chosen here.
        await forgetSwitch(tx, provider)
      }
      await endFallBacks(writing(context, tx, after), versions)
    })
  }
}
