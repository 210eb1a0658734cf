/** `muster providers reclaim`: shows the workers that no record knows, and asks before it removes more of them than one pass may. */
import type { MusterClient, Orphan } from '@muster/client'
import type { Command } from 'commander'
import { acting, openClient, subcommand } from './context.ts'
import { confirmed } from './forget.ts'
import { age, bold, duration, exits, printJson, printTable, say } from './io.ts'

interface Options {
  dryRun?: true
  yes?: true
  json?: true
}

export function reclaimCommand(): Command {
  return subcommand('reclaim', 'remove workers of ours that no record knows, however many; not after a restored or copied store')
    .argument('<provider>')
    .option('-n, --dry-run', 'look, and only show what would be removed')
    .option('-y, --yes', 'do not ask')
    .option('--json', 'as JSON')
    .action(acting(async ([name]: [string], options: Options, command: Command) => reclaim(name, options, command)))
}

async function reclaim(name: string, { dryRun, yes, json }: Options, command: Command): Promise<number> {
  const client = await openClient(command)
  if (dryRun === true) {
    const orphans = await found(client, name)
    if (json === true) printJson({ orphans })
    else {
      await show(orphans, name)
      if (due(orphans) > 0) say(`nothing was asked for; these ${due(orphans)} are removed with: muster providers reclaim ${name}`)
    }
    return exits.ok
  }
  if (yes !== true) {
    if (!process.stdin.isTTY || !process.stderr.isTTY) {
      say(`nobody can be asked here whether workers of ${name} shall be removed: say --yes, or --dry-run to see them`)
      return exits.usage
    }
    const orphans = await found(client, name)
    await show(orphans, name)
    if (due(orphans) === 0) return exits.ok
    say('What runs in them ends. After a restored or copied store they may be the workers of another one: see backup.md.')
    const question = `Remove ${due(orphans) === 1 ? 'it' : `these ${due(orphans)}`}? [y/N] `
    if (!(await confirmed(question, { input: process.stdin, output: process.stderr }))) {
      say('nothing was done')
      return exits.failed
    }
  }
  const done = await client.providers.reconcile(name, { reclaimOrphans: true })
  if (json === true) printJson(done)
  else say(`${done.orphansReclaimed} workers without a record are removed`)
  return exits.ok
}

/** As the provider says now. */
async function found({ providers }: MusterClient, name: string): Promise<Orphan[]> {
  await providers.reconcile(name)
  return providers.orphans(name)
}

function whenRemoved({ state, due: isDue, dueAt }: Orphan): string {
  if (state === 'removing') return 'now'
  return isDue ? 'when reclaimed' : `left alone for ${duration(Date.parse(dueAt) - Date.now())}`
}

const due = (orphans: readonly Orphan[]): number => orphans.filter((one) => one.due).length

async function show(orphans: readonly Orphan[], name: string): Promise<void> {
  await printTable(
    orphans,
    [
      { title: 'WORKER', styled: true, of: (one) => bold(one.id) },
      { title: 'POOL', of: (one) => one.pool },
      { title: 'FOUND', of: (one) => `${age(one.firstSeen)} ago` },
      { title: 'REMOVED', of: whenRemoved },
    ],
    `${name} has no worker of ours without a record`,
  )
}
