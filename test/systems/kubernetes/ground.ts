/**
 * What a cluster for tests stands on: namespaces, cgroups and a link of its own, so that it shares nothing with the machine and
 * all of it goes with one process.
 */
import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, readlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

import { cgroupFolders, cgroupProcesses, removeCgroup } from '../kernel.ts'
import { identityOf, isRunning, mustRun, type ProcessIdentity, runProcess, startProcess, stopIdentity } from '../process.ts'
import { waitFor } from '../wait.ts'
import { PODS, SERVICES } from './addresses.ts'
import { PATH } from './programs.ts'

/** Where a cluster runs. */
export interface Ground {
  folder: string
  /** The first process of its PID namespace, seen from outside: with it all others end. */
  first: ProcessIdentity
  /** The name of its network, as `net:[4026532287]`. The number is free for another when nobody is in it any more. */
  network: string
  /** At the root of each hierarchy: all of its processes are in it or below. */
  cgroup: string
  link: Link
  /** Who was in its network when it was taken away, and not by {@link inside}: not ours to end. */
  strangers: ProcessIdentity[]
}

/** The pair of interfaces between the machine and the cluster. */
export interface Link {
  /** The machine's end. */
  name: string
  /** Addresses of the machine's end and of the node's. */
  host: string
  node: string
}

/** 10.207: beside what engines for tests have (10.208–239). Four addresses a link. */
const LINK_PREFIX = '10.207.0'
const LINKS = 64

/**
 * What kubelet wants of the kernel. It would set these for the whole machine; here it reads them from files that lie over the real ones.
 * Values: k8s.io/component-helpers/node/util/sysctl.
 */
const KERNEL = {
  'kernel/keys/root_maxbytes': '25000000',
  'kernel/keys/root_maxkeys': '1000000',
  'kernel/panic': '10',
  'kernel/panic_on_oops': '1',
  'vm/overcommit_memory': '1',
  'vm/panic_on_oom': '0',
}

/** Folders that containerd, its network plugins and kubelet write to, whatever they are told. */
const PRIVATE = { run: '/run', lib: '/var/lib', log: '/var/log' }

/** Makes namespaces with a first process in them, and joins them to this machine by a link. */
export async function makeGround(
  options: { folder: string; cgroup: string; probe: string; detached: boolean },
  found: (ground: Ground) => Promise<void>,
): Promise<Ground> {
  const { folder, cgroup } = options
  await makeCgroup(cgroup)
  const first = await startFirst(options)
  const network = await readlink(`/proc/${first.pid}/ns/net`)
  const ground: Ground = { folder, first, network, cgroup, link: { name: '', host: '', node: '' }, strangers: [] }
  // Told early: whoever takes it away can do so from here on.
  await found(ground)
  ground.link = await makeLink(first.pid)
  await found(ground)
  await mustRun(inside(ground, ['sh', '-ec', networkScript(ground.link)]))
  return ground
}

/** The command that runs another one in the cluster's namespaces and cgroup. */
export function inside(ground: Ground, command: readonly string[]): [string, ...string[]] {
  const enter = ['nsenter', `--target=${ground.first.pid}`, '--mount', '--net', '--pid', '--']
  return [...enter, 'sh', '-c', JOIN, 'join', ground.cgroup, ...command] as [string, ...string[]]
}

/** `$$` is the pid within the namespace; the kernel knows whom it means. */
const JOIN = 'for d in /sys/fs/cgroup/*/"$1"; do echo $$ > "$d/cgroup.procs"; done; shift; exec "$@"'

async function makeCgroup(name: string): Promise<void> {
  const root = '/sys/fs/cgroup'
  // On v1 with systemd beside it: `unified` is a hierarchy of v2 without controllers.
  const hierarchies = (await readdir(root)).filter((entry) => entry !== 'unified')
  for (const hierarchy of hierarchies) await mkdir(join(root, hierarchy, name), { recursive: true })
  // A new cpuset is empty, and an empty one takes no process.
  for (const file of ['cpuset.cpus', 'cpuset.mems'])
    await writeFile(join(root, 'cpuset', name, file), await readFile(join(root, 'cpuset', file), 'utf8'))
}

async function startFirst(options: {
  folder: string
  cgroup: string
  probe: string
  detached: boolean
}): Promise<ProcessIdentity> {
  const { folder, cgroup, probe, detached } = options
  const ready = join(folder, 'ready')
  for (const name of Object.keys(PRIVATE)) await mkdir(join(folder, name))
  for (const [name, value] of Object.entries(KERNEL)) {
    const file = join(folder, 'sys', name)
    await mkdir(join(file, '..'), { recursive: true })
    await writeFile(file, `${value}\n`)
  }
  const mounts = [
    ...Object.entries(PRIVATE).map(([name, path]) => `mount --bind '${join(folder, name)}' ${path}`),
    ...Object.keys(KERNEL).map((name) => `mount --bind '${join(folder, 'sys', name)}' /proc/sys/${name}`),
  ]
  // A copy of what another test has mounted would hold it when that test ends. It goes by itself once that test has removed its place.
  const others = `cut -d' ' -f5 /proc/self/mountinfo | grep '^${tmpdir()}/muster-' | sort -r | xargs -r umount --lazy`
  const without = `for try in 1 2 3 4 5; do ${others} && break; [ $try -lt 5 ]; done`
  // What kubelet mounts for a pod must be seen in containers that run already.
  const script = [without, 'mount --make-rshared /', ...mounts, 'ip link set lo up', `touch '${ready}'`, `exec '${probe}' pause`]
  // Not TERM: unshare does not heed it while it waits.
  const bound = detached ? [] : ['setpriv', '--pdeathsig', 'KILL']
  const namespaces = ['unshare', '--mount', '--propagation=private', '--net', '--pid', '--fork', '--kill-child', '--mount-proc']
  const running = await startProcess(
    ['sh', '-c', JOIN, 'join', cgroup, ...bound, ...namespaces, 'sh', '-ec', script.join('\n')],
    { env: { PATH }, logFile: join(folder, 'ground.log'), detached: true },
  )
  await waitFor('the namespaces of a cluster', () => existsSync(ready) || !running.running())
  const first = await firstChild(running.pid)
  if (first === undefined) throw new Error(`no namespaces: ${await readFile(join(folder, 'ground.log'), 'utf8')}`)
  return first
}

/** Who runs in a namespace for a process that only waits outside, as nsenter and unshare do. */
export async function firstChild(pid: number): Promise<ProcessIdentity | undefined> {
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').catch(() => '')
  return identityOf(Number(children.split(' ')[0] || 'none'))
}

async function makeLink(pid: number): Promise<Link> {
  for (let number = 0; number < LINKS; number += 1) {
    const name = `musterk${number}`
    const peer = ['type', 'veth', 'peer', 'name', 'node', 'netns', String(pid)]
    const { code, stderr } = await runProcess(['ip', 'link', 'add', name, ...peer])
    // Somebody else's, and of another cluster that starts now too.
    if (code !== 0 && stderr.includes('File exists')) continue
    if (code !== 0) throw new Error(`ip link add ${name}: ${stderr}`)
    const [host, node] = [1, 2].map((place) => `${LINK_PREFIX}.${4 * number + place}`) as [string, string]
    await mustRun(['ip', 'addr', 'add', `${host}/30`, 'dev', name])
    await mustRun(['ip', 'link', 'set', name, 'up'])
    return { name, host, node }
  }
  throw new Error(`no free link: musterk0 to musterk${LINKS - 1} exist`)
}

/**
 * No default route: nothing leaves but to the machine's own end. Services need a route, though none of their packets takes it: their
 * addresses are replaced after a route was found. What pods send to the machine seems to come from the node, which it can answer.
 */
function networkScript({ node }: Link): string {
  return [
    `ip addr add ${node}/30 dev node`,
    'ip link set node up',
    'ip link add services type bridge',
    'ip link set services up',
    `ip route add ${SERVICES} dev services src ${node}`,
    'for name in ip_forward=1 conf/all/rp_filter=0; do echo ${name#*=} > /proc/sys/net/ipv4/${name%=*}; done',
    '[ ! -e /proc/sys/net/bridge ] || echo 1 > /proc/sys/net/bridge/bridge-nf-call-iptables',
    `iptables -w -t nat -A POSTROUTING -s ${PODS} -o node -j MASQUERADE`,
  ].join('\n')
}

/** Ends every process of a cluster and takes away what it stood on; its folder stays. */
export async function removeGround(ground: Ground): Promise<void> {
  const { first, cgroup, link } = ground
  if (await isRunning(first)) ground.strangers = await strangersIn(ground)
  await stopIdentity(first, 0)
  // Who was put into the cgroup from another namespace.
  await waitFor("the end of a cluster's processes", () => killAll(cgroup), { until: (left) => left === 0 })
  await waitFor("the end of a cluster's cgroups", async () => {
    await removeCgroup(cgroup)
    return (await cgroupFolders(cgroup)).length === 0
  })
  // It goes with the network, a little after the last process in it.
  if (link.name !== '') await runProcess(['ip', 'link', 'del', link.name])
}

async function killAll(cgroup: string): Promise<number> {
  const alive = await identitiesOf(await cgroupProcesses(cgroup))
  await Promise.all(alive.map((one) => stopIdentity(one, 0)))
  return alive.length
}

async function identitiesOf(pids: readonly number[]): Promise<ProcessIdentity[]> {
  return (await Promise.all(pids.map((pid) => identityOf(pid)))).filter((one) => one !== undefined)
}

/** What of it is still on this machine: processes, cgroups, the link. */
export async function tracesOf({ first, cgroup, link, strangers }: Ground): Promise<string[]> {
  const ours = await identitiesOf(await cgroupProcesses(cgroup))
  const known = await Promise.all([first, ...strangers].map(async (one) => ((await isRunning(one)) ? [one] : [])))
  const links = JSON.parse(await mustRun(['ip', '-json', 'link'])) as { ifname: string }[]
  return [
    ...new Set([...ours, ...known.flat()].map(({ pid }) => `process ${pid}`)),
    ...(await cgroupFolders(cgroup)).map((path) => `cgroup ${path}`),
    ...links.filter(({ ifname }) => ifname === link.name).map(({ ifname }) => `interface ${ifname}`),
  ]
}

async function strangersIn({ network, cgroup }: Ground): Promise<ProcessIdentity[]> {
  const pids = (await readdir('/proc')).filter((entry) => /^\d+$/.test(entry))
  const networks = await Promise.all(pids.map((pid) => readlink(`/proc/${pid}/ns/net`).catch(() => '')))
  const ours = new Set(await cgroupProcesses(cgroup))
  return identitiesOf(pids.map(Number).filter((pid, at) => networks[at] === network && !ours.has(pid)))
}

/** Processor time of all its processes so far, pods included, in seconds. */
export async function secondsUsed({ cgroup }: Ground): Promise<number> {
  return Number(await readFile(`/sys/fs/cgroup/cpuacct/${cgroup}/cpuacct.usage`, 'utf8')) / 1e9
}
