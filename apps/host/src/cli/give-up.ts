/** `muster providers forget`: asks before it lets go of a provider that is named no longer, with all that it still has. */
import type { Command } from 'commander'
import { acting, openClient, subcommand } from './context.ts'
import { confirmed } from './forget.ts'
import { exits, printJson, say } from './io.ts'

interface Options {
  reason: string
  yes?: true
  json?: true
}

export function giveUpCommand(): Command {
  return subcommand('forget', 'give up a provider that the configuration names no longer and that does not go; needs an admin')
    .argument('<provider>')
    .requiredOption('--reason <text>', 'for the journal')
    .option('-y, --yes', 'do not ask')
    .option('--json', 'as JSON')
    .action(acting(async ([name]: [string], options: Options, command: Command) => giveUp(name, options, command)))
}

async function giveUp(name: string, { reason, yes, json }: Options, command: Command): Promise<number> {
  const client = await openClient(command)
  if (yes !== true) {
    if (!process.stdin.isTTY || !process.stderr.isTTY) {
      say(`nobody can be asked here whether ${name} shall be given up: say --yes`)
      return exits.usage
    }
    say(
      `The plugin of ${name} ends, and no daemon opens it again. What it still has at its vendor stays there, and may cost money.`,
    )
    if (!(await confirmed('Give it up? [y/N] ', { input: process.stdin, output: process.stderr }))) {
      say('nothing was done')
      return exits.failed
    }
  }
  const given = await client.providers.forget(name, { reason })
  if (json === true) {
    printJson(given)
    return exits.ok
  }
  const { orphans, prepared } = given
  const left = [
    ...(orphans === 0 ? [] : [`${orphans} worker${orphans === 1 ? '' : 's'} without a record`]),
    ...(prepared.length === 0 ? [] : [`what was prepared for ${prepared.join(', ')}`]),
  ]
  say(
    `${name} is given up; ${left.length === 0 ? 'nothing is known to be left there' : `left at its vendor: ${left.join(', ')}`}`,
  )
  return exits.ok
}
