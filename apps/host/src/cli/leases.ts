/** `muster leases`: list, create, renew, release. */
import type { Lease } from '@muster/client'
import type { Command } from 'commander'
import { acting, asTime, openClient, subcommand, withProgress } from './context.ts'
import { emptyIn } from './filtered.ts'
import { age, bold, exits, print, printJson, printTable, say, state } from './io.ts'

export function leasesCommand(): Command {
  const leases = subcommand('leases', 'show the leases; or get, renew or release one')
    .option('--json', 'as JSON')
    .option('-a, --all', 'those that have ended too')
    .option('--pool <pool>', 'of this pool')
    .action(
      acting(async (_args: [], options: { json?: true; all?: true; pool?: string }, command: Command) => list(options, command)),
    )
  leases.addCommand(
    subcommand('create', 'get a worker of a pool, and wait for it')
      .requiredOption('--pool <pool>', 'from this pool')
      .option('--ttl <duration>', 'it ends this long after it was got or renewed; default 5m', asTime)
      .option('--json', 'as JSON')
      .action(
        acting(async (_args: [], options: { pool: string; ttl?: number; json?: true }, command: Command) =>
          create(options, command),
        ),
      ),
  )
  leases.addCommand(
    subcommand('renew', 'extend a lease from now on')
      .argument('<lease>')
      .option('--ttl <duration>', 'by this much; default: as it was asked for', asTime)
      .option('--json', 'as JSON')
      .action(
        acting(async ([id]: [string], { ttl, json }: { ttl?: number; json?: true }, command: Command) => {
          const lease = await (await openClient(command)).leases.renew(id, ttl)
          if (json === true) printJson(lease)
          else say(`${lease.id} lasts until ${lease.expiresAt ?? 'its worker ends'}`)
          return undefined
        }),
      ),
  )
  leases.addCommand(
    subcommand('release', 'end a lease and let its worker go')
      .argument('<lease>')
      .option('--discard', 'the worker is never used again')
      .option('--force', 'kill at once')
      .option('--json', 'as JSON')
      .action(
        acting(
          async ([id]: [string], { json, discard, force }: { discard?: true; force?: true; json?: true }, command: Command) => {
            const lease = await (
              await openClient(command)
            ).leases.release(id, { ...(discard && { discard }), ...(force && { force }) })
            if (json === true) printJson(lease)
            else say(`${lease.id} has ended: ${lease.end ?? lease.state}`)
            return undefined
          },
        ),
      ),
  )
  return leases
}

async function list({ json, all, pool }: { json?: true; all?: true; pool?: string }, command: Command): Promise<undefined> {
  const client = await openClient(command)
  const filter = pool === undefined ? {} : { pool }
  const { items, next } = await client.leases.list({ limit: 500, ...(all === true ? { ended: 'true' } : {}), ...filter })
  if (json === true) {
    printJson({ leases: items, ...(next === undefined ? {} : { next }) })
    return undefined
  }
  await printTable(
    items,
    [
      { title: 'LEASE', styled: true, of: (one) => bold(one.id) },
      { title: 'POOL', of: (one) => one.pool },
      { title: 'STATE', styled: true, of: (one) => state(one.end ?? one.state) },
      { title: 'AGE', of: (one) => age(one.requestedAt) },
      { title: 'WORKER', of: (one) => one.worker },
      { title: 'RUN', of: (one) => one.run },
      { title: 'BY', of: (one) => one.principal },
      { title: 'ENDS', of: (one) => one.endReason ?? one.expiresAt },
    ],
    items.length > 0
      ? ''
      : await emptyIn(client, all === true ? 'no lease is known' : 'nobody holds or waits for a worker', filter),
  )
  if (next !== undefined) say(`these are the newest ${items.length}`)
  return undefined
}

async function create({ pool, ttl, json }: { pool: string; ttl?: number; json?: true }, command: Command): Promise<number> {
  const client = await openClient(command)
  const asked: Lease = await client.leases.create({ pool, ...(ttl === undefined ? {} : { ttlMs: ttl }) })
  const gone = new AbortController()
  const leave = (): void => gone.abort()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, leave)
  try {
    const { lease, worker } = await withProgress(
      `waiting for a worker of pool ${pool} …`,
      client.leases.wait(asked.id, { signal: gone.signal }),
    )
    if (json === true) printJson({ lease, worker })
    else if (lease.state === 'active') print(`${lease.id} ${lease.worker ?? ''}`)
    if (lease.state !== 'active')
      say(`no worker: ${lease.endReason ?? lease.end ?? 'the lease has ended'}; \`muster why lease ${lease.id}\` says more`)
    return lease.state === 'active' ? exits.ok : exits.infrastructure
  } catch (error) {
    if (!gone.signal.aborted) throw error
    await client.leases.release(asked.id, { reason: 'the client was interrupted' })
    return exits.cancelled
  }
}
