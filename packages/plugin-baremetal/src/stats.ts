/** What a worker uses: from its cgroup, else summed over its living processes. */
import { readFile } from 'node:fs/promises'
import type { Instant, WorkerStats } from '@muster/core'
import type { WorkerCgroup } from './cgroup.ts'
import type { WorkerState } from './folder.ts'
import { kinOf, statOf, ticksPerSecond } from './proc.ts'

/** Size of a page in `/proc/PID/stat` on the processors Muster runs on. */
const PAGE = 4096

/** Undefined: no process of it is there. A worker that holds may have none, and goes on: see {@link idleStats}. */
export async function statsOf(state: WorkerState, at: Instant): Promise<WorkerStats | undefined> {
  const found = state.cgroup === undefined ? undefined : await fromCgroup(state.cgroup)
  const pids = await pidsOf(state)
  const live = (await Promise.all(pids.map((pid) => statOf(pid)))).filter((stat) => stat !== undefined)
  if (live.length === 0) return undefined
  return {
    id: state.id,
    at,
    // Without a cgroup, the time of processes that ended unseen by their parent is lost.
    cpuSeconds: found?.cpuSeconds ?? live.reduce((sum, stat) => sum + stat.cpuTicks, 0) / ticksPerSecond,
    memoryBytes: found?.memoryBytes ?? live.reduce((sum, stat) => sum + stat.rssPages * PAGE, 0),
    ...(found?.memoryPeakBytes === undefined ? {} : { memoryPeakBytes: found.memoryPeakBytes }),
    pids: found?.pids ?? live.length,
  }
}

/** Of a worker without a process: what its cgroup has counted so far, else nothing. */
export async function idleStats({ id, cgroup }: WorkerState, at: Instant): Promise<WorkerStats> {
  const found = cgroup === undefined ? {} : await fromCgroup(cgroup)
  return { id, at, cpuSeconds: 0, memoryBytes: 0, ...found, pids: 0 }
}

async function pidsOf({ id, mark, user, cgroup }: WorkerState): Promise<number[]> {
  if (cgroup === undefined) return await kinOf(user ?? { id, mark })
  return ((await read(cgroup.list)) ?? '').split('\n').filter(Boolean).map(Number)
}

async function fromCgroup(cgroup: WorkerCgroup): Promise<Partial<Omit<WorkerStats, 'id' | 'at'>>> {
  const { cpu, memory } = cgroup
  const [cpuText, now, peak, pids] = await Promise.all([cpu?.file, memory?.now, memory?.peak, cgroup.pids].map(read))
  const seconds = cpu === undefined || cpuText === undefined ? undefined : cpuSeconds(cpuText, cpu.version)
  return {
    ...(seconds === undefined ? {} : { cpuSeconds: seconds }),
    ...numbered('memoryBytes', now),
    ...numbered('memoryPeakBytes', peak),
    ...numbered('pids', pids),
  }
}

/** Nanoseconds in version 1, a line `usage_usec N` in version 2. */
export function cpuSeconds(text: string, version: 1 | 2): number | undefined {
  if (version === 1) return Number(text) / 1e9
  const match = /^usage_usec (\d+)$/m.exec(text)
  return match === null ? undefined : Number(match[1]) / 1e6
}

function numbered(name: 'memoryBytes' | 'memoryPeakBytes' | 'pids', text: string | undefined): Record<string, number> {
  return text === undefined ? {} : { [name]: Number(text) }
}

async function read(file: string | undefined): Promise<string | undefined> {
  return file === undefined ? undefined : await readFile(file, 'latin1').catch(() => undefined)
}
