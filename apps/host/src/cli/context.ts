/** What every command needs: the daemon it speaks with, and how a failure is told. */
import type { MusterClient } from '@muster/client'
import { Command, InvalidArgumentError } from 'commander'
import { parseDuration } from '../config/units.ts'
import { exits, say, tellUnwritable } from './io.ts'

export interface GlobalOptions {
  config?: string
  data?: string
  url?: string
}

/** The client of the daemon that the options mean, or of the current folder's. `onWait` is told as well when a call is put off. */
export async function openClient(command: Command, onWait?: () => void): Promise<MusterClient> {
  const { config, data, url } = command.optsWithGlobals<GlobalOptions>()
  const { connect, discover } = await import('@muster/client')
  const env = url === undefined ? process.env : { ...process.env, MUSTER_URL: url }
  const address = await discover({ env, ...(config === undefined ? {} : { config }), ...(data === undefined ? {} : { data }) })
  // Where a CI system traces its steps, what a step asks for belongs to its trace.
  return connect(address, {
    traceparent: () => process.env['TRACEPARENT'] || undefined,
    onWait: ({ message }) => {
      onWait?.()
      say(`the daemon has put this off: ${message}; waiting for it, at most a minute`)
    },
  })
}

/** Runs an action; its result is the exit code. A failure is told with its hint. */
export function acting(
  action: (args: never, options: never, command: Command) => Promise<number | undefined>,
  failed: number = exits.failed,
): (...given: unknown[]) => Promise<void> {
  return async (...given) => {
    endWithOutput(failed)
    try {
      // Commander gives the arguments one by one, then the options and the command.
      const [options, command] = given.splice(-2) as [never, Command]
      await leave((await action(given as never, options, command)) ?? exits.ok, failed)
    } catch (error) {
      await leave(tell(error, failed), failed)
    }
  }
}

/** Says what went wrong and what can be done; the exit code. */
export function tell(error: unknown, failed: number): number {
  const { name, message, hint, fix, code, problem } = error as Error & {
    hint?: string
    fix?: string
    code?: string
    problem?: { id?: string; nearest?: { pool: string; field: string; asked: string; has: string } }
  }
  if (code === 'EPIPE') return exits.pipe
  if (name === 'PluginRefusal') {
    say(`${code}: ${message}`)
    say(`fix: ${fix}`)
    return failed
  }
  if (name !== 'MusterError') {
    say(error instanceof Error ? (error.stack ?? message) : String(error))
    return failed
  }
  say(message)
  const { nearest, id } = problem ?? {}
  if (nearest?.field === 'pool') say(`did you mean pool ${nearest.pool}?`)
  else if (nearest !== undefined && !message.includes(`pool ${nearest.pool} `))
    say(`the nearest is pool ${nearest.pool}: ${nearest.field} is ${nearest.has}, not ${nearest.asked}`)
  const next = hint || (code === 'not-found' ? whatThereIs(message) : '')
  if (next !== '') say(next)
  if (id !== undefined) say(`the daemon's log has it under ${id}`)
  return failed
}

/** For a name or id that the daemon does not know: what shows those that it knows. */
export function whatThereIs(message: string): string {
  const [, kind = ''] = /\bno (?:live )?(worker|run|lease|provider|token|pool) /.exec(message) ?? []
  const all = { run: ' --all', lease: ' --all' }[kind] ?? ''
  return kind === '' ? '' : `\`muster ${kind}s${all}\` shows those that there are.`
}

/** Output that cannot be written ends the process at once. */
export function endWithOutput(failed: number = exits.failed): void {
  process.stdout.removeAllListeners('error').on('error', (error) => process.exit(tellUnwritable(error, failed)))
}

/**
 * Ends the process once everything written is out; what could not be decides over the code. Open sockets and a standard input that never ends do
 * not hold it.
 */
export async function leave(code: number, failed: number = exits.failed): Promise<void> {
  process.exitCode = code
  await Promise.all([process.stdout, process.stderr].map(flushed))
  // Of a file it is known before anybody is told of it.
  const { errored } = process.stdout
  process.exit(errored === null ? code : tellUnwritable(errored, failed))
}

function flushed(stream: NodeJS.WriteStream): Promise<void> {
  return new Promise((resolve) => {
    if (stream.destroyed || stream.writableLength === 0) return resolve()
    stream.once('close', resolve)
    stream.once('error', () => resolve())
    stream.write('', () => resolve())
  })
}

/** Says something on stderr when the work takes longer than a second, so that nobody wonders. */
export async function withProgress<T>(text: string, work: Promise<T>): Promise<T> {
  const timer = setTimeout(() => say(text), 1000)
  try {
    return await work
  } finally {
    clearTimeout(timer)
  }
}

/** When the connection ends while the daemon changes something: what is known of that, and what shows more. The call goes on by itself. */
export function tellingCut(known: string, next: string): { onCut(error: Error): void } {
  return {
    onCut: ({ message }) => {
      say(`${message}; ${known}`)
      say(`it is asked again for a minute, as a daemon that starts again answers; what is so now is shown by: ${next}`)
    },
  }
}

/** Reads an option's value, or says what it should be. */
export function parsing<T>(parse: (text: string) => T | undefined, wanted: string): (text: string) => T {
  return (text) => {
    const value = parse(text)
    if (value === undefined) throw new InvalidArgumentError(`Write ${wanted}.`)
    return value
  }
}

/** The longest that the daemon takes. */
const LONGEST_MS = 30 * 86_400_000

/** A time that something may take. Of none at all nothing would come: a run without followers begins with none. */
export const asTime: (text: string) => number = parsing((text) => {
  const value = parseDuration(text)
  return value !== undefined && value >= 1 && value <= LONGEST_MS ? value : undefined
}, 'a number and a unit from 1ms to 30d, as 30s, 5m or 2h')

/** A sub-command with what all have. */
export function subcommand(name: string, summary: string): Command {
  return addressed(new Command(name).description(summary).showHelpAfterError(HELP_HINT))
}

/** The last line of the answer to a wrong command line. The parser writes it as it is. */
export const HELP_HINT = 'muster: (add --help for all options)'

/** Which daemon is meant may be said before the command's name and after it. */
export function addressed(command: Command): Command {
  return command
    .option('-c, --config <file>', 'configuration of the daemon; default: the nearest muster.yaml')
    .option('--data <dir>', "data folder of the daemon; default: the configuration's")
    .option('--url <url>', 'address of a daemon elsewhere, with its token in MUSTER_TOKEN')
}

/** Of what is followed from here, and goes on without this process. */
export const DETACH_TIMEOUT =
  'end it when nobody has followed it for so long, as after a kill of this; at least 1ms, default: it runs on'
