/** `muster runs`: list, show, follow again, cancel. */
import type { Command } from 'commander'
import { acting, openClient, subcommand } from './context.ts'
import { emptyIn } from './filtered.ts'
import { tookMs } from './outcome.ts'
import { outputsCommand } from './outputs.ts'
import { collect } from './pairs.ts'
import { age, bold, bytes, dim, duration, exits, print, printJson, printTable, say, state } from './io.ts'

interface ListOptions {
  json?: true
  all?: true
  pool?: string
  label: string[]
}

export function runsCommand(): Command {
  const runs = subcommand('runs', 'show the runs; or one; follow one again; fetch its outputs; or cancel one')
    .option('--json', 'as JSON')
    .option('-a, --all', 'those that have ended too')
    .option('--pool <pool>', 'of this pool')
    .option('--label <name=value>', 'with this label', collect, [])
    .addHelpText(
      'after',
      `
TOOK: from the start of its command to its end; to when its end was seen where nothing says when it was, as in a worker that
holds and has no \`date\`: there it counts the time in which its provider was away too.`,
    )
    .action(acting(async (_args: [], options: ListOptions, command: Command) => list(options, command)))
  runs.addCommand(
    subcommand('show', 'show one run')
      .argument('<run>')
      .option('--json', 'as JSON')
      .action(
        acting(async ([id]: [string], { json }: { json?: true }, command: Command) => {
          const run = await (await openClient(command)).runs.get(id)
          if (json === true) printJson(run)
          else
            for (const [key, value] of Object.entries(run))
              print(`${dim(key.padEnd(16))}${typeof value === 'object' ? JSON.stringify(value) : String(value)}`)
          return undefined
        }),
      ),
  )
  runs.addCommand(
    subcommand('attach', 'follow a run from its first byte, with its exit code; Ctrl-C ends the following only')
      .argument('<run>')
      .action(
        acting(async ([id]: [string], _options: unknown, command: Command) => {
          const { followRun } = await import('./follow.ts')
          const client = await openClient(command)
          return followRun({ client, run: await client.runs.get(id), stdin: false, quiet: false, cancels: false })
        }, exits.infrastructure),
      ),
  )
  runs.addCommand(outputsCommand())
  runs.addCommand(
    subcommand('cancel', 'end a run')
      .argument('<run>')
      .option('--force', 'kill at once, without grace')
      .option('--reason <text>', 'for the journal')
      .action(
        acting(async ([id]: [string], { force, reason }: { force?: true; reason?: string }, command: Command) => {
          const run = await (await openClient(command)).runs.cancel(id, { ...(force && { force }), ...(reason && { reason }) })
          say(run.state === 'ended' ? `${id} had ended: ${run.outcome ?? ''}` : `${id} is being ended`)
          return undefined
        }),
      ),
  )
  return runs
}

async function list({ json, all, pool, label }: ListOptions, command: Command): Promise<undefined> {
  const client = await openClient(command)
  const filter = pool === undefined ? {} : { pool }
  const { items, next } = await client.runs.list({
    limit: 500,
    ...(all === true ? { ended: 'true' } : {}),
    ...filter,
    ...(label.length === 0 ? {} : { label }),
  })
  if (json === true) {
    printJson({ runs: items, ...(next === undefined ? {} : { next }) })
    return undefined
  }
  await printTable(
    items,
    [
      { title: 'RUN', styled: true, of: (run) => bold(run.id) },
      { title: 'POOL', of: (run) => run.pool },
      { title: 'STATE', styled: true, of: (run) => state(run.outcome ?? run.state) },
      { title: 'EXIT', of: ({ exit }) => (exit?.code === undefined ? exit?.signal : String(exit.code)) },
      { title: 'AGE', of: (run) => age(run.createdAt) },
      {
        title: 'TOOK',
        of: (run) => {
          const ms = tookMs(run, Date.now())
          return ms === undefined ? undefined : duration(ms)
        },
      },
      { title: 'PEAK', of: ({ exit }) => (exit?.memoryPeakBytes === undefined ? undefined : bytes(exit.memoryPeakBytes)) },
      { title: 'WORKER', of: (run) => run.worker },
      { title: 'COMMAND', of: (run) => short(run.command.join(' ')) },
    ],
    items.length > 0
      ? ''
      : await emptyIn(client, all === true ? 'no run is known' : 'nothing runs or waits; --all shows what has ended', filter),
  )
  if (next !== undefined) say(`these are the newest ${items.length}`)
  return undefined
}

/** So that a table stays one line a row. */
function short(text: string): string {
  const line = text.replaceAll(/\s+/g, ' ')
  return line.length <= 60 ? line : `${line.slice(0, 59)}…`
}
