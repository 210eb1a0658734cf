/** Defects of exec. */
import { join } from 'node:path'
import { ProviderError } from '../../errors.ts'
import type { ExecChunk, ExecSession } from '../../provider.ts'
import type { WorkerId } from '../../spec.ts'
import { pidOf, signalQuietly } from '../fake/cell.ts'
import { type Defect, whole } from './defect.test.helper.ts'

async function* never(): AsyncGenerator<Uint8Array> {
  await new Promise(() => {})
  yield new Uint8Array()
}

/** Changes the chunks of a session's output. */
function outputting(session: ExecSession, change: (chunk: ExecChunk) => ExecChunk): ExecSession {
  async function* output(): AsyncGenerator<ExecChunk> {
    for await (const chunk of session.output) yield change(chunk)
  }
  return { ...session, output: output() }
}

/** An id of the same form, and surely not the same. */
function otherId(id: string): string {
  return `${id.slice(0, -1)}${id.endsWith('0') ? '1' : '0'}`
}

export const execDefects: readonly Defect[] = [
  {
    name: 'exec takes every 137 for lack of memory',
    caughtBy: 'exec tells exit codes 0, 1, 137 and 143 as they are',
    wrap: (provider) => ({
      async exec(target, command, call) {
        const session = await whole(provider).exec(target, command, call)
        const exit = session.exit.then((one) => (one.code === 137 ? { ...one, oomKilled: true } : one))
        exit.catch(() => undefined)
        return { ...session, exit }
      },
    }),
  },
  {
    name: 'output of exec is taken for UTF-8',
    caughtBy: 'exec keeps stdout and stderr apart, whole and byte for byte',
    wrap: (provider) => ({
      async exec(target, command, call) {
        const session = await whole(provider).exec(target, command, call)
        return outputting(session, (chunk) => ({ ...chunk, data: chunk.data.map((byte) => (byte === 0xff ? 0x3f : byte)) }))
      },
    }),
  },
  {
    name: 'standard input is cut after 512 KiB',
    caughtBy: 'exec passes standard input whole, and its end',
    wrap: (provider) => ({
      exec(target, { input, ...command }, call) {
        if (input === undefined) return whole(provider).exec(target, command, call)
        async function* cut(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
          let left = 512 * 1024
          for await (const part of source) {
            if (left > 0) yield part.subarray(0, left)
            left -= part.length
          }
        }
        return whole(provider).exec(target, { ...command, input: cut(input) }, call)
      },
    }),
  },
  {
    name: 'a command without input waits for one',
    caughtBy: 'a command without standard input reads its end at once',
    wrap: (provider) => ({
      exec: (target, command, call) =>
        whole(provider).exec(target, command.stdin ? command : { ...command, stdin: true, input: never() }, call),
    }),
  },
  {
    name: 'the workdir of a command is dropped',
    caughtBy: 'exec gives the command its env and its workdir',
    wrap: (provider) => ({
      exec: (target, { workdir: _workdir, ...command }, call) => whole(provider).exec(target, command, call),
    }),
  },
  {
    name: 'the user of a command is dropped',
    caughtBy: 'exec runs the command as the user that was asked for',
    wrap: (provider) => ({ exec: (target, { user: _user, ...command }, call) => whole(provider).exec(target, command, call) }),
  },
  {
    name: 'a worker has room for nineteen commands',
    caughtBy: 'twenty commands run in one worker at once',
    wrap(provider) {
      const running = new Map<WorkerId, number>()
      const count = (id: WorkerId, more: number): void => void running.set(id, (running.get(id) ?? 0) + more)
      return {
        async exec(target, command, call) {
          if ((running.get(target.id) ?? 0) >= 19) throw new ProviderError('transient', 'no more sessions', { effect: 'none' })
          count(target.id, 1)
          try {
            const session = await whole(provider).exec(target, command, call)
            const over = (): void => count(target.id, -1)
            session.exit.then(over, over)
            return session
          } catch (error) {
            count(target.id, -1)
            throw error
          }
        },
      }
    },
  },
  {
    name: 'a running command is started a second time',
    caughtBy: 'the same command id attaches and never starts twice',
    wrap: (provider) => ({
      async exec(target, command, call) {
        const { state } = await whole(provider)
          .execState(target, command.id, call)
          .catch(() => ({ state: 'unknown' }))
        const again = state === 'running' && command.from.stdout === 0 && command.from.stderr === 0
        return await whole(provider).exec(target, again ? { ...command, id: otherId(command.id) } : command, call)
      },
    }),
  },
  {
    name: 'who attaches at the end gets the last byte again',
    caughtBy: 'exec goes on from any offset without a byte lost or doubled',
    wrap: (provider) => ({
      async exec(target, command, call) {
        const session = await whole(provider).exec(target, command, call)
        const { stdout } = command.from
        async function* output(): AsyncGenerator<ExecChunk> {
          let none = true
          for await (const chunk of session.output) {
            none &&= chunk.stream !== 'stdout'
            yield chunk
          }
          if (none && stdout > 1000) yield { stream: 'stdout', offset: stdout, data: Buffer.from('\n') }
        }
        return { ...session, output: output() }
      },
    }),
  },
  {
    name: 'commands end with the plugin process that started them',
    caughtBy: 'a command survives SIGKILL of the plugin: the rest of its output and its exit are right',
    wrap: (provider, { control, life }) => ({
      async exec(target, command, call) {
        const cell = join(control.dir, 'workers', target.id, 'exec', command.id)
        const started = pidOf(cell) === undefined
        const session = await whole(provider).exec(target, command, call)
        const pid = pidOf(cell)
        if (started && pid !== undefined) life.onEnd(() => signalQuietly(-pid, 'SIGKILL'))
        return session
      },
    }),
  },
  {
    name: 'a command ends when nobody listens',
    caughtBy: 'a command goes on when nobody listens any more',
    wrap: (provider, { control, life }) => ({
      async exec(target, command, call) {
        const session = await whole(provider).exec(target, command, call)
        const pid = pidOf(join(control.dir, 'workers', target.id, 'exec', command.id))
        call.signal.addEventListener('abort', () => {
          void life.step('abort').then(() => (pid === undefined ? undefined : signalQuietly(-pid, 'SIGKILL')))
        })
        return session
      },
    }),
  },
  {
    name: 'an ended command is forgotten',
    caughtBy: 'the state of a command is running, then exited with its exit; of an unknown one unknown',
    wrap: (provider) => ({
      async execState(target, id, call) {
        const found = await whole(provider).execState(target, id, call)
        return found.state === 'exited' ? { state: 'unknown' } : found
      },
    }),
  },
  {
    name: 'a signal reaches the first process of a command only',
    caughtBy: 'a command is ended by the signal that was asked for, its children too',
    wrap: (_provider, { control }) => ({
      execKill(target, { id, signal }) {
        const pid = pidOf(join(control.dir, 'workers', target.id, 'exec', id))
        if (pid !== undefined) signalQuietly(pid, signal)
        return Promise.resolve()
      },
    }),
  },
  {
    name: 'exec in no worker is a fault of the plugin',
    caughtBy: 'exec in a worker that is not there is not-found',
    wrap: (provider) => ({
      exec: (target, command, call) =>
        whole(provider)
          .exec(target, command, call)
          .catch((error: unknown) => {
            if (error instanceof ProviderError && error.code === 'not-found') throw new Error('no such folder')
            throw error
          }),
    }),
  },
]
