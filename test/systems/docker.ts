/**
 * A container engine for tests: finds one, or starts a private dockerd and takes it away again.
 *
 * Command line, for a run that wants one engine throughout:
 * `node test/systems/docker.ts up --socket PATH [--network host|own] [--images]` prints its `unix://` address,
 * `node test/systems/docker.ts down --socket PATH` removes it and everything it made.
 */
import { existsSync } from 'node:fs'
import { chmod, mkdir, readdir, readFile, rm, rmdir, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, delimiter, dirname, join, resolve } from 'node:path'
import { parseArgs } from 'node:util'

import { askEngine, engineJson, engineVersion, type EngineVersion } from './engine.ts'
import { ensureImage, TEST_IMAGES, type TestImage } from './images.ts'
import { leftOn } from './inventory.ts'
import {
  bridgesOf,
  cgroupFolders,
  cgroupProcesses,
  holdingsOf,
  inside,
  makeHostNetwork,
  makeOwnNetwork,
  processesNaming,
  removeCgroup,
  removeNetwork,
  rulesOf,
  type EngineNetwork,
} from './kernel.ts'
import type { Presence } from './presence.ts'
import { identityOf, isRunning, mustRun, startProcess, stopIdentity, type ProcessIdentity } from './process.ts'
import { mountsBelow, removeFolder, tempFolder } from './temp.ts'
import { waitFor } from './wait.ts'

export interface DockerAddress extends EngineVersion {
  /** Path of the unix socket. */
  socket: string
  /** The same as `unix://…`, as `DOCKER_HOST` wants it. */
  host: string
}

export interface DockerOptions {
  /**
   * `own` (default): in a network namespace of its own. Nothing of this machine's network changes and no other engine
   * is disturbed, but neither a container's address, nor a published port, nor a registry on 127.0.0.1 is reachable.
   * `host`: as an installed engine. Refused while another one works here: two flush each other's iptables chains.
   */
  network?: EngineNetwork['kind']
  /** Default: in the engine's temporary folder. */
  socket?: string
  /** More arguments for dockerd, as `--live-restore`. */
  args?: readonly string[]
  /** Its data lie on a disk of so many bytes, which is memory; default: on this machine's. */
  diskBytes?: number
  /** The beginning of a command that becomes dockerd, as one that shows it another file of the machine. */
  under?: readonly string[]
  /** Default false: dockerd gets SIGTERM when the thread that started it ends. True: it stays until `stop`. */
  detached?: boolean
}

export interface DockerEngine extends DockerAddress {
  /** dockerd's output, of all its starts. */
  readonly log: string
  /** The folder of its data. */
  readonly data: string
  /** dockerd's pid now; undefined while it does not run. */
  pid(): number | undefined
  /** Starts dockerd again on the same data, network and socket. */
  start(): Promise<void>
  /** Stops dockerd as a service manager would, with its containers; data stays. */
  halt(): Promise<void>
  /** SIGKILLs dockerd; its containers go on. */
  kill(): Promise<void>
  /** The command that runs another one in its network. */
  inside(command: readonly string[]): [string, ...string[]]
  /** All it holds while it runs, in lines: of its inventory, and interfaces, rules, mounts, namespaces and processes in the kernel. */
  holds(): Promise<string[]>
  /** Ends everything and removes everything. Idempotent. */
  stop(): Promise<void>
  /** What of it is still on this machine: files, mounts, processes, cgroups, interfaces, iptables rules. */
  traces(): Promise<string[]>
  [Symbol.asyncDispose](): Promise<void>
}

/** All that is needed to take an engine away, kept as `engine.json` in its folder. */
interface EngineState {
  folder: string
  socket: string
  network: EngineNetwork
  /** Its containers' cgroups hang below this one, at the root. */
  cgroup: string
  args: readonly string[]
  under: readonly string[]
  detached: boolean
  /** The topmost folder made for the socket. */
  madeFolder?: string
  /** The process that started it and takes it away. */
  starter?: ProcessIdentity
  dockerd?: ProcessIdentity
}

/**
 * The engine that tests use: `MUSTER_TEST_DOCKER`, else `DOCKER_HOST`, else the usual socket if it answers, else one
 * that the command line holds up on this machine. A variable that names an engine which does not answer decides too.
 */
export async function findDocker(): Promise<Presence<DockerAddress>> {
  const name = 'docker'
  for (const variable of ['MUSTER_TEST_DOCKER', 'DOCKER_HOST']) {
    const host = process.env[variable]
    if (host === undefined || host === '') continue
    if (!host.startsWith('unix://')) return { name, absent: `${variable} is ${host}; tests use unix:// only` }
    try {
      return { name, system: await addressOf(host.slice('unix://'.length)) }
    } catch (error) {
      return { name, absent: `nothing answers at ${variable}=${host}: ${(error as Error).message}` }
    }
  }
  const held = (await knownEngines()).filter(({ detached, network }) => detached && network.kind === 'host')
  for (const socket of ['/var/run/docker.sock', ...held.map((engine) => engine.socket)]) {
    const system = await addressOf(socket).catch(() => undefined)
    if (system !== undefined) return { name, system }
  }
  const why =
    process.env[DOCKER_FAILED] ?? cannotStartDocker() ?? 'start one: node test/systems/docker.ts up --socket PATH --images'
  return { name, absent: `no engine answers at /var/run/docker.sock, and MUSTER_TEST_DOCKER names none; ${why}` }
}

/** Why the run's own engine did not start, told by its set-up to the processes of the tests. */
export const DOCKER_FAILED = 'MUSTER_TEST_DOCKER_FAILED'

/** {@link startDocker}, if this user can start an engine on this machine. */
export function findStartDocker(): Presence<typeof startDocker> {
  const absent = cannotStartDocker()
  return absent === undefined ? { name: 'docker', system: startDocker } : { name: 'docker', absent }
}

/** Why no private engine can be started here; undefined when one can. */
export function cannotStartDocker(): string | undefined {
  if (process.platform !== 'linux') return `an engine of our own needs Linux, this is ${process.platform}`
  if (process.getuid?.() !== 0) return 'an engine of our own needs root'
  for (const program of ['dockerd', 'containerd', 'iptables', 'ip', 'nsenter']) {
    const found = PATH.split(delimiter).some((folder) => existsSync(join(folder, program)))
    if (!found) return `${program} is not installed: run test/systems/install.sh`
  }
  return undefined
}

/** dockerd finds iptables, runc and containerd by PATH, and a test's PATH need not have the system folders. */
const PATH = [process.env['PATH'] ?? '', '/usr/local/sbin', '/usr/sbin', '/sbin', '/usr/bin', '/bin'].join(delimiter)

/** Starts a private engine; answers when it answers. Rejects, with nothing left, when it does not come up in 90 s. */
export async function startDocker(options: DockerOptions = {}): Promise<DockerEngine> {
  const { network = 'own', args = [], under = [], detached = false } = options
  const absent = cannotStartDocker()
  if (absent !== undefined) throw new Error(absent)
  const { path: folder } = await tempFolder('docker')
  // The root of remapped containers, who is nobody here, goes through it to its data.
  await chmod(folder, 0o711)
  const socket = resolve(options.socket ?? join(folder, 'docker.sock'))
  const madeFolder = await mkdir(dirname(socket), { recursive: true })
  let state: EngineState | undefined
  try {
    const made = network === 'own' ? await makeOwnNetwork(join(folder, 'network')) : await makeHostNetwork()
    state = { folder, socket, network: made, cgroup: basename(folder), args, under, detached }
    if (options.diskBytes !== undefined) await makeDisk(dataOf(state), options.diskBytes)
    const starter = await identityOf(process.pid)
    if (starter !== undefined) state.starter = starter
    if (madeFolder !== undefined) state.madeFolder = madeFolder
    await save(state)
    await launch(state)
    return { ...(await addressOf(socket)), ...controlsOf(state) }
  } catch (error) {
    await (state === undefined ? removeFolder(folder) : removeEngine(state))
    throw error
  }
}

function controlsOf(state: EngineState): Omit<DockerEngine, keyof DockerAddress> {
  const end = async (graceMs: number): Promise<void> => {
    if (state.dockerd !== undefined) await stopIdentity(state.dockerd, graceMs)
    delete state.dockerd
    await save(state)
  }
  return {
    log: logOf(state),
    data: dataOf(state),
    pid: () => state.dockerd?.pid,
    start: () => launch(state),
    halt: () => end(HALT_MS),
    kill: () => end(0),
    inside: (command) => inside(state.network, command),
    holds: () => holdsOf(state),
    stop: () => removeEngine(state),
    traces: () => tracesOf(state),
    [Symbol.asyncDispose]: () => removeEngine(state),
  }
}

/** dockerd waits 15 s for its containers by default; a little more, then it hangs. */
const HALT_MS = 20_000

/** It goes with the engine's folder. */
async function makeDisk(path: string, bytes: number): Promise<void> {
  await mkdir(path)
  await mustRun(['mount', '-t', 'tmpfs', '-o', `size=${bytes}`, 'tmpfs', path])
}

const dataOf = (state: EngineState): string => join(state.folder, 'data')
const logOf = (state: EngineState): string => join(state.folder, 'dockerd.log')

async function addressOf(socket: string): Promise<DockerAddress> {
  return { socket, host: `unix://${socket}`, ...(await engineVersion(socket)) }
}

async function save(state: EngineState): Promise<void> {
  if (existsSync(state.folder)) await writeFile(join(state.folder, 'engine.json'), JSON.stringify(state))
}

async function launch(state: EngineState): Promise<void> {
  const { folder, socket, network, cgroup } = state
  if (state.dockerd !== undefined && (await isRunning(state.dockerd))) throw new Error('dockerd runs already')
  const pidFile = join(folder, 'dockerd.pid')
  // After a SIGKILL these stay. A process that has got such a pid since, or a containerd that died with dockerd and
  // was not reaped yet, would count as running: dockerd would refuse, or wait in vain for that containerd.
  for (const file of [pidFile, join(folder, 'exec/containerd/containerd.pid')]) await rm(file, { force: true })
  await writeFile(join(folder, 'daemon.json'), '{}')
  const flags = {
    'config-file': join(folder, 'daemon.json'),
    pidfile: pidFile,
    host: `unix://${socket}`,
    'data-root': dataOf(state),
    'exec-root': join(folder, 'exec'),
    bridge: network.bridge,
    'default-address-pool': `base=${network.prefix}.128.0/17,size=24`,
    ip6tables: 'false',
    'cgroup-parent': `/${cgroup}`,
    'exec-opt': 'native.cgroupdriver=cgroupfs',
    // dockerd uses a containerd of the machine if one runs: there these names keep us apart from another engine.
    'containerd-namespace': cgroup,
    'containerd-plugins-namespace': `${cgroup}-plugins`,
  }
  const dockerd = ['dockerd', ...Object.entries(flags).map(([flag, value]) => `--${flag}=${value}`), ...state.args]
  const bound = state.detached ? [] : ['setpriv', '--pdeathsig', 'TERM']
  const env = { PATH, HOME: folder }
  const running = await startProcess(inside(network, [...bound, ...state.under, ...dockerd]), {
    env,
    logFile: logOf(state),
    detached: true,
  })
  const dockerdIdentity = await identityOf(running.pid)
  if (dockerdIdentity !== undefined) state.dockerd = dockerdIdentity
  await save(state)
  const look = async (): Promise<string> => (running.running() ? (await engineVersion(socket)).version : 'ended')
  const seen = await waitFor('the engine to answer', look).catch(async (cause: unknown) => {
    throw new Error(`dockerd does not answer. Its log ends:\n${await endOf(logOf(state))}`, { cause })
  })
  if (seen === 'ended') throw new Error(`dockerd ended. Its log ends:\n${await endOf(logOf(state))}`)
}

async function endOf(file: string): Promise<string> {
  return (await readFile(file, 'utf8').catch(() => '')).slice(-3_000)
}

async function removeEngine(state: EngineState): Promise<void> {
  const { folder, socket, network, cgroup, dockerd } = state
  if (dockerd !== undefined) {
    // A container that does not heed SIGTERM would hold dockerd up for 10 s.
    await killContainers(socket).catch(() => {})
    await stopIdentity(dockerd, HALT_MS)
    delete state.dockerd
  }
  // Only a killed dockerd leaves these: shims and containers, which nobody watches any more.
  await waitFor("the end of an engine's processes", () => killLeft(state), { until: (left) => left === 0 })
  await removeCgroup(cgroup)
  await removeNetwork(network)
  await rm(socket, { force: true })
  await removeFolder(folder)
  // Somebody else may have put files beside the socket: they stay, with their folder.
  if (state.madeFolder === dirname(socket)) await rmdir(state.madeFolder).catch(() => {})
}

async function killContainers(socket: string): Promise<void> {
  const containers = await engineJson<{ Id: string }[]>(socket, { path: '/containers/json', timeoutMs: 5_000 })
  const kill = (id: string) => askEngine(socket, { method: 'POST', path: `/containers/${id}/kill`, timeoutMs: 5_000 })
  await Promise.all(containers.map(({ Id }) => kill(Id)))
}

/** Kills what is left of an engine; answers how many processes there were. */
async function killLeft({ folder, cgroup }: EngineState): Promise<number> {
  const pids = [...(await cgroupProcesses(cgroup)), ...(await processesNaming(folder))]
  const alive = (await Promise.all(pids.map((pid) => identityOf(pid)))).filter((identity) => identity !== undefined)
  await Promise.all(alive.map((identity) => stopIdentity(identity, 0)))
  return alive.length
}

async function holdsOf({ folder, socket, network, cgroup }: EngineState): Promise<string[]> {
  // The engine's own network, which it makes a name for when first a container has it, and keeps.
  const mounts = (await mountsBelow(folder)).filter((path) => !path.endsWith('/netns/default'))
  return [
    ...(await leftOn(socket)),
    ...(await holdingsOf(network)),
    ...mounts.map((path) => `mount ${path}`),
    ...(await cgroupProcesses(cgroup)).map((pid) => `process ${pid}`),
  ]
}

async function tracesOf({ folder, socket, network, cgroup }: EngineState): Promise<string[]> {
  return [
    ...[folder, socket].filter((path) => existsSync(path)),
    ...(await mountsBelow(folder)).map((path) => `mount ${path}`),
    ...[...(await cgroupProcesses(cgroup)), ...(await processesNaming(folder))].map((pid) => `process ${pid}`),
    ...(await cgroupFolders(cgroup)).map((path) => `cgroup ${path}`),
    ...(await bridgesOf(network)).map((bridge) => `interface ${bridge}`),
    ...(await rulesOf(network)).map((rule) => `iptables ${rule}`),
  ]
}

/** The engines of ours on this machine, running or left behind. */
async function knownEngines(): Promise<EngineState[]> {
  const folders = (await readdir(tmpdir())).filter((entry) => entry.startsWith('muster-docker-'))
  const files = folders.map((folder) => readFile(join(tmpdir(), folder, 'engine.json'), 'utf8').catch(() => undefined))
  const texts = (await Promise.all(files)).filter((text) => text !== undefined)
  return texts.map((text) => JSON.parse(text) as EngineState)
}

/** Removes the engines whose starter was killed before it could, as a test's process by an operator. */
export async function sweepDocker(): Promise<void> {
  if (cannotStartDocker() !== undefined) return
  for (const state of await knownEngines()) {
    if (state.detached || (state.starter !== undefined && (await isRunning(state.starter)))) continue
    await removeEngine(state)
  }
}

async function commandLine(): Promise<void> {
  const options = { socket: { type: 'string' }, network: { type: 'string' }, images: { type: 'boolean' } } as const
  const { values, positionals } = parseArgs({ options, allowPositionals: true })
  const [action] = positionals
  const network = values.network ?? 'host'
  const valid = positionals.length === 1 && (network === 'host' || network === 'own')
  if (!valid || values.socket === undefined || (action !== 'up' && action !== 'down')) {
    throw new Error('usage: docker.ts up|down --socket PATH [--network host|own] [--images]')
  }
  const socket = resolve(values.socket)
  if (action === 'down') {
    const state = (await knownEngines()).find((engine) => engine.socket === socket)
    if (state === undefined) throw new Error(`no engine of ours has the socket ${socket}`)
    await removeEngine(state)
    return
  }
  const address = await addressOf(socket).catch(() => startDocker({ socket, network, detached: true }))
  const names = values.images === true ? (Object.keys(TEST_IMAGES) as TestImage[]) : []
  for (const name of names) await ensureImage(socket, name)
  console.log(address.host)
}

if (import.meta.main) {
  await commandLine().catch((error: unknown) => {
    console.error(`docker: ${(error as Error).message}`)
    process.exitCode = 1
  })
}
