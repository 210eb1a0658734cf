/** The operator's hand: `muster pause`, `resume`, `drain`, `cordon`, `uncordon`. */
import type { MusterClient, Pool, WorkerInfo } from '@muster/client'
import type { Command } from 'commander'
import { acting, openClient, subcommand } from './context.ts'
import { printJson, say } from './io.ts'

export interface HandOptions {
  reason?: string
  json?: true
}

/** Why, for whoever finds it so: in the body only when it was said. */
export function why({ reason }: HandOptions): { reason?: string } {
  return reason === undefined ? {} : { reason }
}

/** A command that does one thing to one other thing, and says how that is now. */
export function handCommand<T>(
  given: { name: string; summary: string; argument: string },
  act: (client: MusterClient, target: string, options: HandOptions) => Promise<T>,
  told: (changed: T) => string,
): Command {
  return subcommand(given.name, given.summary)
    .argument(given.argument)
    .option('--reason <text>', 'for whoever finds it so, and for the journal')
    .option('--json', 'as JSON')
    .action(
      acting(async ([target]: [string], options: HandOptions, command: Command) => {
        const changed = await act(await openClient(command), target, options)
        if (options.json === true) printJson(changed)
        else say(told(changed))
        return undefined
      }),
    )
}

export function handCommands(): Command[] {
  return [
    handCommand(
      {
        name: 'pause',
        summary: 'let a pool launch nothing and hand nothing out, until it is resumed; what runs goes on',
        argument: '<pool>',
      },
      (client, pool, options) => client.pools.pause(pool, why(options)),
      toldPool,
    ),
    handCommand(
      { name: 'resume', summary: 'end the pause or the drain of a pool', argument: '<pool>' },
      (client, pool, options) => client.pools.resume(pool, why(options)),
      toldPool,
    ),
    handCommand(
      { name: 'drain', summary: 'let a pool keep no worker that nobody holds, until it is resumed', argument: '<pool>' },
      (client, pool, options) => client.pools.drain(pool, why(options)),
      toldPool,
    ),
    handCommand(
      { name: 'cordon', summary: 'take a worker out of hand-outs, and leave it alone for a look', argument: '<worker>' },
      (client, worker, options) => client.workers.cordon(worker, why(options)),
      toldWorker,
    ),
    handCommand(
      { name: 'uncordon', summary: 'hand a worker out again', argument: '<worker>' },
      (client, worker, options) => client.workers.uncordon(worker, why(options)),
      toldWorker,
    ),
  ]
}

function toldPool({ name, state, queued, leases }: Pool): string {
  const left = `${leases} leases have a worker, ${queued} wait`
  return state === 'active' ? `${name} works again; ${left}` : `${name} is ${state}; ${left}; it ends with: muster resume ${name}`
}

function toldWorker({ id, phase, cordoned, expiresAt }: WorkerInfo): string {
  if (!cordoned) return `${id} is ${phase}, and not cordoned`
  const until = expiresAt === undefined ? '' : ` until ${expiresAt} at most`
  return `${id} is ${phase} and cordoned${until}; it ends with: muster uncordon ${id}`
}
