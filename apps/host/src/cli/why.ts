/** `muster why`: every decision about one thing. */
import { Argument, type Command } from 'commander'
import { renderWhy } from '../observe/why.ts'
import { acting, openClient, parsing, subcommand } from './context.ts'
import { print, printJson } from './io.ts'

const kinds = ['worker', 'run', 'pool', 'lease', 'provider'] as const

export function whyCommand(): Command {
  return subcommand('why', 'say what was decided about a worker, a run, a pool, a lease or a provider, and because of what')
    .addArgument(new Argument('<kind>').choices(kinds))
    .argument('<id>', 'its id or name')
    .option('--limit <n>', 'the newest so many', parsing(count, 'a number above 0'), 200)
    .option('--json', 'as JSON')
    .action(
      acting(
        async (
          [kind, id]: [(typeof kinds)[number], string],
          { limit, json }: { limit: number; json?: true },
          command: Command,
        ) => {
          const { decisions, ...missing } = await (await openClient(command)).story(kind, id, limit)
          if (json === true) printJson({ kind, id, ...missing, decisions })
          else print(renderWhy({ kind, id }, decisions, missing))
          return undefined
        },
      ),
    )
}

function count(text: string): number | undefined {
  const value = Number(text)
  return Number.isSafeInteger(value) && value > 0 ? value : undefined
}
