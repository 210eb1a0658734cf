/** A command at a terminal as a session of the contract: what it shows, and how it ends. */
import { type ExecChunk, type ExecSession, ProviderError, type WorkerExit } from '@muster/core'
import { withoutEcho } from './terminal-echo.ts'

export interface AtTerminal {
  /** What is shown after the line by which the command began. */
  shown: AsyncIterator<Buffer>
  /** Asked once all of that was read. */
  exitCode(): Promise<number>
  signal: AbortSignal
  /** What a failure is to whoever reads; default: what it is. */
  toFailure?(error: unknown): unknown
}

/** Largest chunk of the contract. */
const CHUNK_BYTES = 65_536

/** `over`: told whether the command has ended by itself; of what it is told the first counts. */
export function terminalSession(
  { shown, exitCode, signal, toFailure = (error) => error }: AtTerminal,
  over: (ended: boolean) => void,
): ExecSession {
  const exit = Promise.withResolvers<WorkerExit>()
  exit.promise.catch(() => undefined)
  const giveUp = (): void => {
    over(false)
    exit.reject(toFailure(signal.reason))
  }
  // Also while nobody reads.
  signal.addEventListener('abort', giveUp, { once: true })
  if (signal.aborted) giveUp()

  async function* output(): AsyncGenerator<ExecChunk> {
    let [offset, ended] = [0, false]
    try {
      // The terminal shows what was typed to begin with.
      for await (const bytes of withoutEcho(shown))
        for (let rest = bytes; rest.length > 0; rest = rest.subarray(CHUNK_BYTES)) {
          const data = rest.subarray(0, CHUNK_BYTES)
          yield { stream: 'stdout', offset, data }
          offset += data.length
        }
      const code = await exitCode()
      ended = true
      exit.resolve({ code, reason: `exited with code ${code}` })
    } catch (error) {
      const failure = toFailure(error)
      exit.reject(failure)
      throw failure
    } finally {
      signal.removeEventListener('abort', giveUp)
      exit.reject(new ProviderError('cancelled', 'the output was not read to its end', { effect: 'possible' }))
      over(ended)
    }
  }
  return { output: output(), exit: exit.promise }
}
