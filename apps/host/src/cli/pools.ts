/** `muster pools`. */
import type { Condition } from '@muster/client'
import type { Command } from 'commander'
import { acting, openClient, subcommand } from './context.ts'
import { inert } from '../observe/inert.ts'
import { bold, printJson, printTable, print, state } from './io.ts'

export function poolsCommand(): Command {
  return subcommand('pools', 'show the pools and how full they are')
    .option('--json', 'as JSON')
    .action(
      acting(async (_args: [], { json }: { json?: true }, command: Command) => {
        const client = await openClient(command)
        const [pools, conditions, providers] = await Promise.all([
          client.pools.list(),
          client.conditions(),
          client.providers.list(),
        ])
        if (json === true) {
          printJson({ pools, conditions })
          return undefined
        }
        const of = (workers: Record<string, number>, ...phases: string[]): string =>
          String(phases.reduce((sum, phase) => sum + (workers[phase] ?? 0), 0))
        await printTable(
          pools,
          [
            { title: 'POOL', styled: true, of: (pool) => bold(pool.name) },
            { title: 'STATE', styled: true, of: (pool) => state(pool.state) },
            { title: 'PLACEMENT', of: (pool) => pool.placement.join(', ') },
            { title: 'MAX', of: (pool) => String(pool.scale.max) },
            { title: 'STARTING', of: ({ workers }) => of(workers, 'queued', 'launching', 'starting') },
            { title: 'IDLE', of: ({ workers }) => of(workers, 'idle') },
            { title: 'LEASED', of: ({ workers }) => of(workers, 'leased') },
            { title: 'ENDING', of: ({ workers }) => of(workers, 'draining', 'terminating') },
            { title: 'ASIDE', of: (pool) => String(pool.aside) },
            { title: 'QUEUED', of: (pool) => String(pool.queued) },
            { title: 'WAITS FOR', of: (pool) => (pool.waiting === '' ? undefined : pool.waiting) },
          ],
          'the configuration names no pool',
        )
        for (const { name, notes } of providers) for (const note of notes) print(inert(`provider ${name}: ${note}`))
        for (const condition of conditions) print(conditionLine(condition))
        return undefined
      }),
    )
}

export function conditionLine({ scope, name, type, message, hint }: Condition): string {
  return `${state('degraded', type)}: ${inert(`${scope} ${name}: ${message}${hint === '' ? '' : ` (${hint})`}`)}`
}
