/**
 * A Kubernetes cluster for tests: the real components on one node, in namespaces of their own, without any registry.
 *
 * Command line, for a run that wants one cluster throughout: `node test/systems/kubernetes.ts up` prints the path of its kubeconfig,
 * `node test/systems/kubernetes.ts down` removes every one that was started so.
 */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'

import { type ApiRequest, askApi, compact } from './kubernetes/ask.ts'
import {
  type BringUp,
  bringUp,
  type ClusterState,
  clusterTraces,
  end,
  groundOf,
  importImages,
  knownClusters,
  launch,
  logOf,
  onImages,
  placeOf,
  removeCluster,
  resume,
  suspend,
  sweepClusters,
} from './kubernetes/cluster.ts'
import type { Component } from './kubernetes/components.ts'
import { inside, secondsUsed } from './kubernetes/ground.ts'
import { CONTEXT } from './kubernetes/identities.ts'
import { buildPrograms, cannotRunCluster, findPrograms } from './kubernetes/programs.ts'
import { isRequired, type Presence } from './presence.ts'
import { runProcess } from './process.ts'
import { type ImageRegistry, startRegistry } from './registry.ts'

export { ApiError } from './kubernetes/ask.ts'
export { CLUSTER_IMAGES } from './kubernetes/images.ts'

/** How a cluster is reached, as somebody who may do everything. */
export interface KubernetesAddress {
  /** Path of the file, and which of its contexts is meant. */
  readonly kubeconfig: string
  readonly context: string
  /** Runs kubectl to its end. A code other than 0 is an answer: `exec` has that of its command. */
  kubectl(args: readonly string[], input?: string): ReturnType<typeof runProcess>
}

/** A cluster of our own, which tests may disturb. */
export interface KubernetesCluster extends KubernetesAddress {
  /** `https://ADDRESS:PORT` of the API server. */
  readonly url: string
  /** This machine's address on the link to the cluster: a test's server that listens there is reached by the node and by pods. */
  readonly hostAddress: string
  /** Asks the API server without a client between. Rejects with {@link ApiError}. */
  ask<T = unknown>(what: ApiRequest): Promise<T>
  /** A component's pid; undefined while it does not run. */
  pid(component: Component): number | undefined
  /** The file that a component writes to, in all its starts. */
  log(component: Component): string
  /** Starts a component again, or kwok for the first time; these flags replace the ones it got beside its own. Answers when it is ready. */
  start(component: Component, flags?: readonly string[]): Promise<void>
  /** Stops a component as a service manager would. What it looks after goes on: pods survive kubelet and containerd. */
  halt(component: Component): Promise<void>
  /** SIGKILLs a component. */
  kill(component: Component): Promise<void>
  /** SIGSTOPs a component: its connections stay, and nobody answers. It is the test's to let it go on, before the cluster is stopped. */
  suspend(component: Component): void
  resume(component: Component): Promise<void>
  /** Lets etcd forget all but the present. The API server itself remembers more until it is started again; then older versions are answered 410. */
  compact(): Promise<void>
  /** The command that runs another one on the node. */
  inside(command: readonly string[]): [string, ...string[]]
  /** Gives the node the images of an archive, as `docker save` writes it. */
  importImages(archive: string): Promise<void>
  /** A registry with a password that the node pulls from; it is the test's to stop. */
  startRegistry(): Promise<ImageRegistry>
  /** Puts an image of the node into such a registry, as `HOST/NAME`, and answers that. The node itself keeps no copy of this name. */
  publish(registry: ImageRegistry, image: string, name: string): Promise<string>
  /** Processor time of all components and pods so far, in seconds. */
  secondsUsed(): Promise<number>
  /** Ends everything and removes everything. Idempotent. */
  stop(): Promise<void>
  /** What of it is still on this machine: files, processes, cgroups, the link. */
  traces(): Promise<string[]>
  [Symbol.asyncDispose](): Promise<void>
}

const NAME = 'kubernetes'

/** {@link startKubernetes}, if a cluster can be started here. Where it is required, a build that runs already is waited for. */
export async function findStartKubernetes(): Promise<Presence<typeof startKubernetes>> {
  const absent = cannotRunCluster() ?? (await notBuilt())
  return absent === undefined ? { name: NAME, system: startKubernetes } : { name: NAME, absent }
}

async function notBuilt(): Promise<string | undefined> {
  const programs = await findPrograms()
  if (programs === 'missing') return 'its programs are not built: run test/systems/kubernetes/build.sh'
  if (programs !== 'being built') return undefined
  if (!isRequired(NAME)) return 'its programs are being built by test/systems/kubernetes/build.sh'
  // Here and not when a cluster starts: this is not in the time of any test.
  await buildPrograms()
  return undefined
}

/** Starts a cluster of its own; answers when it takes pods. Rejects, with nothing left, when a part does not come up in 90 s. */
export async function startKubernetes(options: BringUp = {}): Promise<KubernetesCluster> {
  const absent = cannotRunCluster()
  if (absent !== undefined) throw new Error(absent)
  const found = await findPrograms()
  const programs = typeof found === 'string' ? await buildPrograms() : found
  await sweepClusters()
  return clusterOf(await bringUp(programs, options))
}

/**
 * The cluster that tests use: the context `MUSTER_TEST_KUBECONTEXT` of the file `MUSTER_TEST_KUBECONFIG`, else one that the command line
 * holds up on this machine. A file without a named context is refused: which cluster tests write to is not left to a default.
 */
export async function findKubernetes(): Promise<Presence<KubernetesAddress>> {
  const kubeconfig = process.env['MUSTER_TEST_KUBECONFIG'] ?? ''
  const context = process.env['MUSTER_TEST_KUBECONTEXT'] ?? ''
  if (kubeconfig === '') {
    const held = (await knownClusters()).find(({ detached }) => detached)
    if (held !== undefined) return { name: NAME, system: clusterOf(held) }
    return { name: NAME, absent: 'MUSTER_TEST_KUBECONFIG names none; start one: node test/systems/kubernetes.ts up' }
  }
  if (context === '') return { name: NAME, absent: 'MUSTER_TEST_KUBECONFIG needs a context beside it: MUSTER_TEST_KUBECONTEXT' }
  const system = addressOf(['kubectl'], kubeconfig, context)
  const ready = await system.kubectl(['get', '--raw', '/readyz']).catch((error: Error) => ({ code: null, stderr: error.message }))
  if (ready.code === 0) return { name: NAME, system }
  return { name: NAME, absent: `nothing answers at MUSTER_TEST_KUBECONFIG=${kubeconfig}: ${ready.stderr.trim()}` }
}

function addressOf(program: readonly [string, ...string[]], kubeconfig: string, context: string): KubernetesAddress {
  const command: [string, ...string[]] = [...program, '--kubeconfig', kubeconfig, '--context', context]
  return {
    kubeconfig,
    context,
    kubectl: (args, input) =>
      runProcess([...command, ...args], {
        ...(input === undefined ? {} : { input }),
        // What it has learnt of a cluster is not kept in the home of who runs the tests.
        env: { ...process.env, KUBECACHEDIR: `${kubeconfig}.cache` },
      }),
  }
}

/** 20 s: an API server that lets its connections go may take so long. */
const HALT_MS = 20_000

function clusterOf(state: ClusterState): KubernetesCluster {
  const { link } = groundOf(state)
  const stop = (): Promise<void> => removeCluster(state)
  return {
    ...addressOf([state.programs.kubelab, 'kubectl'], join(state.folder, 'admin.kubeconfig'), CONTEXT),
    url: `https://${link.node}:6443`,
    hostAddress: link.host,
    ask: async <T>(what: ApiRequest) => JSON.parse(await askApi(placeOf(state), what)) as T,
    pid: (component) => state.running[component]?.pid,
    log: (component) => logOf(state, component),
    start: async (component, flags) => {
      if (flags !== undefined) state.flags[component] = flags
      await launch(state, component)
    },
    halt: (component) => end(state, component, HALT_MS),
    kill: (component) => end(state, component, 0),
    suspend: (component) => suspend(state, component),
    resume: (component) => resume(state, component),
    compact: () => compact(link.node),
    inside: (command) => inside(groundOf(state), command),
    importImages: (archive) => importImages(state, archive),
    startRegistry: () => registryFor(state),
    publish: (registry, image, name) => publish(state, registry, { image, name }),
    secondsUsed: () => secondsUsed(groundOf(state)),
    stop,
    traces: () => clusterTraces(state),
    [Symbol.asyncDispose]: stop,
  }
}

/** containerd speaks plain HTTP to loopback only, unless it is told otherwise. */
async function registryFor(state: ClusterState): Promise<ImageRegistry> {
  const registry = await startRegistry({ address: groundOf(state).link.host })
  const folder = join(state.folder, 'registries', registry.host)
  await mkdir(folder, { recursive: true })
  await writeFile(join(folder, 'hosts.toml'), `[host."${registry.url}"]\n  capabilities = ["pull", "resolve"]\n`)
  return registry
}

async function publish(
  state: ClusterState,
  registry: ImageRegistry,
  { image, name }: { image: string; name: string },
): Promise<string> {
  const [from, to] = [`docker.io/${image}`, `${registry.host}/${name}`]
  await onImages(state, 'tag', '--force', from, to)
  await onImages(state, 'push', '--plain-http', '--user', `${registry.user}:${registry.password}`, to)
  await onImages(state, 'rm', to)
  return to
}

async function commandLine(): Promise<void> {
  const [action, ...more] = process.argv.slice(2)
  if (more.length > 0 || (action !== 'up' && action !== 'down')) throw new Error('usage: kubernetes.ts up|down')
  const held = (await knownClusters()).filter(({ detached }) => detached)
  if (action === 'down') {
    for (const state of held) await removeCluster(state)
    return
  }
  const onStage = (stage: string, seconds: number): void => {
    const after = (performance.now() / 1000).toFixed(1)
    console.error(`kubernetes: ${stage} after ${after} s, with ${seconds.toFixed(1)} s of a processor`)
  }
  const cluster = held[0] === undefined ? await startKubernetes({ detached: true, onStage }) : clusterOf(held[0])
  console.log(cluster.kubeconfig)
}

if (import.meta.main) {
  await commandLine().catch((error: unknown) => {
    console.error(`kubernetes: ${(error as Error).message}`)
    process.exitCode = 1
  })
}
