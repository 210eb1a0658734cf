/** What an engine is and has room for, as the contract tells it. Pure. */
import type { Headroom, Probe } from '@muster/core'
import { apiRange, compareVersions } from '../client.ts'
import type { Row } from './rows.ts'
import type { EngineFacts } from '../engine/facts.ts'
import type { RoomLimits } from '../room-limits.ts'
import { freeOf } from './room.ts'

/** What the limits of running workers, of whatever owner, leave of the engine, or of what workers may take of it. Pure. */
export function headroomOf({ cpus: cpu, memoryBytes }: EngineFacts, limits: RoomLimits, rows: readonly Row[]): Headroom {
  return freeOf({ cpu, memoryBytes, ...limits }, rows)
}

/** What an operator should know of this engine. Pure. */
export function describe(facts: EngineFacts): Probe {
  const { version, api, oldestApi, name, os, arch, cgroup, storage, cpus, memoryBytes, limits } = facts
  const engineFacts = {
    ...{ engine: version, api, name, os, arch, cgroup, storage },
    ...{ cpus: String(cpus), memoryBytes: String(memoryBytes) },
  }
  const failed = (message: string, hint: string): Probe => ({ state: 'failed', message, hint, facts: engineFacts })
  if (os !== 'linux') return failed(`the engine runs ${os} containers`, 'Switch it to Linux containers.')
  if (compareVersions(api, apiRange.oldest) < 0 || compareVersions(oldestApi, apiRange.newest) > 0)
    return failed(
      `the engine speaks API ${oldestApi} to ${api}, this plugin ${apiRange.oldest} to ${apiRange.newest}`,
      'Use an engine of version 20.10 or newer, or another version of this plugin.',
    )
  const missing = Object.entries({ cpu: limits.cpu, memory: limits.memory, pids: limits.pids }).filter(([, there]) => !there)
  const notes = [
    ...missing.map(([limit]) => `no ${limit} limit: the engine's kernel has none`),
    ...(facts.init ? [] : ["no docker-init: a worker's command is process 1"]),
    ...(facts.liveRestore ? [] : ['workers end when the engine restarts: live-restore is off']),
    ...(facts.rootless ? ['rootless engine'] : []),
  ]
  return { state: 'ready', facts: engineFacts, ...(notes.length === 0 ? {} : { notes }) }
}
