/** What an operator should know of local workers on this machine. */
import { readFile } from 'node:fs/promises'
import { availableParallelism, totalmem } from 'node:os'
import type { Headroom, Probe } from '@muster/core'
import type { Controller } from './cgroup.ts'
import type { WorkerState } from './folder.ts'
import type { Site } from './site.ts'

const controllers: readonly Controller[] = ['cpu', 'memory', 'pids']

export async function probeOf(site: Site): Promise<Probe> {
  const missing = controllers.filter((name) => site.can[name] !== true)
  const notes = [
    ...(site.isolated ? [] : ['no isolation: same user']),
    ...(missing.length === 0 ? [] : [`no limits of ${missing.join(', ')}: no writable cgroup`]),
    'network and file system are the machine’s own: bind mounts are links, workers see each other’s ports',
  ]
  const users = await site.users?.count()
  return {
    state: 'ready',
    notes,
    facts: {
      root: site.root,
      cgroup: site.cgroups?.version ?? 'none',
      limits: controllers.filter((name) => site.can[name] === true).join(', ') || 'none',
      logs: site.logBytes === undefined ? 'unlimited' : `${site.logBytes} bytes of each stream`,
      users: users === undefined ? 'same' : `${users.total - users.free} of ${users.total} in use`,
      path: site.path,
    },
  }
}

/** Slots, processors and memory that no living worker was promised. */
export async function headroomOf(
  site: Site,
  given: { states: readonly WorkerState[]; slots: number | undefined },
): Promise<Headroom> {
  const { states } = given
  const users = await site.users?.count()
  const total = given.slots ?? users?.total
  const free = Math.min(users?.free ?? Number.POSITIVE_INFINITY, total === undefined ? 0 : total - states.length)
  const cpus = availableParallelism()
  const promised = (field: 'cpu' | 'memoryBytes'): number => states.reduce((sum, state) => sum + (state.granted?.[field] ?? 0), 0)
  return {
    ...(total === undefined ? {} : { slots: { free: Math.max(0, free), total } }),
    cpu: { free: Math.max(0, cpus - promised('cpu')), total: cpus },
    memoryBytes: {
      free: Math.max(0, Math.min(await availableMemory(), totalmem() - promised('memoryBytes'))),
      total: totalmem(),
    },
  }
}

async function availableMemory(): Promise<number> {
  const match = /^MemAvailable:\s+(\d+) kB$/m.exec(await readFile('/proc/meminfo', 'latin1').catch(() => ''))
  return match === null ? totalmem() : Number(match[1]) * 1024
}
