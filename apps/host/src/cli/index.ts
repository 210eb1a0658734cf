/** `muster`: parses the arguments, and turns what comes of them into an exit code. */
import { CommanderError } from 'commander'
import { endWithOutput, tell } from './context.ts'
import { exits, say } from './io.ts'
import { createProgram } from './program.ts'

/** The parser takes some 100,000; the API takes no command of more. */
const MOST_WORDS = 10_000

// Started by an older Node that passes signals on: once that is killed, nobody could end this process any more.
if (process.env['MUSTER_FORWARDED'] !== undefined) {
  delete process.env['MUSTER_FORWARDED']
  process.once('disconnect', () => process.kill(process.pid, 'SIGTERM'))
  process.channel?.unref()
}

// By it any process of the same user, as a plugin or a job, would open Node's inspector, and run what it likes in here.
process.on('SIGUSR1', () => undefined)

endWithOutput()
process.stderr.on('error', () => undefined)

try {
  await createProgram().parseAsync()
} catch (error) {
  if (error instanceof RangeError && process.argv.length > MOST_WORDS) {
    say(`${process.argv.length - 2} arguments are too many: send them as a file or on standard input`)
    process.exitCode = exits.usage
  } else if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? exits.ok : exits.usage
  else process.exitCode = tell(error, exits.failed)
}
