/** A daemon beside a namespace of a cluster, and the controller between them, as a user with the rights that it prints. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { connect as connectMuster, discover, type MusterClient } from '@muster/client'
import { connect as connectCluster } from '@muster/plugin-kubernetes/api/client'
import type { KubernetesCluster } from '@muster/test/systems/kubernetes'
import { type MusterDaemon, startMuster } from '@muster/test/systems/muster'
import { waitFor } from '@muster/test/systems/wait'
import { expect } from 'vitest'
import { roleFor } from './cluster.ts'
import { openPoolsFile } from './pools/file.ts'
import { runInCluster } from './run.ts'

export interface Site {
  daemon: MusterDaemon
  /** Files of the controller: what an operator writes, and a kubeconfig of somebody with its Role and nothing else. */
  base: string
  kubeconfig: string
  client: MusterClient
  /** Runs kubectl in the namespace; its output. A failure is an error. */
  kubectl(args: readonly string[], input?: object): Promise<string>
  /** The code and both outputs, whatever they are. */
  tried(args: readonly string[], input?: object): ReturnType<KubernetesCluster['kubectl']>
  /** Waits until an object is as wanted. */
  object<T>(name: string, until: (object: T) => boolean): Promise<T>
  gone(name: string): Promise<void>
  start(): void
  /** Ends the controller; objects and daemon stay. */
  stop(): Promise<void>
  failures: string[]
  [Symbol.asyncDispose](): Promise<void>
}

/** `view`: the daemon has the pool `ci` of its own. `controller`: its pools come from the cluster. */
export async function openSite(cluster: KubernetesCluster, namespace: string, mode: 'view' | 'controller'): Promise<Site> {
  const own = { placement: ['none'], worker: { work: 'hold' }, scale: { max: 5, warm: 1 } }
  const daemon = await startMuster({
    providers: { none: { plugin: 'null', config: {} } },
    pools: { [mode === 'view' ? 'ci' : 'own']: { ...own, ...(mode === 'view' ? {} : { scale: { max: 1 } }) } },
  })
  const base = join(daemon.folder, 'base.yaml')
  await writeFile(base, await readFile(daemon.config))
  const text = await asServiceAccount(cluster, namespace, mode)
  const kubeconfig = join(daemon.folder, 'kubeconfig')
  await writeFile(kubeconfig, text, { mode: 0o600 })
  const client = connectMuster(await discover({ config: daemon.config }))
  const failures: string[] = []
  let running: { stop: AbortController; ended: Promise<void>; close: () => void } | undefined

  const tried: Site['tried'] = (args, input) =>
    cluster.kubectl(['-n', namespace, ...args], input === undefined ? undefined : JSON.stringify(input))
  const kubectl: Site['kubectl'] = async (args, input) => {
    const { code, stdout, stderr } = await tried(args, input)
    expect({ code, stderr }).toMatchObject({ code: 0 })
    return stdout
  }
  const stop = async (): Promise<void> => {
    running?.stop.abort()
    await running?.ended
    running?.close()
    running = undefined
  }
  return {
    ...{ daemon, base, kubeconfig },
    client,
    tried,
    kubectl,
    failures,
    object: (name, until) =>
      waitFor(`${name} as wanted`, async () => JSON.parse(await kubectl(['get', name, '-o', 'json'])), { until, everyMs: 200 }),
    gone: async (name) => {
      await waitFor(`${name} to be gone`, async () => (await tried(['get', name])).stderr.includes('NotFound'), { everyMs: 200 })
    },
    start() {
      const connected = connectCluster({ from: 'text', text: () => Promise.resolve(text) })
      const aborting = new AbortController()
      const ended = runInCluster({
        ...{ client, cluster: connected, namespace, host: 'h', term: { signal: aborting.signal, check: () => {} } },
        onFailure: (error) => failures.push(String(error)),
        ...(mode === 'view' ? {} : { pools: openPoolsFile(daemon.config, base) }),
      }).catch((error: unknown) => {
        if (!aborting.signal.aborted) failures.push(`ended: ${String(error)}`)
      })
      running = { stop: aborting, ended, close: () => connected.close() }
    },
    stop,
    async [Symbol.asyncDispose]() {
      await stop()
      client.close()
      await daemon[Symbol.asyncDispose]()
    },
  }
}

/** The administrator's kubeconfig, as somebody with the generated Role and nothing else. */
async function asServiceAccount(cluster: KubernetesCluster, namespace: string, mode: 'view' | 'controller'): Promise<string> {
  const role = roleFor(mode, namespace)
  const account = { kind: 'ServiceAccount', name: 'muster', namespace }
  const items = [
    { apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } },
    { apiVersion: 'v1', kind: 'ServiceAccount', metadata: { name: 'muster', namespace } },
    role,
    {
      apiVersion: role.apiVersion,
      kind: 'RoleBinding',
      metadata: { name: 'muster', namespace },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: role.metadata.name },
      subjects: [account],
    },
  ]
  const made = await cluster.kubectl(['apply', '-f', '-'], JSON.stringify({ apiVersion: 'v1', kind: 'List', items }))
  expect(made.stderr).toBe('')
  const { stdout } = await cluster.kubectl(['config', 'view', '--raw', '--flatten', '--minify', '-o', 'json'])
  const config = JSON.parse(stdout) as { users: { user: object }[] }
  const users = config.users.map(({ user, ...same }) => ({
    ...same,
    user: { ...user, as: `system:serviceaccount:${namespace}:muster`, 'as-groups': ['system:serviceaccounts'] },
  }))
  return JSON.stringify({ ...config, users })
}
