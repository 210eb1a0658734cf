/** `muster workers forget`: asks before it closes a record for good. */
import { createInterface } from 'node:readline/promises'
import type { Command } from 'commander'
import { acting, openClient, subcommand } from './context.ts'
import { exits, printJson, say } from './io.ts'

interface Options {
  reason: string
  yes?: true
  json?: true
}

export function forgetCommand(): Command {
  return subcommand('forget', 'close the record of a worker that can be ended no other way; needs an admin')
    .argument('<worker>')
    .requiredOption('--reason <text>', 'for the journal')
    .option('-y, --yes', 'do not ask')
    .option('--json', 'as JSON')
    .action(acting(async ([id]: [string], options: Options, command: Command) => forget(id, options, command)))
}

async function forget(id: string, { reason, yes, json }: Options, command: Command): Promise<number> {
  const client = await openClient(command)
  if (yes !== true) {
    if (!process.stdin.isTTY || !process.stderr.isTTY) {
      say(`nobody can be asked here whether ${id} shall be forgotten: say --yes`)
      return exits.usage
    }
    const { phase, pool, provider } = await client.workers.get(id)
    say(`${id} of pool ${pool} is ${phase}. Its record closes, and nobody asks ${provider} for its end any more.`)
    say('If the vendor still has it, it costs money until it is found and removed as an orphan.')
    if (!(await confirmed('Forget it? [y/N] ', { input: process.stdin, output: process.stderr }))) {
      say('nothing was done')
      return exits.failed
    }
  }
  const closed = await client.workers.forget(id, { reason })
  if (json === true) printJson(closed)
  else say(`${id} is forgotten: ${closed.end ?? closed.phase}; what is left of it shows in: muster why worker ${id}`)
  return exits.ok
}

/** Anything but a yes is none, the end of the input too. */
export async function confirmed(
  question: string,
  { input, output }: { input: NodeJS.ReadableStream; output: NodeJS.WritableStream },
): Promise<boolean> {
  const lines = createInterface({ input, output })
  const closed = new Promise<string>((resolve) => lines.once('close', () => resolve('')))
  try {
    return /^y(es)?$/i.test((await Promise.race([lines.question(question), closed])).trim())
  } finally {
    lines.close()
  }
}
