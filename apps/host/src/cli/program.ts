/** The commands of `muster`, put together. What a command does, and all it needs for that, is loaded when it is called. */
import { Command } from 'commander'
import { applyCommand } from './apply.ts'
import { backupCommand } from './backup.ts'
import { checkCommand } from './check.ts'
import { completeCommand, completionCommand } from './completion.ts'
import { composeCommand } from './compose.ts'
import { cpCommand } from './cp.ts'
import { eventsCommand } from './events.ts'
import { execCommand } from './exec.ts'
import { forwardCommand } from './forward.ts'
import { handCommands } from './hand.ts'
import { leasesCommand } from './leases.ts'
import { logsCommand } from './logs.ts'
import { pluginsCommand } from './plugins.ts'
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
import { addressed, HELP_HINT } from './context.ts'
import { harmless } from './io.ts'

export function createProgram(): Command {
  const program = addressed(new Command('muster'))
    .description('Starts, watches, hands out and removes short-lived workers for CI/CD.')
    .enablePositionalOptions()
    .exitOverride()
    .configureOutput({
      outputError: (text, write) => write(`${spoken(harmless(text).replace(/^error: /, ''))}${hintOf(text, program)}`),
    })
    .showHelpAfterError(HELP_HINT)

  for (const command of [
    upCommand(),
    checkCommand(),
    composeCommand(),
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
    pluginsCommand(),
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
    program.addCommand(inherit(command, program))
  program.addCommand(inherit(completeCommand(), program), { hidden: true })
  return program
}

/** A suggestion is a line of its own. */
function spoken(text: string): string {
  return text.trimEnd().replace(/^/gm, 'muster: ').concat('\n')
}

/** Behind the name of a list: a command that stands for itself, or an id, and whoever writes that wants to see the one. */
function hintOf(text: string, { commands }: Command): string {
  const [, name, first] = /too many arguments for '([a-z]+)'(?:.* got \d+: ([a-z]+)\b)?/.exec(text) ?? []
  const list = commands.find((one) => one.name() === name)
  const own = list === undefined ? undefined : commands.find((one) => one.name() === first)
  if (own !== undefined) return `muster: ${first ?? ''} is a command of its own: muster ${first ?? ''} ${own.usage()}\n`
  return list?.commands.some((one) => one.name() === 'show') === true ? `muster: one of them: muster ${name ?? ''} show ID\n` : ''
}

/** Settings are not passed on to commands that are added. */
function inherit(command: Command, from: Command): Command {
  command.copyInheritedSettings(from)
  for (const one of command.commands) inherit(one, from)
  return command
}
