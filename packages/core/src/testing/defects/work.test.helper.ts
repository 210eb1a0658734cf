/** Defects of what workers do, and of the fields of their specs. */
import type { WorkerExit, WorkerObservation, WorkerProvider } from '../../provider.ts'
import type { WorkerId } from '../../spec.ts'
import { type Defect, inspecting, listing, observing, recordOf } from './defect.test.helper.ts'

/** Exits as they are told in observations. */
function exiting(
  provider: WorkerProvider,
  change: (exit: WorkerExit, id: WorkerId) => WorkerExit | undefined,
): Partial<WorkerProvider> {
  return observing(provider, ({ exit, ...one }) => {
    const told = exit === undefined ? undefined : change(exit, one.id)
    return told === undefined ? one : { ...one, exit: told }
  })
}

export const workDefects: readonly Defect[] = [
  {
    name: 'agents are quietly held instead',
    caughtBy: 'a work mode that is not declared is refused by its path',
    wrap: (provider) => ({
      launch: (spec, call) => provider.launch(spec.work.mode === 'agent' ? { ...spec, work: { mode: 'hold' } } : spec, call),
    }),
  },
  {
    name: 'an exit with 143 is taken for a good end',
    caughtBy: 'exit codes 0, 1, 137 and 143 of a command are told as they are',
    wrap: (provider) => exiting(provider, (exit) => (exit.code === 143 ? { ...exit, code: 0 } : exit)),
  },
  {
    name: 'the end by a signal is told as the signal’s own number',
    caughtBy: 'a signal that ends a command is told',
    wrap: (provider, { control }) =>
      exiting(provider, (exit, id) =>
        exit.code === 137 && recordOf(control.dir, id)?.command?.includes('kill -KILL $$') === true ? { ...exit, code: 9 } : exit,
      ),
  },
  {
    name: 'the end by lack of memory is an end like any other',
    caughtBy: 'a command that runs out of memory is told from one that is killed',
    wrap: (provider) => exiting(provider, ({ oomKilled: _oomKilled, ...exit }) => exit),
  },
  {
    name: 'an exited worker is removed when its exit was asked for often enough',
    caughtBy: 'an exited worker stays, with its exit, until it is terminated',
    wrap(provider) {
      const looks = new Map<WorkerId, number>()
      const stays = ({ id }: WorkerObservation): boolean => (looks.get(id) ?? 0) <= 4
      return {
        ...listing(provider, (page) => ({ ...page, workers: page.workers.filter(stays) })),
        ...inspecting(provider, (seen) => {
          for (const { id, exit } of seen) if (exit !== undefined) looks.set(id, (looks.get(id) ?? 0) + 1)
          return seen.filter(stays)
        }),
      }
    },
  },
  {
    name: 'a held worker is never known to be ready',
    caughtBy: 'a held worker becomes ready and runs until it is terminated',
    wrap: (provider, { control }) =>
      observing(provider, (one) => (recordOf(control.dir, one.id)?.readiness === undefined ? { ...one, ready: 'unknown' } : one)),
  },
  {
    name: 'readiness checks are not made',
    caughtBy: 'ready follows the readiness check',
    wrap: (provider) => observing(provider, (one) => ({ ...one, ready: one.phase === 'running' })),
  },
  {
    name: 'lifetimes are not kept',
    caughtBy: 'a worker ends at its lifetime',
    wrap: (provider) => ({ launch: ({ lifetimeMs: _lifetimeMs, ...spec }, call) => provider.launch(spec, call) }),
  },
  {
    name: 'problems after acceptance are not shown',
    caughtBy: 'a problem that comes after acceptance is shown',
    wrap: (provider) => observing(provider, ({ problem: _problem, ...one }) => one),
  },
  {
    name: 'epochs are not compared',
    caughtBy: 'a call of a term that is over changes nothing',
    wrap: (provider) => ({
      launch: (spec, call) => provider.launch(spec, { ...call, epoch: 5 }),
      terminate: (target, how, call) => provider.terminate(target, how, { ...call, epoch: 5 }),
    }),
  },
]

export const fieldDefects: readonly Defect[] = [
  {
    name: 'labels are dropped',
    caughtBy: 'every declared field is seen inside the worker',
    wrap: (provider) => ({ launch: ({ labels: _labels, ...spec }, call) => provider.launch(spec, call) }),
  },
  {
    name: 'credentials are dropped, not refused',
    caughtBy: 'every field that is not declared is refused by its path',
    wrap: (provider) => ({ launch: ({ credentials: _credentials, ...spec }, call) => provider.launch(spec, call) }),
  },
  {
    name: 'line ends at the end of env values are lost',
    caughtBy: 'env arrives byte for byte',
    wrap: (provider) => ({
      launch({ env, ...spec }, call) {
        const trimmed =
          env === undefined
            ? {}
            : { env: Object.fromEntries(Object.entries(env).map(([name, value]) => [name, value.trimEnd()])) }
        return provider.launch({ ...spec, ...trimmed }, call)
      },
    }),
  },
  {
    name: 'modes of files are not set',
    caughtBy: 'files arrive byte for byte, with their mode',
    wrap: (provider) => ({
      launch: ({ files, ...spec }, call) =>
        provider.launch(files === undefined ? spec : { ...spec, files: files.map(({ mode: _mode, ...file }) => file) }, call),
    }),
  },
  {
    name: 'env that is too large is cut',
    caughtBy: 'env beyond the declared size is refused by its path',
    wrap: (provider) => ({
      launch(spec, call) {
        const env = Object.fromEntries(Object.entries(spec.env ?? {}).map(([name, value]) => [name, value.slice(0, 10_000)]))
        return provider.launch(spec.env === undefined ? spec : { ...spec, env }, call)
      },
    }),
  },
  {
    name: 'an image is chosen where none was named',
    caughtBy: 'a missing image is refused by its path where one is required',
    capabilities: { image: 'required' },
    wrap: (provider) => ({ launch: (spec, call) => provider.launch({ image: 'fake/usual', ...spec }, call) }),
  },
]
