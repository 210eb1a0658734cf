/**
 * Many commands of `muster` in one process: each with its own parser, client, output and exit code, and all with the process's signals. Started with
 * a channel to whoever asks for them (`commands.test.helper.ts`); ends with it.
 */
import { AsyncLocalStorage } from 'node:async_hooks'
import { stopSignals } from '../cli/follow.ts'
import { createProgram } from '../cli/program.ts'

export interface Asked {
  key: string
  args: string[]
}

export interface Ended {
  key: string
  code: number
  stdout: string
  stderr: string
}

/** The command that writes or leaves; what a signal leads to has none, and is the process's own. */
const running = new AsyncLocalStorage<Ended>()

for (const name of ['stdout', 'stderr'] as const) {
  const stream = process[name]
  const write = stream.write.bind(stream)
  stream.write = (chunk: string | Uint8Array, ...more: unknown[]): boolean => {
    const one = running.getStore()
    if (one === undefined) return write(chunk, ...(more as []))
    one[name] += Buffer.from(chunk as Uint8Array).toString()
    more.filter((given) => typeof given === 'function').forEach((done) => (done as () => void)())
    return true
  }
}

const exit = process.exit.bind(process)
process.exit = ((code?: number): void => {
  const one = running.getStore()
  if (one === undefined) exit(code)
  else one.code = code ?? 0
}) as typeof process.exit

// Each command listens for itself. What the first listener was made in is what all of them are called in: no command's.
process.setMaxListeners(0)
for (const name of stopSignals) process.on(name, () => undefined)
process.on('disconnect', () => exit(0))
process.on('message', ({ key, args }: Asked) => {
  const one: Ended = { key, code: Number.NaN, stdout: '', stderr: '' }
  void running
    .run(one, () => createProgram().parseAsync(args, { from: 'user' }))
    .then(
      () => process.send?.(one),
      (error: unknown) => process.send?.({ ...one, stderr: `${one.stderr}${String(error)}\n` }),
    )
})
