/** What a cluster for tests is run with: programs of this machine, and the ones that build.sh makes. */
import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'

import { runProcess } from '../process.ts'

/** The programs that build.sh makes, by path. */
export interface Programs {
  /** Every component of Kubernetes: its first argument says which. */
  kubelab: string
  /** What runs in pods. */
  probe: string
}

/** Components find each other's tools by PATH, and a test's PATH need not have the system folders. */
export const PATH: string = [process.env['PATH'] ?? '', '/usr/local/sbin', '/usr/sbin', '/sbin', '/usr/bin', '/bin'].join(
  delimiter,
)

/** Where Debian puts the programs that make networks of pods. */
export const CNI = '/usr/lib/cni'

const BUILD = join(import.meta.dirname, 'build.sh')

const TOOLS = ['containerd', 'ctr', 'runc', 'iptables', 'ipset', 'ip', 'unshare', 'nsenter', 'mount', 'openssl']

/** Why no cluster can be run by this user on this machine, built or not; undefined when one can. */
export function cannotRunCluster(): string | undefined {
  if (process.platform !== 'linux') return `a cluster of our own needs Linux, this is ${process.platform}`
  if (process.getuid?.() !== 0) return 'a cluster of our own needs root'
  // Its kubelet is told its cgroups for each controller of v1.
  if (existsSync('/sys/fs/cgroup/cgroup.controllers')) return 'a cluster of our own needs cgroup v1, this machine has v2'
  const missing = [
    ...TOOLS.filter((tool) => !PATH.split(delimiter).some((folder) => existsSync(join(folder, tool)))),
    ...[join(CNI, 'bridge'), '/bin/busybox'].filter((file) => !existsSync(file)),
  ]
  return missing.length === 0 ? undefined : `${missing.join(', ')} missing: run test/systems/install.sh kubernetes`
}

/** The programs, or how far they are. Builds nothing. */
export async function findPrograms(): Promise<Programs | 'missing' | 'being built'> {
  const { code, stdout, stderr } = await runProcess([BUILD, '--paths'])
  if (code === 3) return 'missing'
  if (code === 4) return 'being built'
  if (code !== 0) throw new Error(`build.sh --paths: ${stderr}`)
  return programsOf(stdout)
}

/** An hour: a build from nothing takes a quarter of one, when nothing else uses the machine. */
const BUILD_MS = 3_600_000

/** The programs, after the build that another process does; without one this builds what is missing. */
export async function buildPrograms(): Promise<Programs> {
  const { code, stdout, stderr } = await runProcess([BUILD], { timeoutMs: BUILD_MS })
  if (code !== 0) throw new Error(`build.sh: ${stderr.slice(-4_000)}`)
  return programsOf(stdout)
}

function programsOf(lines: string): Programs {
  const paths = Object.fromEntries(
    lines
      .trim()
      .split('\n')
      .map((line) => line.split(' ')),
  ) as Record<string, string>
  return { kubelab: paths['kubelab'] ?? '', probe: paths['probe'] ?? '' }
}
