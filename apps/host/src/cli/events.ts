/** `muster events`: decisions as they are made. */
import type { Decision } from '@muster/client'
import type { Command } from 'commander'
import { oneLine } from '../observe/why.ts'
import { acting, openClient, parsing, subcommand } from './context.ts'
import { dim, exits, print, say } from './io.ts'

interface Options {
  pool?: string
  run?: string
  from?: number
  json?: true
}

export function eventsCommand(): Command {
  return subcommand('events', 'follow the decisions of the daemon as they are made, until Ctrl-C')
    .option('--pool <pool>', 'of this pool')
    .option('--run <run>', 'of this run')
    .option(
      '--from <number>',
      'from after this one; 0: all that are kept; default: from now on',
      parsing((text) => (/^\d{1,15}$/.test(text) ? Number(text) : undefined), 'the number of a decision'),
    )
    .option('--json', 'as JSON, one a line')
    .action(acting(async (_args: [], options: Options, command: Command) => follow(options, command)))
}

async function follow({ pool, run, from, json }: Options, command: Command): Promise<number> {
  const client = await openClient(command)
  const over = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(name, () => over.abort())
  const wanted = {
    signal: over.signal,
    // Whoever asks for all that are kept has been told so.
    onDropped: (after: number, until: number) => {
      if (after > 0) say(`decisions ${after + 1} to ${until} are no longer kept (retention.journal)`)
    },
    ...(pool === undefined ? {} : { pool }),
    ...(run === undefined ? {} : { run }),
    ...(from === undefined ? {} : { from }),
  }
  try {
    for await (const decision of client.events(wanted)) print(json === true ? JSON.stringify(decision) : lineOf(decision))
  } catch (error) {
    if (!over.signal.aborted) throw error
  }
  return exits.ok
}

function lineOf({ seq, at, rule, decision, pool, provider, worker, lease, run }: Decision): string {
  const names = Object.entries({ pool, provider, worker, lease, run }).flatMap(([kind, name]) =>
    name === undefined ? [] : [`${kind}=${name}`],
  )
  return oneLine(`${dim(`${seq} ${at}`)} ${rule}: ${decision} ${dim(names.join(' '))}`.trimEnd())
}
