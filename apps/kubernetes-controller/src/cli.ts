#!/usr/bin/env node
/** `muster-kubernetes view`, `controller`, `crds`, `role`. */
import { randomUUID } from 'node:crypto'
import { hostname } from 'node:os'
import { resolve } from 'node:path'
import { connect as connectMuster, discover, type MusterClient } from '@muster/client'
import { connect as connectCluster } from '@muster/plugin-kubernetes/api/client'
import type { ClusterSource } from '@muster/plugin-kubernetes/api/kubeconfig'
import { roleText } from '@muster/plugin-kubernetes/rbac'
import { pause } from '@muster/provider-parts/waiting'
import { Argument, Command } from 'commander'
import { roleFor } from './cluster.ts'
import { definitions, definitionText } from './crd/definitions.ts'
import { TermOver, whileElected } from './election/election.ts'
import { clusterLeases, leaseName } from './election/leases.ts'
import { openPoolsFile, type PoolsFile } from './pools/file.ts'
import { runInCluster } from './run.ts'

interface Flags {
  config?: string
  data?: string
  kubeconfig?: string
  context?: string
  namespace?: string
  host: string
  base?: string
}

/** Namespaces of contexts are optional, and kubectl's default is this one. */
const NAMESPACE = 'default'
/** A daemon that starts beside it takes a second or two. */
const ABSENT_MS = 500
/** One that is away for longer is told of in the status of each pool; a restart is shorter. */
const PATIENCE_MS = 5_000
/** What fails again and again is told once a minute. */
const QUIET_MS = 60_000

await program().parseAsync()

function program(): Command {
  const all = new Command('muster-kubernetes').description('Muster in a Kubernetes cluster.').showHelpAfterError()
  running(all.command('view'))
    .description('Shows the workers of a daemon as Workers, and ends those whose Worker is deleted.')
    .option('-c, --config <file>', 'the muster.yaml of the daemon; default: the nearest')
    .option('--data <folder>', 'the data folder of the daemon')
    .action((flags: Flags) => run(flags, undefined))
  running(all.command('controller'))
    .description('The same, and lets the daemon go by the WorkerPools of the namespace.')
    .requiredOption('--base <file>', 'the configuration without these pools; an operator writes it')
    .requiredOption('-c, --config <file>', 'the muster.yaml of the daemon: written by this command, from base and WorkerPools')
    .action((flags: Flags) => run(flags, openPoolsFile(resolve(flags.config ?? ''), resolve(flags.base ?? ''))))
  all
    .command('crds')
    .description('Prints the definitions of the three kinds.')
    .action(() => console.log(Object.values(definitions()).map(definitionText).join('---\n').trimEnd()))
  all
    .command('role')
    .description('Prints the Role that it needs.')
    .addArgument(new Argument('<mode>').choices(['view', 'controller']))
    .option('-n, --namespace <name>', 'the namespace', NAMESPACE)
    .action((mode: 'view' | 'controller', { namespace }: { namespace: string }) =>
      console.log(roleText(roleFor(mode, namespace))),
    )
  return all
}

function running(command: Command): Command {
  return command
    .option('--kubeconfig <file>', 'of the cluster; default: KUBECONFIG, else the service account of this pod')
    .option('--context <name>', 'of the kubeconfig')
    .option('-n, --namespace <name>', 'where the objects are; default: that of the context')
    .option('--host <name>', 'tells the daemons of one namespace apart', 'muster')
}

async function run(flags: Flags, pools: PoolsFile | undefined): Promise<void> {
  const stopping = new AbortController()
  const { signal } = stopping
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => stopping.abort())
  const onFailure = teller()
  await pools?.make()
  const cluster = connectCluster(sourceOf(flags), { userAgent: 'muster-kubernetes' })
  try {
    const namespace = flags.namespace ?? (await cluster.transport.namespace(signal)) ?? NAMESPACE
    const client = await reach(flags, signal, onFailure)
    const shared = { client, cluster, namespace, host: flags.host, onFailure }
    const leases = clusterLeases(cluster, { namespace, name: leaseName(flags.host) })
    const identity = `${hostname()}_${randomUUID()}`
    console.error(`muster-kubernetes: ${client.address} in namespace ${namespace}, as ${identity}`)
    while (!signal.aborted) {
      await whileElected({ leases, identity, signal, onFailure }, async (term) => {
        console.error('muster-kubernetes: works')
        await runInCluster({ ...shared, term, ...(pools === undefined ? {} : { pools }) })
      }).catch((error: unknown) => {
        if (!(error instanceof TermOver)) throw error
        onFailure(error)
      })
    }
    client.close()
  } catch (error) {
    if (!signal.aborted) throw error
  } finally {
    cluster.close()
  }
}

function sourceOf({ kubeconfig = process.env['KUBECONFIG'], context }: Flags): ClusterSource {
  if (kubeconfig === undefined || kubeconfig === '') return { from: 'pod' }
  return { from: 'file', path: resolve(kubeconfig), ...(context === undefined ? {} : { context }) }
}

/** Once the daemon answers. */
async function reach({ config, data }: Flags, signal: AbortSignal, onFailure: (error: unknown) => void): Promise<MusterClient> {
  for (;;) {
    try {
      const client = connectMuster(
        await discover({ ...(config === undefined ? {} : { config }), ...(data === undefined ? {} : { data }) }),
        { patienceMs: PATIENCE_MS },
      )
      await client.version({ signal })
      return client
    } catch (error) {
      signal.throwIfAborted()
      onFailure(error)
      await pause(ABSENT_MS, signal)
    }
  }
}

function teller(): (error: unknown) => void {
  const told = new Map<string, number>()
  return (error) => {
    const words = error instanceof Error ? error.message : String(error)
    const now = performance.now()
    for (const [known, at] of told) if (now - at > QUIET_MS) told.delete(known)
    if (told.has(words)) return
    told.set(words, now)
    console.error(`muster-kubernetes: ${words}`)
  }
}
