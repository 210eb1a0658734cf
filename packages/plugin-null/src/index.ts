/** Worker provider that makes nothing: in memory, answers at once. The baseline for measurements of the host. */
import {
  definePlugin,
  type ListQuery,
  ProviderError,
  type WorkerObservation,
  type WorkerPlugin,
  type WorkerPluginManifest,
  type WorkerProvider,
} from '@muster/core'
import manifest from '../muster-plugin.json' with { type: 'json' }

interface NullWorker {
  /** Order of launch: the cursor of a page. */
  number: number
  observation: WorkerObservation
  spec: string
}

/** A watcher that lags further behind loses hints, as the contract allows. */
const hintLimit = 10_000

/** Workers live in this process's memory and nowhere else. */
export function nullProvider(now: () => number = Date.now): WorkerProvider {
  const workers = new Map<string, NullWorker>()
  const watchers = new Set<(observation: WorkerObservation) => void>()
  let launched = 0

  return {
    probe: () => Promise.resolve({ state: 'ready', notes: ['makes no workers: for measurements'] }),

    launch(spec) {
      const known = workers.get(spec.id)
      const text = JSON.stringify(spec)
      const handle = { v: 1, data: null }
      if (known !== undefined && known.spec !== text)
        return Promise.reject(new ProviderError('conflict', `worker ${spec.id} has another spec`, { effect: 'none' }))
      if (known === undefined) {
        const observation: WorkerObservation = { id: spec.id, handle, tags: spec.tags, phase: 'running', ready: true }
        workers.set(spec.id, { number: ++launched, observation, spec: text })
        for (const tell of watchers) tell(observation)
      }
      return Promise.resolve({ handle })
    },

    terminate(target) {
      workers.delete(target.id)
      return Promise.resolve({ state: 'gone' })
    },

    list(query) {
      const after = Number(query.cursor ?? 0)
      const page: NullWorker[] = []
      for (const worker of workers.values()) {
        if (worker.number <= after || !matches(worker.observation, query)) continue
        page.push(worker)
        if (page.length > query.limit) break
      }
      const more = page.length > query.limit
      const shown = page.slice(0, query.limit)
      const answer = { workers: shown.map(({ observation }) => observation), asOf: new Date(now()).toISOString() }
      return Promise.resolve(more ? { ...answer, next: String(shown.at(-1)?.number) } : answer)
    },

    inspect: (targets) => Promise.resolve(targets.flatMap(({ id }) => workers.get(id)?.observation ?? [])),

    async *watch(query, call) {
      const hints: WorkerObservation[] = []
      let wake = (): void => {}
      const tell = (observation: WorkerObservation): void => {
        if (hints.length < hintLimit && matches(observation, query)) hints.push(observation)
        wake()
      }
      watchers.add(tell)
      const stop = (): void => wake()
      call.signal.addEventListener('abort', stop)
      try {
        while (!call.signal.aborted) {
          yield* hints.splice(0)
          if (hints.length > 0 || call.signal.aborted) continue
          await new Promise<void>((resolve) => {
            wake = resolve
          })
        }
        call.signal.throwIfAborted()
      } finally {
        call.signal.removeEventListener('abort', stop)
        watchers.delete(tell)
      }
    },

    // Every command ends at once, well, and without a word.
    exec: () => Promise.resolve({ output: noOutput(), exit: Promise.resolve({ code: 0, reason: 'nothing ran' }) }),
    execState: () => Promise.resolve({ state: 'exited', exit: { code: 0, reason: 'nothing ran' } }),
    execKill: () => Promise.resolve(),
  }
}

export const plugin: WorkerPlugin = definePlugin({
  manifest: manifest as unknown as WorkerPluginManifest,
  create: (_config, context) => Promise.resolve(nullProvider(() => context.now())),
})

export default plugin

function matches({ tags }: WorkerObservation, query: ListQuery): boolean {
  return tags['muster-owner'] === query.tags['muster-owner'] && tags['muster-provider'] === query.tags['muster-provider']
}

async function* noOutput(): AsyncGenerator<never> {}
