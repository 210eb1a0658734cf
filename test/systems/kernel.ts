/** What a container engine makes in the kernel (networks, mounts, cgroups, left processes), and taking it away. */
import { existsSync } from 'node:fs'
import { readdir, readFile, readlink, rm, rmdir, writeFile } from 'node:fs/promises'
import { basename, join } from 'node:path'

import { mustRun, runProcess } from './process.ts'

/** Where an engine's bridge and networks live. */
export interface EngineNetwork {
  /** `own`: a network namespace of its own; `host`: this machine's. */
  kind: 'own' | 'host'
  bridge: string
  /** First two octets of its /16: the bridge has `.0.1/20`, the engine's networks lie in `.128.0/17`. */
  prefix: string
  /** The file that the namespace is mounted on; for `own`. */
  namespace?: string
}

/** 10.208–10.239: outside Docker's own defaults (172.17–31) and what Kubernetes set-ups and virtual machines use. */
const FIRST_OCTET = 208
const BRIDGES = 32

/** Makes a network namespace, mounted on a new file, with loopback and the engine's bridge in it. */
export async function makeOwnNetwork(file: string): Promise<EngineNetwork> {
  const network: EngineNetwork = { kind: 'own', bridge: 'muster0', prefix: `10.${FIRST_OCTET}`, namespace: file }
  await writeFile(file, '')
  await mustRun(['unshare', `--net=${file}`, 'ip', 'link', 'set', 'lo', 'up'])
  await raiseBridge(network)
  return network
}

/** Makes a bridge in this machine's own network; its free number decides its addresses too. */
export async function makeHostNetwork(): Promise<EngineNetwork> {
  const foreign = await bridgeOfOtherEngine()
  if (foreign !== undefined) {
    throw new Error(
      `another engine has its rules in this machine's iptables (bridge ${foreign}), and a second one would flush them: ` +
        'use that engine (MUSTER_TEST_DOCKER), or start this one with network own',
    )
  }
  await rememberHost()
  const taken = await linkNames()
  for (let number = 0; number < BRIDGES; number += 1) {
    const network: EngineNetwork = { kind: 'host', bridge: `muster${number}`, prefix: `10.${FIRST_OCTET + number}` }
    if (taken.has(network.bridge)) continue
    await raiseBridge(network)
    return network
  }
  throw new Error(`no free bridge: muster0 to muster${BRIDGES - 1} exist. Take old engines down`)
}

async function raiseBridge(network: EngineNetwork): Promise<void> {
  const { bridge, prefix } = network
  await mustRun(inside(network, ['ip', 'link', 'add', bridge, 'type', 'bridge']))
  await mustRun(inside(network, ['ip', 'addr', 'add', `${prefix}.0.1/20`, 'dev', bridge]))
  await mustRun(inside(network, ['ip', 'link', 'set', bridge, 'up']))
}

/** The command that runs another one in this network. Not `ip netns exec`: that one hides /sys/fs/cgroup. */
export function inside(network: EngineNetwork, command: readonly string[]): [string, ...string[]] {
  return network.namespace === undefined
    ? (command as [string, ...string[]])
    : ['nsenter', `--net=${network.namespace}`, ...command]
}

/** Removes the bridges and rules of an engine that has stopped. An own namespace goes with its mount. */
export async function removeNetwork(network: EngineNetwork): Promise<void> {
  if (network.kind === 'own') return
  const bridges = await bridgesOf(network)
  await removeRules((rule) => bridges.some((bridge) => rule.includes(` ${bridge} `)) || rule.includes(` ${network.prefix}.`))
  for (const bridge of bridges) await runProcess(['ip', 'link', 'del', bridge])
  await restoreHost()
}

/** The interfaces of this machine that have an address of the engine's. */
export async function bridgesOf(network: EngineNetwork): Promise<string[]> {
  if (network.kind === 'own') return []
  const links = JSON.parse(await mustRun(['ip', '-4', '-json', 'addr'])) as {
    ifname: string
    addr_info: { local: string }[]
  }[]
  const ours = links.filter((link) => link.addr_info.some((address) => address.local.startsWith(`${network.prefix}.`)))
  return ours.map((link) => link.ifname)
}

/** Not from /sys/class/net: that shows the network in which /sys was mounted. */
async function linkNames(): Promise<Set<string>> {
  const links = JSON.parse(await mustRun(['ip', '-json', 'link'])) as { ifname: string }[]
  return new Set(links.map((link) => link.ifname))
}

/** The rules of this machine's iptables that name the engine's bridges or addresses. */
export async function rulesOf(network: EngineNetwork): Promise<string[]> {
  if (network.kind === 'own') return []
  const rules = await allRules()
  return rules
    .map(({ rule }) => rule)
    .filter((rule) => rule.includes(` ${network.bridge} `) || rule.includes(` ${network.prefix}.`))
}

/** Interfaces and rules of an engine that runs: all of its own network; of the machine's, those with its addresses or on its bridges. */
export async function holdingsOf(network: EngineNetwork): Promise<string[]> {
  const links = JSON.parse(await mustRun(inside(network, ['ip', '-json', 'link']))) as { ifname: string; master?: string }[]
  const rules = (await allRules(network)).map(({ table, rule }) => `iptables ${table} ${rule.trim()}`)
  const named = links.map(({ ifname, master = '' }) => ({ line: `interface ${ifname}`, on: [ifname, master] }))
  if (network.kind === 'own') return [...named.map(({ line }) => line), ...rules]
  const bridges = await bridgesOf(network)
  return [
    ...named.filter(({ on }) => on.some((name) => bridges.includes(name))).map(({ line }) => line),
    ...rules.filter((rule) => [...bridges, `${network.prefix}.`].some((ours) => rule.includes(` ${ours}`))),
  ]
}

interface Rule {
  table: string
  /** As `iptables-save` prints it, `-A CHAIN …`, with a blank at the end. */
  rule: string
}

async function allRules(network?: EngineNetwork): Promise<Rule[]> {
  const rules: Rule[] = []
  let table = ''
  const command: [string] = ['iptables-save']
  for (const line of (await mustRun(network === undefined ? command : inside(network, command))).split('\n')) {
    if (line.startsWith('*')) table = line.slice(1)
    if (line.startsWith('-A ')) rules.push({ table, rule: `${line} ` })
  }
  return rules
}

async function removeRules(ours: (rule: string) => boolean): Promise<void> {
  const rules = (await allRules()).filter(({ rule }) => ours(rule))
  await changeTables(rules.map(({ table, rule }) => ({ table, line: rule.replace('-A ', '-D ').trim() })))
}

async function changeTables(changes: readonly { table: string; line: string }[]): Promise<void> {
  if (changes.length === 0) return
  const tables = Map.groupBy(changes, ({ table }) => table)
  const blocks = [...tables].map(([table, lines]) => [`*${table}`, ...lines.map(({ line }) => line), 'COMMIT', ''])
  await mustRun(['iptables-restore', '--noflush'], { input: blocks.map((lines) => lines.join('\n')).join('') })
}

async function bridgeOfOtherEngine(): Promise<string | undefined> {
  const jumps = (await allRules()).map(({ rule }) => /^-A FORWARD -o (\S+) -j DOCKER /.exec(rule)?.[1])
  const links = await linkNames()
  return jumps.find((bridge) => bridge !== undefined && links.has(bridge))
}

/** How this network was before the first engine of ours changed it; gone again with the last one. */
async function beforeFile(): Promise<string> {
  // The link reads net:[NUMBER]; the number tells network namespaces apart.
  const namespace = (await readlink('/proc/self/ns/net')).replaceAll(/\D/g, '')
  return `/run/muster-test-network-${namespace}.json`
}

interface Before {
  forwardPolicy: string
  ipForward: string
  hadChains: boolean
}

const IP_FORWARD = '/proc/sys/net/ipv4/ip_forward'

async function rememberHost(): Promise<void> {
  const policy = /^-P FORWARD (\S+)/m.exec(await mustRun(['iptables', '-S', 'FORWARD']))?.[1] ?? 'ACCEPT'
  const before: Before = {
    forwardPolicy: policy,
    ipForward: (await readFile(IP_FORWARD, 'utf8')).trim(),
    hadChains: (await dockerChains()).length > 0,
  }
  await writeFile(await beforeFile(), JSON.stringify(before), { flag: 'wx' }).catch(() => {})
}

/** Undoes what dockerd never undoes: its chains, the FORWARD policy DROP and the forwarding switch. */
async function restoreHost(): Promise<void> {
  if ((await bridgeOfOtherEngine()) !== undefined) return
  const file = await beforeFile()
  const text = await readFile(file, 'utf8').catch(() => undefined)
  if (text === undefined) return
  const before = JSON.parse(text) as Before
  if (!before.hadChains) {
    await removeRules((rule) => / -j DOCKER\S* /.test(rule))
    const chains = await dockerChains()
    await changeTables(chains.map(({ table, chain }) => ({ table, line: `-F ${chain}` })))
    await changeTables(chains.map(({ table, chain }) => ({ table, line: `-X ${chain}` })))
  }
  await mustRun(['iptables', '-P', 'FORWARD', before.forwardPolicy])
  await writeFile(IP_FORWARD, before.ipForward)
  await rm(file)
}

async function dockerChains(): Promise<{ table: string; chain: string }[]> {
  const chains: { table: string; chain: string }[] = []
  let table = ''
  for (const line of (await mustRun(['iptables-save'])).split('\n')) {
    if (line.startsWith('*')) table = line.slice(1)
    const chain = /^:(DOCKER\S*)/.exec(line)?.[1]
    if (chain !== undefined) chains.push({ table, chain })
  }
  return chains
}

const CGROUPS = '/sys/fs/cgroup'

/** The folders of a cgroup that hangs at the root: one on cgroup v2, one a controller on v1. */
export async function cgroupFolders(name: string): Promise<string[]> {
  const roots = [CGROUPS, ...(await readdir(CGROUPS)).map((entry) => join(CGROUPS, entry))]
  return [...new Set(roots.map((root) => join(root, name)))].filter((path) => existsSync(join(path, 'cgroup.procs')))
}

/** The processes in a cgroup and below. */
export async function cgroupProcesses(name: string): Promise<number[]> {
  const pids = new Set<number>()
  for (const folder of await cgroupFolders(name)) {
    for (const path of await foldersBelow(folder)) {
      const text = await readFile(join(path, 'cgroup.procs'), 'utf8').catch(() => '')
      for (const line of text.split('\n')) if (line !== '' && line !== '0') pids.add(Number(line))
    }
  }
  return [...pids]
}

/** Removes an empty cgroup with the empty ones below it. */
export async function removeCgroup(name: string): Promise<void> {
  for (const folder of await cgroupFolders(name)) {
    for (const path of (await foldersBelow(folder)).reverse()) await rmdir(path).catch(() => {})
  }
}

/** A folder and all below it, parents first. */
async function foldersBelow(path: string): Promise<string[]> {
  const entries = await readdir(path, { withFileTypes: true }).catch(() => [])
  const below = entries.filter((entry) => entry.isDirectory()).map((entry) => foldersBelow(join(path, entry.name)))
  return [path, ...(await Promise.all(below)).flat()]
}

const ENGINE_PROGRAMS = ['dockerd', 'containerd', 'containerd-shim-runc-v2', 'podman', 'conmon']

/** The engine's, containerd's and shims' processes whose command line names a folder: theirs always does. */
export async function processesNaming(folder: string): Promise<number[]> {
  const pids: number[] = []
  for (const entry of await readdir('/proc')) {
    if (!/^\d+$/.test(entry) || Number(entry) === process.pid) continue
    const args = (await readFile(`/proc/${entry}/cmdline`, 'utf8').catch(() => '')).split('\0')
    if (ENGINE_PROGRAMS.includes(basename(args[0] ?? '')) && args.some((arg) => arg.includes(`${folder}/`)))
      pids.push(Number(entry))
  }
  return pids
}
