/** A cluster for tests as its folder keeps it: bringing its components up, watching for their readiness, taking all of it away. */
import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, rename, stat, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { once } from 'node:events'

import { identityOf, isRunning, mustRun, type ProcessIdentity, startProcess, stopIdentity } from '../process.ts'
import { removeFolder, tempFolder } from '../temp.ts'
import { waitFor } from '../wait.ts'
import { API_PORT, HEALTH, NODE } from './addresses.ts'
import { askApi } from './ask.ts'
import { commandOf, type Component, configFiles } from './components.ts'
import { firstChild, type Ground, inside, makeGround, removeGround, secondsUsed, tracesOf } from './ground.ts'
import { makeIdentities } from './identities.ts'
import { writeImages } from './images.ts'
import { clusterObjects } from './objects.ts'
import { PATH, type Programs } from './programs.ts'

/** All that is needed to use a cluster and to take it away, kept as `cluster.json` in its folder. */
export interface ClusterState {
  folder: string
  programs: Programs
  /** Absent for one that did not come so far. */
  ground?: Ground
  /** More flags for its components. The last of a name counts. */
  flags: Partial<Record<Component, readonly string[]>>
  /** It stays until it is taken away; else it ends with the thread that started it. */
  detached: boolean
  /** The process that started it and takes it away. */
  starter?: ProcessIdentity
  running: Partial<Record<Component, ProcessIdentity>>
}

export interface BringUp {
  flags?: ClusterState['flags']
  detached?: boolean
  /** Told at the end of each stage of the start, with the processor time of the whole cluster up to it, in seconds. */
  onStage?: (stage: string, seconds: number) => void
}

const PREFIX = 'kubernetes'

/** In less than the hook of any suite has: a start that is given up is taken away by who began it. */
const START_MS = 150_000

/** Makes a cluster with everything in it ready. Rejects, with nothing left, when a part does not come up in 90 s, or all in 150 s. */
export async function bringUp(programs: Programs, options: BringUp): Promise<ClusterState> {
  const { flags = {}, detached = false, onStage = () => {} } = options
  const { path: folder } = await tempFolder(PREFIX)
  const starter = await identityOf(process.pid)
  const state: ClusterState = { folder, programs, flags, detached, running: {}, ...(starter === undefined ? {} : { starter }) }
  try {
    await save(state)
    const raised = raise(state, async (stage) => onStage(stage, await secondsUsed(groundOf(state))))
    const late = AbortSignal.timeout(START_MS)
    await Promise.race([raised, once(late, 'abort').then(() => Promise.reject(new Error(`no cluster after ${START_MS} ms`)))])
    return state
  } catch (error) {
    await removeCluster(state)
    throw error
  }
}

async function raise(state: ClusterState, stage: (name: string) => Promise<void>): Promise<void> {
  const { folder, programs, detached } = state
  const { link } = await makeGround({ folder, cgroup: basename(folder), probe: programs.probe, detached }, async (ground) => {
    state.ground = ground
    await save(state)
  })
  const [, archive] = await Promise.all([
    makeIdentities(folder, link.node),
    writeImages(folder, programs.probe),
    writeConfig(state),
  ])
  await stage('ground')
  await Promise.all([
    launch(state, 'etcd').then(() => launch(state, 'apiserver')),
    launch(state, 'containerd').then(() => importImages(state, archive)),
  ])
  await stage('API server')
  for (const { path, body } of clusterObjects(link.node)) await askApi(placeOf(state), { method: 'POST', path, body })
  const first = ['kubelet', 'controller', 'scheduler', 'proxy', 'coredns'] as const
  await Promise.all(first.map((component) => launch(state, component)))
  // The network policies' engine looks its node up when it starts, and ends without one. It writes the whole table that kube-proxy's
  // first rules go to.
  await waitFor('the node', () => nodeOf(state))
  await launch(state, 'policies')
  await stage('components')
  await waitFor('a node that is ready and takes pods', () => takesPods(state))
  // Without it no pod of the namespace is admitted; a controller makes it.
  const account = { path: '/api/v1/namespaces/default/serviceaccounts/default' }
  await waitFor('the service account of a namespace', () => askApi(placeOf(state), account))
  await stage('node')
}

interface NodeObject {
  spec: { taints?: unknown[] }
  status: { conditions?: { type: string; status: string }[] }
}

async function nodeOf(state: ClusterState): Promise<NodeObject> {
  return JSON.parse(await askApi(placeOf(state), { path: `/api/v1/nodes/${NODE}` })) as NodeObject
}

async function takesPods(state: ClusterState): Promise<boolean> {
  const { spec, status } = await nodeOf(state)
  const ready = status.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') ?? false
  return ready && (spec.taints ?? []).length === 0
}

/**
 * kube-proxy says that it is healthy before its rules are there, and a query that was sent too early is lost for seconds. One whose
 * first try fails never tries again, whatever its log says of a retry: somebody wrote the same table meanwhile.
 */
async function leadsServices(state: ClusterState, logged: number): Promise<'ready' | 'gave up' | false> {
  const { link } = groundOf(state)
  const log = await readFile(logOf(state, 'proxy'))
  if (log.subarray(logged).includes('"Sync failed"')) return 'gave up'
  const rules = await mustRun(inside(groundOf(state), ['iptables-save', '-t', 'nat']))
  return [API_PORT, 53].every((port) => rules.includes(`--to-destination ${link.node}:${port}\n`)) && 'ready'
}

/** The ground of a cluster that has come up. */
export function groundOf({ ground }: ClusterState): Ground {
  if (ground === undefined) throw new Error('this cluster has not come up')
  return ground
}

/** Where its components find what they need. */
export function placeOf(state: ClusterState): { folder: string; kubelab: string; node: string; cgroup: string } {
  const { folder, programs } = state
  const { link, cgroup } = groundOf(state)
  return { folder, kubelab: programs.kubelab, node: link.node, cgroup }
}

async function writeConfig(state: ClusterState): Promise<void> {
  const at = (name: string): string => join(state.folder, name)
  await Promise.all(Object.entries(configFiles(placeOf(state))).map(([name, content]) => writeFile(at(name), content)))
  await Promise.all([mkdir(at('cni')), mkdir(at('registries'))])
  await rename(at('network.json'), at('cni/network.conflist'))
}

export const logOf = (state: ClusterState, component: Component): string => join(state.folder, `${component}.log`)

/** Starts a component, on what it has left behind if it ran before; answers when it is ready. */
export async function launch(state: ClusterState, component: Component): Promise<void> {
  const before = state.running[component]
  if (before !== undefined && (await isRunning(before))) throw new Error(`${component} runs already`)
  const command = [...commandOf(component, placeOf(state)), ...(state.flags[component] ?? [])]
  const logged = existsSync(logOf(state, component)) ? (await stat(logOf(state, component))).size : 0
  const running = await startProcess(inside(groundOf(state), command), {
    env: { PATH, HOME: state.folder },
    logFile: logOf(state, component),
    detached: true,
  })
  const look = async (): Promise<string | false> => {
    if (!running.running()) return 'ended'
    const identity = await firstChild(running.pid)
    if (identity === undefined) return false
    state.running[component] = identity
    if (!(await isReady(state, component))) return false
    return component === 'proxy' ? leadsServices(state, logged) : 'ready'
  }
  const seen = await waitFor(`${component} to be ready`, look).catch(async (cause: unknown) => {
    throw new Error(`${component} is not ready. Its log ends:\n${await endOf(logOf(state, component))}`, { cause })
  })
  if (seen === 'gave up') {
    await end(state, component, 0)
    return launch(state, component)
  }
  if (seen === 'ended') throw new Error(`${component} ended. Its log ends:\n${await endOf(logOf(state, component))}`)
  await save(state)
}

/** Controller manager and scheduler answer nobody: they count as ready when they run. */
async function isReady(state: ClusterState, component: Component): Promise<boolean> {
  if (component === 'controller' || component === 'scheduler') return true
  if (component === 'containerd') return answers(join(state.folder, 'containerd.sock'))
  if (component === 'apiserver') return (await askApi(placeOf(state), { path: '/readyz' })) === 'ok'
  const { port, path } = HEALTH[component]
  const answer = await fetch(`http://${groundOf(state).link.node}:${port}${path}`, { signal: AbortSignal.timeout(5_000) })
  await answer.body?.cancel()
  return answer.ok
}

async function answers(socketPath: string): Promise<boolean> {
  const socket = connect(socketPath)
  try {
    await once(socket, 'connect')
    return true
  } finally {
    socket.destroy()
  }
}

async function endOf(file: string): Promise<string> {
  return (await readFile(file, 'utf8').catch(() => '')).slice(-3_000)
}

/** Ends a component: with SIGTERM, and SIGKILL when `graceMs` have passed; 0 kills at once. */
export async function end(state: ClusterState, component: Component, graceMs: number): Promise<void> {
  const identity = state.running[component]
  if (identity !== undefined) await stopIdentity(identity, graceMs)
  delete state.running[component]
  await save(state)
}

/** SIGSTOPs a component: its connections stay, and nobody answers. */
export function suspend({ running }: ClusterState, component: Component): void {
  const pid = running[component]?.pid
  if (pid === undefined) throw new Error(`${component} does not run`)
  process.kill(pid, 'SIGSTOP')
}

/** Lets it go on, and with it who waits for it outside its namespace: nsenter stops when its child does. */
export async function resume({ running }: ClusterState, component: Component): Promise<void> {
  const pid = running[component]?.pid
  if (pid === undefined) return
  const [, parent] = /^PPid:\t(\d+)$/m.exec(await readFile(`/proc/${pid}/status`, 'utf8')) ?? []
  for (const one of [Number(parent), pid]) process.kill(one, 'SIGCONT')
}

/** Runs containerd's own client on the images of the node. */
export async function onImages(state: ClusterState, ...command: string[]): Promise<string> {
  const socket = join(state.folder, 'containerd.sock')
  return mustRun(['ctr', '--address', socket, '--namespace', 'k8s.io', 'images', ...command], { env: { PATH } })
}

/** Gives the node the images of an archive, as `docker save` writes it. */
export async function importImages(state: ClusterState, archive: string): Promise<void> {
  await onImages(state, 'import', archive)
}

async function save(state: ClusterState): Promise<void> {
  if (existsSync(state.folder)) await writeFile(join(state.folder, 'cluster.json'), JSON.stringify(state))
}

/** Ends everything of a cluster and removes everything. Idempotent. */
export async function removeCluster(state: ClusterState): Promise<void> {
  if (state.ground !== undefined) await removeGround(state.ground)
  state.running = {}
  await removeFolder(state.folder)
}

/** What of a cluster is still on this machine: its folder, processes, cgroups, the link. */
export async function clusterTraces({ folder, ground }: ClusterState): Promise<string[]> {
  return [...[folder].filter((path) => existsSync(path)), ...(ground === undefined ? [] : await tracesOf(ground))]
}

/** The clusters of ours on this machine, running or left behind. */
export async function knownClusters(): Promise<ClusterState[]> {
  const folders = (await readdir(tmpdir())).filter((entry) => entry.startsWith(`muster-${PREFIX}-`))
  const files = folders.map((folder) => readFile(join(tmpdir(), folder, 'cluster.json'), 'utf8').catch(() => undefined))
  const texts = (await Promise.all(files)).filter((text) => text !== undefined && text !== '') as string[]
  return texts.map((text) => JSON.parse(text) as ClusterState)
}

/** Removes the clusters whose starter was killed before it could. */
export async function sweepClusters(): Promise<void> {
  for (const state of await knownClusters()) {
    if (state.detached || (state.starter !== undefined && (await isRunning(state.starter)))) continue
    await removeCluster(state)
  }
}
