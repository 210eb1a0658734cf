/** `muster`: parses the arguments; what a command does, and all it needs for that, is loaded when it is called. */
import { Command, CommanderError } from 'commander'
import { applyCommand } from './apply.ts'
import { backupCommand } from './backup.ts'
import { checkCommand } from './check.ts'
import { completeCommand, completionCommand } from './completion.ts'
import { addressed, tell } from './context.ts'
import { cpCommand } from './cp.ts'
import { eventsCommand } from './events.ts'
import { execCommand } from './exec.ts'
import { forwardCommand } from './forward.ts'
import { handCommands } from './hand.ts'
import { exits, say } from './io.ts'
import { leasesCommand } from './leases.ts'
import { logsCommand } from './logs.ts'
import { poolsCommand } from './pools.ts'
import { providersCommand } from './providers.ts'
import { restoreCommand } from './restore.ts'
import { runCommand } from './run.ts'
import { runsCommand } from './runs.ts'
import { storageCommand } from './storage.ts'
import { tokensCommand } from './tokens.ts'
import { topCommand } from './top.ts'
import { upCommand } from './up.ts'
import { versionCommand } from './version.ts'
import { whyCommand } from './why.ts'
import { workersCommand } from './workers.ts'

/** The parser takes some 100,000; the API takes no command of more. */
const MOST_WORDS = 10_000

const program = addressed(new Command('muster'))
  .description('Starts, watches, hands out and removes short-lived workers for CI/CD.')
  .enablePositionalOptions()
  .exitOverride()
  .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'muster: ')) })
  .showHelpAfterError('(add --help for all options)')

for (const command of [
  upCommand(),
  checkCommand(),
  applyCommand(),
  runCommand(),
  runsCommand(),
  logsCommand(),
  execCommand(),
  cpCommand(),
  forwardCommand(),
  workersCommand(),
  poolsCommand(),
  leasesCommand(),
  providersCommand(),
  ...handCommands(),
  whyCommand(),
  eventsCommand(),
  topCommand(),
  tokensCommand(),
  backupCommand(),
  restoreCommand(),
  storageCommand(),
  completionCommand(),
  versionCommand(),
])
  program.addCommand(inherit(command))
program.addCommand(inherit(completeCommand()), { hidden: true })

// Started by an older Node that passes signals on: once that is killed, nobody could end this process any more.
if (process.env['MUSTER_FORWARDED'] !== undefined) {
  delete process.env['MUSTER_FORWARDED']
  process.once('disconnect', () => process.kill(process.pid, 'SIGTERM'))
  process.channel?.unref()
}

// Whoever read the output has gone: quietly, as other programs that SIGPIPE ends.
process.stdout.on('error', () => process.exit(exits.pipe))
process.stderr.on('error', () => undefined)

try {
  await program.parseAsync()
} catch (error) {
  if (error instanceof RangeError && process.argv.length > MOST_WORDS) {
    say(`${process.argv.length - 2} arguments are too many: send them as a file or on standard input`)
    process.exitCode = exits.usage
  } else if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? exits.ok : exits.usage
  else process.exitCode = tell(error, exits.failed)
}

/** Settings are not passed on to commands that are added. */
function inherit(command: Command): Command {
  command.copyInheritedSettings(program)
  for (const inner of command.commands) inherit(inner)
  return command
}
