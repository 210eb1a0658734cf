/** `muster providers`. */
import type { Provider } from '@muster/client'
import type { Command } from 'commander'
import { acting, openClient, subcommand } from './context.ts'
import { crashCommand, crashesCommand } from './crashes.ts'
import { giveUpCommand } from './give-up.ts'
import { handCommand, why } from './hand.ts'
import { inert } from '../observe/inert.ts'
import { age, bold, dim, print, printJson, printTable, say, state, withHint } from './io.ts'
import { keptText } from './kept-text.ts'
import { reclaimCommand } from './reclaim.ts'

export function providersCommand(): Command {
  const providers = subcommand(
    'providers',
    'show the providers, their plugins and how they do; or look at one now, see why its plugin fell, disable or enable one, reclaim orphans, or give one up',
  )
    .option('--json', 'as JSON')
    .action(
      acting(async (_args: [], { json }: { json?: true }, command: Command) => {
        const providers = await (await openClient(command)).providers.list()
        if (json === true) {
          printJson({ providers })
          return undefined
        }
        await printTable(
          providers,
          [
            { title: 'PROVIDER', styled: true, of: (one) => bold(one.name) },
            { title: 'PLUGIN', of: ({ plugin }) => `${plugin.name}@${plugin.version}` },
            { title: 'LEVEL', of: ({ level }) => level },
            { title: 'CONTRACT', of: ({ plugin }) => plugin.contract },
            {
              title: 'STATE',
              styled: true,
              of: (one) => (one.disabled === undefined ? state(one.state) : `${state(one.state)}, ${state('disabled')}`),
            },
            { title: 'SINCE', of: (one) => age(one.since) },
            { title: 'RESTARTS', of: (one) => String(one.restarts) },
            { title: 'CALLS', of: (one) => String(one.inFlight) },
            {
              title: 'OLDEST',
              of: ({ oldestCall: oldest }) => (oldest === undefined ? '' : `${oldest.method} ${age(oldest.since)}`),
            },
            { title: 'WORK', of: ({ capabilities }) => capabilities.work.join(', ') },
          ],
          'the configuration names no provider',
        )
        for (const { name, reason, hint, notes, facts, disabled, kept, silentSince, orphans } of providers) {
          if (disabled !== undefined) print(inert(`${name}: ${disabledBy(disabled)} (muster providers enable ${name})`))
          if (silentSince !== undefined) print(`${name}: ${state('degraded', `does not answer for ${age(silentSince)}`)}`)
          if (reason !== undefined) print(withHint(`${name}: ${reason}`, hint))
          if (kept !== undefined) print(inert(`${name}: ${keptText(kept)}`))
          for (const note of notes) print(inert(`${name}: ${note}`))
          for (const line of orphanLines(name, orphans)) print(line)
          const known = Object.entries(facts).map(([key, value]) => `${key} ${value}`)
          if (known.length > 0) print(dim(inert(`${name}: ${known.join(', ')}`)))
        }
        return undefined
      }),
    )
  providers.addCommand(
    subcommand('reconcile', 'look at a provider now instead of at the next interval')
      .argument('<provider>')
      .option('--json', 'as JSON')
      .action(
        acting(async ([name]: [string], { json }: { json?: true }, command: Command) => {
          const done = await (await openClient(command)).providers.reconcile(name)
          if (json === true) printJson(done)
          else say(`${name} was listed, and what it said applied`)
          return undefined
        }),
      ),
  )
  providers.addCommand(reclaimCommand())
  providers.addCommand(giveUpCommand())
  providers.addCommand(crashesCommand())
  providers.addCommand(crashCommand())
  providers.addCommand(
    handCommand(
      {
        name: 'disable',
        summary: 'let no launch go to a provider, until it is enabled; its workers go on',
        argument: '<provider>',
      },
      (client, name, options) => client.providers.disable(name, why(options)),
      ({ name, disabled }) =>
        `${name}: ${disabled === undefined ? 'enabled' : disabledBy(disabled)}; it ends with: muster providers enable ${name}`,
    ),
  )
  providers.addCommand(
    handCommand(
      { name: 'enable', summary: 'let launches go to a provider again', argument: '<provider>' },
      (client, name, options) => client.providers.enable(name, why(options)),
      ({ name, state: now }) => `${name} is enabled, and ${now}`,
    ),
  )
  return providers
}

function orphanLines(name: string, { known, removed, removedAt }: Provider['orphans']): string[] {
  const workers = (count: number): string => `${count} worker${count === 1 ? '' : 's'} without a record`
  return [
    ...(known === 0 ? [] : [inert(`${name}: has ${workers(known)} (muster providers reclaim ${name} --dry-run)`)]),
    ...(removedAt === undefined
      ? []
      : [inert(`${name}: ${workers(removed)} removed since the daemon started, the last ${age(removedAt)} ago`)]),
  ]
}

function disabledBy({ by, reason, since }: NonNullable<Provider['disabled']>): string {
  return `disabled by ${by}${reason === undefined ? '' : `: ${reason}`}, ${age(since)} ago`
}
