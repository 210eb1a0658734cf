/** `muster workers`: list, show, terminate. */
import type { WorkerInfo } from '@muster/client'
import type { Command } from 'commander'
import { acting, openClient, subcommand } from './context.ts'
import { emptyIn } from './filtered.ts'
import { forgetCommand } from './forget.ts'
import { type HandOptions, why } from './hand.ts'
import { age, bold, bytes, dim, print, printJson, printTable, say, state } from './io.ts'

interface ListOptions {
  json?: true
  all?: true
  pool?: string
  provider?: string
}

export function workersCommand(): Command {
  const workers = subcommand('workers', 'show the workers; or one; or end or forget one')
    .option('--json', 'as JSON')
    .option('-a, --all', 'those that are gone too')
    .option('--pool <pool>', 'of this pool')
    .option('--provider <provider>', 'of this provider')
    .action(acting(async (_args: [], options: ListOptions, command: Command) => list(options, command)))
  workers.addCommand(
    subcommand('show', 'show one worker')
      .argument('<worker>')
      .option('--json', 'as JSON')
      .action(
        acting(async ([id]: [string], { json }: { json?: true }, command: Command) => show(id, { json: json === true, command })),
      ),
  )
  workers.addCommand(
    subcommand('terminate', 'end a worker')
      .argument('<worker>')
      .option('--force', 'also when somebody holds it, and at once')
      .option('--reason <text>', 'for the journal')
      .option('--json', 'as JSON')
      .action(
        acting(async ([id]: [string], { force, json, ...options }: HandOptions & { force?: true }, command: Command) => {
          const client = await openClient(command)
          const worker = await client.workers.terminate(id, { ...(force === undefined ? {} : { force }), ...why(options) })
          if (json === true) printJson(worker)
          else say(`${worker.id} is ${worker.phase}`)
          return undefined
        }),
      ),
  )
  workers.addCommand(forgetCommand())
  return workers
}

async function list({ json, all, pool, provider }: ListOptions, command: Command): Promise<undefined> {
  const client = await openClient(command)
  const filter = { ...(pool === undefined ? {} : { pool }), ...(provider === undefined ? {} : { provider }) }
  const { items, next } = await client.workers.list({
    limit: 500,
    ...(all === true ? { ended: 'true' } : {}),
    ...filter,
  })
  if (json === true) {
    printJson({ workers: items, ...(next === undefined ? {} : { next }) })
    return undefined
  }
  await printTable(
    items,
    [
      { title: 'WORKER', styled: true, of: (one) => bold(one.id) },
      { title: 'POOL', of: (one) => one.pool },
      { title: 'PROVIDER', of: (one) => one.provider },
      {
        title: 'PHASE',
        styled: true,
        of: (one) => (one.cordoned ? `${state(one.phase)}, ${state('cordoned')}` : state(one.phase)),
      },
      { title: 'AGE', of: (one) => age(one.createdAt) },
      { title: 'CPU', of: ({ usage }) => usage?.cpu?.toFixed(2) },
      { title: 'MEMORY', of: ({ usage }) => (usage === undefined ? undefined : bytes(usage.memoryBytes)) },
      { title: 'LEASE', of: (one) => one.lease },
      { title: 'NOTE', of: noteOf },
    ],
    items.length > 0 ? '' : await emptyIn(client, all === true ? 'no worker is known' : 'no worker lives', filter),
  )
  if (next !== undefined) say(`these are the newest ${items.length}`)
  return undefined
}

function noteOf({ phase, keptUntil, keptFor, cordoned, cordonReason, ...one }: WorkerInfo): string | undefined {
  if (keptUntil !== undefined && phase === 'draining') return `kept until ${keptUntil} for run ${keptFor ?? 'unknown'}`
  if (one.problem !== undefined) return one.problem.message
  return one.terminateReason ?? one.end ?? (cordoned ? `cordoned ${cordonReason ?? ''}`.trimEnd() : undefined)
}

async function show(id: string, { json, command }: { json: boolean; command: Command }): Promise<undefined> {
  const worker = await (await openClient(command)).workers.get(id)
  if (json) printJson(worker)
  else
    for (const [key, value] of Object.entries(worker))
      print(`${dim(key.padEnd(16))}${typeof value === 'object' ? JSON.stringify(value) : String(value)}`)
  return undefined
}
