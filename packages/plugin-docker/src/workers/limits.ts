/** How much a worker may use: from the spec and its pool's settings to the engine's limits. Pure. */
import type { LaunchSpec, Resources } from '@muster/core'
import type { CreateBody } from '../client.ts'
import type { EngineFacts } from '../engine/facts.ts'
import { type DockerSettings, refuse } from '../settings.ts'

type HostConfig = NonNullable<CreateBody['HostConfig']>

/** The least an engine gives. Source: its own refusals ("Range of CPUs is from 0.01", "Minimum memory limit allowed is 6MB"). */
const LEAST = { cpu: 0.01, memoryBytes: 6 * 1024 * 1024 }

const notLimited = "the engine's kernel does not limit it"

/** Refuses a limit that the engine would drop, or that its machine cannot keep. */
export function checkLimits(spec: LaunchSpec, settings: DockerSettings, facts: EngineFacts): void {
  const { cpu, memoryBytes, pids, gpus } = spec.resources ?? {}
  const { limits } = facts
  const wanted: [path: string, value: unknown, there: boolean][] = [
    ['resources.cpu', cpu, limits.cpu],
    ['resources.memoryBytes', memoryBytes, limits.memory],
    ['resources.pids', pids, limits.pids],
    ['settings.cpuShares', settings.cpuShares, limits.cpuShares],
    ['settings.cpuset', settings.cpuset, limits.cpuset],
    ['settings.swapBytes', settings.swapBytes, limits.swap],
  ]
  for (const [path, value, there] of wanted) if (value !== undefined && !there) throw refuse('unsupported', path, notLimited)
  if (cpu !== undefined && cpu > facts.cpus) throw refuse('unsupported', 'resources.cpu', `the engine has ${facts.cpus}`)
  // The engine itself accepts a limit beyond the machine's memory, which then is a promise it cannot keep.
  if (memoryBytes !== undefined && memoryBytes > facts.memoryBytes)
    throw refuse('unsupported', 'resources.memoryBytes', `the engine has ${facts.memoryBytes}`)
  if (settings.swapBytes !== undefined && memoryBytes === undefined)
    throw refuse('invalid-spec', 'settings.swapBytes', 'swap is limited together with resources.memoryBytes')
  if (!facts.deviceRequests && (gpus ?? settings.deviceRequests) !== undefined)
    throw refuse(
      'unsupported',
      gpus === undefined ? 'settings.deviceRequests' : 'resources.gpus',
      'the engine would leave it out',
    )
  if (gpus !== undefined && settings.deviceRequests !== undefined)
    throw refuse('invalid-spec', 'settings.deviceRequests', 'give them or resources.gpus, not both')
  for (const [name, value] of Object.entries(settings.ulimits ?? {})) checkUlimit(name, value)
}

/** Names of setrlimit(2) without `RLIMIT_`, as an engine takes them. */
const ulimitNames: ReadonlySet<string> = new Set([
  ...['core', 'cpu', 'data', 'fsize', 'locks', 'memlock', 'msgqueue', 'nice'],
  ...['nofile', 'nproc', 'rss', 'rtprio', 'rttime', 'sigpending', 'stack'],
])

function checkUlimit(name: string, value: number | { soft: number; hard: number }): void {
  const path = `settings.ulimits.${name}`
  if (!ulimitNames.has(name)) throw refuse('invalid-spec', path, 'there is no such limit')
  if (typeof value === 'number' || value.hard === -1) return
  if (value.soft === -1 || value.soft > value.hard) throw refuse('invalid-spec', path, 'the soft limit is above the hard one')
}

/** What is given instead of what was asked, where an engine's least is more; undefined when nothing was rounded up. */
export function grantedOf({ resources }: LaunchSpec): Resources | undefined {
  const { cpu, memoryBytes } = resources ?? {}
  const more: Resources = {
    ...(cpu !== undefined && cpu < LEAST.cpu ? { cpu: LEAST.cpu } : {}),
    ...(memoryBytes !== undefined && memoryBytes < LEAST.memoryBytes ? { memoryBytes: LEAST.memoryBytes } : {}),
  }
  return Object.keys(more).length === 0 ? undefined : { ...resources, ...more }
}

/** The engine's limits and devices of a worker. */
export function limitsOf(spec: LaunchSpec, settings: DockerSettings): HostConfig {
  const { cpu, memoryBytes, pids, gpus } = grantedOf(spec) ?? spec.resources ?? {}
  const { cpuShares, cpuset, swapBytes = 0, shmBytes, ulimits, ioWeight, devices, deviceRequests } = settings
  const requests = gpus === undefined ? deviceRequests : [{ count: gpus, capabilities: ['gpu'] }]
  return {
    ...(cpu === undefined ? {} : { NanoCpus: Math.ceil(cpu * 1e9) }),
    // The second is the sum of both. Without it a worker gets as much swap again.
    ...(memoryBytes === undefined ? {} : { Memory: memoryBytes, MemorySwap: memoryBytes + swapBytes }),
    ...(pids === undefined ? {} : { PidsLimit: pids }),
    ...(cpuShares === undefined ? {} : { CpuShares: cpuShares }),
    ...(cpuset === undefined ? {} : { CpusetCpus: cpuset }),
    ...(shmBytes === undefined ? {} : { ShmSize: shmBytes }),
    ...(ioWeight === undefined ? {} : { BlkioWeight: ioWeight }),
    ...(ulimits === undefined
      ? {}
      : {
          Ulimits: Object.entries(ulimits).map(([Name, value]) =>
            typeof value === 'number' ? { Name, Soft: value, Hard: value } : { Name, Soft: value.soft, Hard: value.hard },
          ),
        }),
    ...(devices === undefined
      ? {}
      : {
          Devices: devices.map(({ path, target = path, access = 'rwm' }) => ({
            PathOnHost: path,
            PathInContainer: target,
            CgroupPermissions: access,
          })),
        }),
    ...(requests === undefined
      ? {}
      : {
          DeviceRequests: requests.map(({ driver = '', ids = [], count = ids.length > 0 ? 0 : 1, capabilities = ['gpu'] }) => ({
            Driver: driver,
            Count: count,
            DeviceIDs: ids,
            Capabilities: [capabilities],
          })),
        }),
  }
}

/** The settings that an engine says it has dropped: it makes the container all the same, with a warning. */
const dropped: readonly { words: RegExp; path: string }[] = [
  { words: /block i\/o weight/i, path: 'settings.ioWeight' },
  { words: /swap limit/i, path: 'settings.swapBytes' },
  { words: /cpu shares/i, path: 'settings.cpuShares' },
  { words: /cpuset/i, path: 'settings.cpuset' },
  { words: /memory limit/i, path: 'resources.memoryBytes' },
  { words: /pids limit/i, path: 'resources.pids' },
]

/** The path of what an engine dropped, by its warning; undefined when it dropped nothing that was asked for. */
export function droppedPath(warning: string, spec: LaunchSpec): string | undefined {
  if (!/does not support|discarded/i.test(warning)) return undefined
  const path = dropped.find(({ words }) => words.test(warning))?.path
  if (path === undefined) return undefined
  const [room, name] = path.split('.') as ['settings' | 'resources', string]
  return (spec[room] as Record<string, unknown> | undefined)?.[name] === undefined ? undefined : path
}

/** The path of what a container has not got though it was asked for. Only of the weight there is no fact that tells it before. */
export function lackedPath({ BlkioWeight }: Pick<HostConfig, 'BlkioWeight'>, { ioWeight }: DockerSettings): string | undefined {
  return ioWeight === undefined || BlkioWeight === ioWeight ? undefined : 'settings.ioWeight'
}
