/** Defects of what workers do, and of the fields of their specs. */
import type { Call, WorkerExit, WorkerObservation, WorkerProvider } from '../../provider.ts'
import type { WorkerId } from '../../spec.ts'
import { ticketFile } from '../fake/translate.ts'
import { newExecId } from '../ids.ts'
import { type Defect, inspecting, listing, observing, recordOf, whole } from './defect.test.helper.ts'

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

const agents = { work: ['command' as const, 'hold' as const, 'agent' as const] }

export const agentDefects: readonly Defect[] = [
  {
    name: 'an agent gets the address of the host without its path',
    caughtBy: 'an agent gets its ticket and the address of the host as they are, and opens its session with them',
    capabilities: agents,
    wrap: (provider) => ({
      launch: ({ work, ...spec }, call) =>
        provider.launch({ ...spec, work: work.mode === 'agent' ? { ...work, url: new URL(work.url).origin } : work }, call),
    }),
  },
  {
    name: 'an agent gets a ticket without its last letter',
    caughtBy: 'an agent gets its ticket and the address of the host as they are, and opens its session with them',
    capabilities: agents,
    wrap: (provider) => ({
      launch: ({ work, ...spec }, call) =>
        provider.launch(
          { ...spec, work: work.mode === 'agent' ? { ...work, ticket: { $secret: work.ticket.$secret.slice(0, -1) } } : work },
          call,
        ),
    }),
  },
  {
    name: 'the ticket is told with the worker',
    caughtBy: 'the ticket of an agent is in no handle and no observation',
    capabilities: agents,
    wrap: (provider, { control }) =>
      observing(provider, (one) => {
        const record = recordOf(control.dir, one.id)
        const file = record?.agent === undefined ? undefined : record.files.find(({ path }) => path === ticketFile)
        return file === undefined ? one : { ...one, part: Buffer.from(file.base64, 'base64').toString().slice(-43) }
      }),
  },
  {
    name: 'a launch that is repeated starts the agent again',
    caughtBy: 'a launch that is repeated starts no second agent: its ticket is good once',
    capabilities: agents,
    wrap(provider, { control }) {
      const launches = new Map<WorkerId, number>()
      return {
        async launch(spec, call) {
          const answer = await provider.launch(spec, call)
          const count = (launches.get(spec.id) ?? 0) + 1
          launches.set(spec.id, count)
          const command = recordOf(control.dir, spec.id)?.command
          if (count === 3 && spec.work.mode === 'agent' && command !== undefined)
            await startAgain(whole(provider), { id: spec.id, command, call })
          return answer
        },
      }
    },
  },
  {
    name: 'the end of an agent is taken for a good one',
    caughtBy: 'an agent that ends is told with its exit, and the worker stays until it is terminated',
    capabilities: agents,
    wrap: (provider, { control }) =>
      exiting(provider, (exit, id) => (recordOf(control.dir, id)?.agent === undefined ? exit : { ...exit, code: 0 })),
  },
  {
    name: 'an agent lives on when its worker is gone',
    caughtBy: 'an agent asks nothing more once its worker is gone',
    capabilities: agents,
    wrap: (provider, { control }) => ({
      async terminate(target, how, call) {
        const agent = recordOf(control.dir, target.id)?.agent
        const answer = await provider.terminate(target, how, call)
        if (agent !== undefined) straggle(agent.url)
        return answer
      },
    }),
  },
]

async function startAgain(
  provider: Required<WorkerProvider>,
  { id, command, call }: { id: WorkerId; command: string[]; call: Call },
): Promise<void> {
  const input = { id: newExecId(), command, stdin: false, from: { stdout: 0, stderr: 0 } }
  const { exit } = await provider.exec({ id }, input, call)
  // It ends with its worker, and nobody waits for that.
  exit.catch(() => undefined)
}

/** What a worker left behind: nobody finds it by the worker's name. Ends by itself. */
function straggle(url: string): void {
  let left = 400
  const timer = setInterval(() => {
    left -= 1
    if (left === 0) clearInterval(timer)
    void fetch(`${url}/v1/self/beat`, { method: 'POST' }).catch(() => clearInterval(timer))
  }, 50)
  timer.unref()
}

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
