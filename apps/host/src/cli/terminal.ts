/** `muster exec -t`: a command at a terminal in a worker, which with `-i` is this one. */
import { spawnSync } from 'node:child_process'
import type { TerminalSize } from '@muster/client'
import type { Command } from 'commander'
import { openClient } from './context.ts'
import { stopSignals, write } from './follow.ts'
import { exits, say } from './io.ts'
import { exitCodeOf } from './outcome.ts'

export interface TerminalOptions {
  argv: string[]
  command: Command
  env: Record<string, string>
  workdir?: string
  user?: string
  timeout?: number
  interactive?: true
}

/** Where nobody looks at it, as in a pipe; what the VT100 had. */
const USUAL: TerminalSize = { columns: 80, rows: 24 }

/** The exit code of this process. */
export async function atTerminal(worker: string, options: TerminalOptions): Promise<number> {
  const { argv, command, env, workdir, user, timeout } = options
  const typing = options.interactive === true
  if (typing && !process.stdin.isTTY) {
    say('standard input is no terminal: leave --tty out to pass it on as it is')
    return exits.usage
  }
  const client = await openClient(command)
  const over = new AbortController()
  // A longer timer would fire at once; the daemon ends a terminal long before.
  const late = timeout === undefined ? undefined : AbortSignal.timeout(Math.min(timeout, 2 ** 31 - 1))
  const signal = AbortSignal.any([over.signal, ...(late === undefined ? [] : [late])])
  const keys = listen(typing)
  const stop = (): void => over.abort()
  for (const name of stopSignals) process.on(name, stop)
  try {
    const terminal = await client.workers.terminal(worker, {
      command: argv,
      stdin: typing,
      ...sizeNow(),
      ...(Object.keys(env).length === 0 ? {} : { env }),
      ...(workdir === undefined ? {} : { workdir }),
      ...(user === undefined ? {} : { user }),
      input: keys.input,
      signal,
    })
    // Not before there is somebody to type for: until then Ctrl-C ends this.
    keys.raw()
    for await (const data of terminal.output) await write(process.stdout, data)
    keys.close()
    const { code, line } = exitCodeOf(terminal.exit())
    if (line !== undefined) say(line)
    return code
  } catch (error) {
    keys.close()
    if (late?.aborted === true) {
      say('timed out')
      return exits.timeout
    }
    if (over.signal.aborted) return exits.cancelled
    throw error
  } finally {
    keys.close()
    for (const name of stopSignals) process.removeListener(name, stop)
  }
}

interface Keys {
  input: AsyncIterable<Uint8Array | TerminalSize>
  /** Every key goes on as it is, until `close`. */
  raw(): void
  /** Gives the terminal back as it was; may be called again. */
  close(): void
}

/** What is typed here, and each other size of this terminal. */
function listen(typing: boolean): Keys {
  const { stdin, stdout } = process
  const seen: (Uint8Array | TerminalSize)[] = []
  let state: 'open' | 'ended' | 'closed' = 'open'
  let wake: () => void = () => undefined
  const add = (one: Uint8Array | TerminalSize): void => {
    seen.push(one)
    wake()
  }
  const onResize = (): void => add(sizeNow())
  const onEnd = (): void => {
    if (state === 'open') state = 'ended'
    wake()
  }
  const restore = (): void => {
    if (stdin.isTTY && stdin.isRaw) stdin.setRawMode(false)
  }
  stdout.on('resize', onResize)
  // Whatever ends this process, but for a kill that nobody hears.
  process.on('exit', restore)

  async function* input(): AsyncGenerator<Uint8Array | TerminalSize> {
    for (;;) {
      const next = seen.shift()
      if (next !== undefined) yield next
      // Without typing its end means nothing; sizes go on.
      else if (state === 'closed' || (state === 'ended' && typing)) return
      else await new Promise<void>((resolve) => (wake = resolve))
    }
  }

  return {
    input: input(),
    raw() {
      if (!typing || state !== 'open') return
      stdin.setRawMode(true)
      // Node leaves the output cooked: a newline that only moves down would go to the left as well. Without stty it is a blemish.
      spawnSync('stty', ['-opost'], { stdio: ['inherit', 'ignore', 'ignore'] })
      stdin.on('data', add).on('end', onEnd).resume()
    },
    close() {
      state = 'closed'
      stdout.removeListener('resize', onResize)
      process.removeListener('exit', restore)
      restore()
      if (typing) stdin.removeListener('data', add).removeListener('end', onEnd).pause()
      wake()
    },
  }
}

function sizeNow(): TerminalSize {
  const { columns, rows } = process.stdout
  return columns > 0 && rows > 0 ? { columns, rows } : USUAL
}
