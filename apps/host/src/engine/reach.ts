/** What somebody does with a worker that lives, beside its runs: files in and out, a connection to one of its ports, a terminal. */
import { type ExecSpec, ProviderError, type TerminalSize, type WorkerExit, type WorkerTarget } from '@muster/core'
import type { GuardedProvider, GuardedSession } from '../plugins/api.ts'
import type { Engine } from './api.ts'
import type { Copies } from './copies.ts'
import { newId } from '../store/ids.ts'
import { missingProvider, RunError } from './runs-api.ts'

/**
 * Errors of all: RunError `not-found` (no live worker), `not-ready` (it takes nothing now), `unsupported` (its provider cannot), StoreError,
 * and the ProviderError of the call itself.
 */
export interface Reach {
  /** Unpacks a tar under a path, once all of it is here: cut off before that, it changes nothing; after that, nobody cuts it off. */
  copyIn(workerId: string, copy: Reaching & { path: string; tar: AsyncIterable<Uint8Array> }): Promise<void>
  /** A tar of a path: one tree, named by the last part of the path. */
  copyOut(workerId: string, copy: Reaching & { path: string }): Promise<AsyncIterable<Uint8Array>>
  /** A connection to a port inside: `input` goes there, the result comes from there. */
  forward(workerId: string, to: Reaching & { port: number; input: AsyncIterable<Uint8Array> }): Promise<AsyncIterable<Uint8Array>>
  /** A command at a terminal: it ends with the signal, and nobody attaches to it again. */
  terminal(workerId: string, at: Reaching & AtTerminal): Promise<Terminal>
}

export interface AtTerminal {
  command: Pick<ExecSpec, 'command' | 'env' | 'workdir' | 'user'> & { tty: TerminalSize }
  /** Absent: it reads end-of-file. */
  input?: AsyncIterable<Uint8Array>
}

export interface Terminal {
  output: AsyncIterable<Uint8Array>
  /** Settles after the output. */
  exit: Promise<WorkerExit>
  /** Of one that has ended: nothing happens. */
  resize(size: TerminalSize): Promise<void>
}

/** Who reaches into a worker, and until when. */
export interface Reaching {
  principal: string
  signal: AbortSignal
}

type Ability = 'copy files in' | 'copy files out' | 'forward ports' | 'open a terminal'

/** A working day: whoever forgets a terminal does not hold its plugin's process for ever. */
const TERMINAL_MS = 12 * 3_600_000

/** An engine under load starts a command within seconds; whoever sits there waits no longer. */
const BEGIN_MS = 60_000

/** A worker takes these once it is there, and until it is to end. */
const phases: readonly string[] = ['starting', 'idle', 'leased', 'draining']

export function reachOf(engine: Engine, copies: Copies): Reach {
  /** Finds the worker, and stores who reaches into it and what for. */
  async function enter(
    id: string,
    {
      principal,
      ability,
      able,
      inputs,
    }: { principal: string; ability: Ability; able: (of: GuardedProvider) => boolean; inputs: object },
  ): Promise<{ provider: GuardedProvider; target: WorkerTarget }> {
    const worker = engine.workers.get(id)
    if (worker === undefined) throw new RunError('not-found', `no live worker ${id}`)
    const provider = engine.providerOf(worker)
    if (provider === undefined) throw missingProvider(worker)
    if (!able(provider)) throw new RunError('unsupported', `provider '${worker.provider}' cannot ${ability}`)
    if (!phases.includes(worker.phase)) throw new RunError('not-ready', `worker ${id} is ${worker.phase}`)
    await engine.store.write((tx, after) =>
      engine.journal.append(tx, after, {
        rule: 'worker-reached',
        decision: ability,
        pool: worker.pool,
        provider: worker.provider,
        workerId: id,
        inputs: { principal, ...inputs },
      }),
    )
    return { provider, target: engine.workers.target(worker) }
  }

  /** A session that begins in time. */
  async function inTime(signal: AbortSignal, start: (until: AbortSignal) => Promise<GuardedSession>): Promise<GuardedSession> {
    const late = new AbortController()
    const cancel = engine.clock.after(BEGIN_MS, () => late.abort())
    try {
      return await start(AbortSignal.any([signal, late.signal]))
    } catch (error) {
      if (!late.signal.aborted || signal.aborted) throw error
      throw new ProviderError('deadline', `the command at the terminal did not begin within ${BEGIN_MS / 1000} s`, {
        hint: 'Look whether the provider is well: muster providers.',
        cause: error,
      })
    } finally {
      cancel()
    }
  }

  return {
    async copyIn(id, { path, tar, principal, signal }) {
      const { provider, target } = await enter(id, {
        principal,
        ability: 'copy files in',
        able: (of) => of.capabilities.copy?.in === true,
        inputs: { path },
      })
      const before = engine.workers.get(id)?.lease_id
      await using copy = await copies.whole(tar)
      signal.throwIfAborted()
      // A large one takes its time: whoever has the worker by now asked for none of it.
      const now = engine.workers.get(id)
      if (now === undefined || !phases.includes(now.phase) || now.lease_id !== before)
        throw new RunError('conflict', `worker ${id} went to somebody else, or ended, while the copy came`)
      await provider.copyIn(target, { path, tar: copy.bytes() })
    },

    async copyOut(id, { path, principal, signal }) {
      const { provider, target } = await enter(id, {
        principal,
        ability: 'copy files out',
        able: (of) => of.capabilities.copy?.out === true,
        inputs: { path },
      })
      return begun(provider.copyOut(target, path, { signal }))
    },

    async forward(id, { port, input, principal, signal }) {
      const { provider, target } = await enter(id, {
        principal,
        ability: 'forward ports',
        able: (of) => of.capabilities.forward,
        inputs: { port },
      })
      return provider.forward(target, { port, input }, { signal })
    },

    async terminal(id, { command, input, principal, signal }) {
      const { provider, target } = await enter(id, {
        principal,
        ability: 'open a terminal',
        able: (of) => of.capabilities.exec?.tty === true,
        inputs: { command: command.command },
      })
      const exec = newId('x')
      const session = await inTime(signal, (until) =>
        provider.exec(
          target,
          {
            ...command,
            id: exec,
            stdin: input !== undefined,
            from: { stdout: 0, stderr: 0 },
            ...(input === undefined ? {} : { input }),
          },
          { idempotencyKey: exec, signal: until, timeoutMs: TERMINAL_MS },
        ),
      )
      session.exit.catch(() => undefined)
      return {
        output: dataOf(session.output),
        exit: session.exit,
        resize: (size) => session.resize(size, { signal }),
      }
    },
  }
}

async function* dataOf(chunks: AsyncIterable<{ data: Uint8Array }>): AsyncGenerator<Uint8Array> {
  for await (const { data } of chunks) yield data
}

/** A stream that has begun: what is wrong from the start is thrown here, before anything is answered. */
async function begun(source: AsyncIterable<Uint8Array>): Promise<AsyncIterable<Uint8Array>> {
  const iterator = source[Symbol.asyncIterator]()
  const first = await iterator.next()
  return (async function* () {
    try {
      for (let next = first; next.done !== true; next = await iterator.next()) yield next.value
    } finally {
      await iterator.return?.()
    }
  })()
}
