/** Defects of logs and copies. */
import { ProviderError } from '../../errors.ts'
import type { ExecSession, LogChunk } from '../../provider.ts'
import type { WorkerId } from '../../spec.ts'
import { readTar, tarOf } from '../suite/tar.ts'
import { type Defect, whole } from './defect.test.helper.ts'

export const logDefects: readonly Defect[] = [
  {
    name: 'the last line of stderr is lost unless it ends',
    caughtBy: 'logs are whole to the last line, each stream apart',
    wrap: (provider) => ({
      async *logs(target, options, call) {
        for await (const chunk of whole(provider).logs(target, options, call)) {
          const cut = chunk.stream === 'stderr' ? chunk.data.lastIndexOf(10) + 1 : chunk.data.length
          if (cut > 0) yield { ...chunk, data: chunk.data.subarray(0, cut) }
        }
      },
    }),
  },
  {
    name: 'who has read the logs before loses a byte when resuming',
    caughtBy: 'logs resume after every chunk without loss or doubling',
    wrap(provider) {
      const read = new Set<WorkerId>()
      return {
        async *logs(target, options, call) {
          let skip = options.cursor !== undefined && read.has(target.id)
          if (options.cursor === undefined) read.add(target.id)
          for await (const chunk of whole(provider).logs(target, options, call)) {
            yield skip ? { ...chunk, data: chunk.data.subarray(1) } : chunk
            skip = false
          }
        },
      }
    },
  },
  {
    name: 'logs end after a megabyte',
    caughtBy: 'logs that follow end after the exit, with all there is',
    wrap: (provider) => ({
      async *logs(target, options, call) {
        let left = 1_000_000
        for await (const chunk of whole(provider).logs(target, options, call)) {
          if (left <= 0) return
          yield chunk
          left -= chunk.data.length
        }
      },
    }),
  },
  {
    name: 'the newest output is held back until more comes',
    caughtBy: 'logs show output while the command runs',
    wrap: (provider) => ({
      async *logs(target, options, call) {
        let held: LogChunk | undefined
        for await (const chunk of whole(provider).logs(target, options, call)) {
          if (held !== undefined) yield held
          held = chunk
        }
        if (held !== undefined) yield held
      },
    }),
  },
  {
    name: 'logs always follow',
    caughtBy: 'logs that do not follow end at what is there',
    wrap: (provider) => ({ logs: (target, options, call) => whole(provider).logs(target, { ...options, follow: true }, call) }),
  },
  {
    name: 'a cursor means something only to the process that gave it',
    caughtBy: 'logs resume in another plugin process',
    wrap(provider) {
      const given = new Set<string>()
      return {
        async *logs(target, { cursor, follow }, call) {
          const known = cursor !== undefined && given.has(`${target.id} ${cursor}`)
          for await (const chunk of whole(provider).logs(target, known ? { cursor, follow } : { follow }, call)) {
            given.add(`${target.id} ${chunk.cursor}`)
            yield chunk
          }
        },
      }
    },
  },
  {
    name: 'logs of an exited worker are read whole before the first chunk is given',
    caughtBy: 'a slow reader bounds the memory of the plugin',
    ownProcess: true,
    wrap: (provider) => ({
      async *logs(target, options, call) {
        const [found] = await provider.inspect([target], call)
        const logs = whole(provider).logs(target, options, call)
        yield* found?.phase === 'exited' ? await Array.fromAsync(logs) : logs
      },
    }),
  },
]

async function remains(session: Promise<ExecSession>): Promise<void> {
  const { output, exit } = await session
  await Array.fromAsync(output)
  await exit
}

export const copyDefects: readonly Defect[] = [
  {
    name: 'copyIn loses links',
    caughtBy: 'copyIn unpacks a tree: contents, modes, links, long and empty names alike',
    wrap: (provider) => ({
      async copyIn(target, input, call) {
        await whole(provider).copyIn(target, input, call)
        const id = `x${target.id.slice(1, -4)}${Math.random().toString(36).slice(2, 6).padEnd(4, '0')}`
        const command = ['find', '.', '-type', 'l', '-delete']
        await remains(
          whole(provider).exec(target, { id, command, workdir: input.path, stdin: false, from: { stdout: 0, stderr: 0 } }, call),
        )
      },
    }),
  },
  {
    name: 'copyIn puts a file in the place of a folder',
    caughtBy: 'copyIn replaces a file with a file, and refuses a file for a folder and a folder for what is none',
    wrap: (provider) => ({
      async copyIn(target, { path, tar }, call) {
        const chunks = await Array.fromAsync(tar)
        const again = async function* (): AsyncGenerator<Uint8Array> {
          yield* chunks
        }
        try {
          await whole(provider).copyIn(target, { path, tar: again() }, call)
        } catch (error) {
          if (!(error instanceof ProviderError && error.path === path)) throw error
          const id = `x${target.id.slice(1, -4)}${Math.random().toString(36).slice(2, 6).padEnd(4, '0')}`
          const command = ['rm', '-rf', ...readTar(Buffer.concat(chunks)).map(({ name }) => name)]
          await remains(
            whole(provider).exec(target, { id, command, workdir: path, stdin: false, from: { stdout: 0, stderr: 0 } }, call),
          )
          await whole(provider).copyIn(target, { path, tar: again() }, call)
        }
      },
    }),
  },
  {
    name: 'copyOut gives what is in a folder, without the folder',
    caughtBy: 'copyOut gives one tree, named by the last part of its path',
    wrap: (provider) => ({
      async *copyOut(target, path, call) {
        const entries = readTar(Buffer.concat(await Array.fromAsync(whole(provider).copyOut(target, path, call))))
        const inner = entries.filter(({ name }) => name.includes('/'))
        const stripped = inner.map((entry) => ({ ...entry, name: entry.name.slice(entry.name.indexOf('/') + 1) }))
        const tar = tarOf(inner.length === 0 ? entries : stripped)
        for (let at = 0; at < tar.length; at += 65_536) yield tar.subarray(at, at + 65_536)
      },
    }),
  },
  {
    name: 'copyOut of nothing is an empty archive',
    caughtBy: 'copyOut of a path that is not there is not-found, with the path',
    wrap: (provider) => ({
      async *copyOut(target, path, call) {
        try {
          yield* whole(provider).copyOut(target, path, call)
        } catch (error) {
          if (!(error instanceof ProviderError && error.path === path)) throw error
          yield tarOf([])
        }
      },
    }),
  },
  {
    name: 'after a command that failed nothing can be copied out',
    caughtBy: 'inputs are there before a command, outputs after it, also when it fails',
    wrap(provider) {
      const failed = new Set<WorkerId>()
      return {
        async exec(target, command, call) {
          const session = await whole(provider).exec(target, command, call)
          // The one code that only the test of a failing job uses.
          session.exit.then(
            ({ code }) => (code === 3 ? failed.add(target.id) : failed),
            () => undefined,
          )
          return session
        },
        async *copyOut(target, path, call) {
          if (failed.has(target.id)) throw new ProviderError('conflict', 'the command failed', { effect: 'none' })
          yield* whole(provider).copyOut(target, path, call)
        },
      }
    },
  },
  {
    name: 'nothing can be copied out of an exited worker',
    caughtBy: 'copyOut still works when the worker has exited',
    wrap: (provider) => ({
      async *copyOut(target, path, call) {
        const [found] = await provider.inspect([target], call)
        if (found?.phase === 'exited') throw new ProviderError('conflict', 'it has exited', { effect: 'none' })
        yield* whole(provider).copyOut(target, path, call)
      },
    }),
  },
  {
    name: 'outputs of a command are not handed back',
    caughtBy: 'a command fetches its inputs and hands back its outputs, also when it fails',
    wrap: (provider) => ({
      launch(spec, call) {
        if (spec.work.mode !== 'command') return provider.launch(spec, call)
        const { outputs: _outputs, ...work } = spec.work
        return provider.launch({ ...spec, work }, call)
      },
    }),
  },
]
