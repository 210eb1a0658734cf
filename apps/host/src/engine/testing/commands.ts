/** Commands in the workers of a scripted provider: they write and end as they are told, and are read by exec and by logs. */
import { type ExecChunk, type LogChunk, ProviderError, type WorkerExit } from '@muster/core'
import type { ScriptedProvider } from './vendor.ts'

export interface Commands {
  /** Ids of commands, as they were started: the same one twice would have run twice. */
  readonly started: string[]
  /** How often output was asked for. */
  asked(): number
  write(worker: string, text: string): void
  end(worker: string, code: number): void
  /** Breaks all that is read now. */
  cut(error: ProviderError): void
}

interface Command {
  output: Buffer
  exit?: WorkerExit
}

/** Lends the provider exec and logs. `fault` is asked for each call. */
export function commandsIn(provider: ScriptedProvider, fault: () => ProviderError | undefined): Commands {
  const commands = new Map<string, Command>()
  const started: string[] = []
  const changed = new Set<(error?: ProviderError) => void>()
  let asked = 0

  function commandOf(worker: string): Command {
    const command = commands.get(worker) ?? { output: Buffer.alloc(0) }
    commands.set(worker, command)
    return command
  }

  function tell(error?: ProviderError): void {
    for (const wake of changed) wake(error)
  }

  function change(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const wake = (error?: ProviderError): void => {
        changed.delete(wake)
        signal?.removeEventListener('abort', abort)
        if (error === undefined) resolve()
        else reject(error)
      }
      const abort = (): void => wake()
      changed.add(wake)
      signal?.addEventListener('abort', abort)
    })
  }

  async function* output(command: Command, from: number, signal?: AbortSignal): AsyncGenerator<{ offset: number; data: Buffer }> {
    for (let offset = from; signal?.aborted !== true;) {
      const data = command.output.subarray(offset)
      if (data.length > 0) {
        yield { offset, data }
        offset += data.length
      } else if (command.exit !== undefined) return
      else await change(signal)
    }
  }

  function enter(): void {
    asked += 1
    const error = fault()
    if (error !== undefined) throw error
  }

  provider.exec = async ({ id: worker }, { id, from }, options) => {
    enter()
    const command = commandOf(worker)
    if (!started.includes(id)) started.push(id)
    const exit = Promise.withResolvers<WorkerExit>()
    exit.promise.catch(() => undefined)
    async function* chunks(): AsyncGenerator<ExecChunk> {
      try {
        for await (const { offset, data } of output(command, from.stdout, options?.signal))
          yield { stream: 'stdout', offset, data }
        if (command.exit === undefined) throw new ProviderError('cancelled', 'nobody waits any more')
        exit.resolve(command.exit)
      } catch (error) {
        exit.reject(error)
        throw error
      }
    }
    return { output: chunks(), exit: exit.promise, resize: async () => undefined }
  }
  provider.execState = async (_target, id) => ({ state: started.includes(id) ? 'running' : 'unknown' })
  provider.logs = async function* ({ id: worker }, { cursor }, options): AsyncGenerator<LogChunk> {
    enter()
    for await (const { offset, data } of output(commandOf(worker), Number(cursor ?? 0), options?.signal))
      yield { stream: 'stdout', cursor: String(offset + data.length), data }
  }

  return {
    started,
    asked: () => asked,
    cut: tell,
    write(worker, text) {
      const command = commandOf(worker)
      command.output = Buffer.concat([command.output, Buffer.from(text)])
      tell()
    },
    end(worker, code) {
      commandOf(worker).exit = { code, reason: 'it ended' }
      const made = provider.vendor.workers.get(worker)
      if (made?.spec.work.mode === 'command') {
        made.phase = 'exited'
        made.exit = { code, reason: 'it ended' }
        provider.announce(worker)
      }
      tell()
    },
  }
}
