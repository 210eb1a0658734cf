/** What an engine is and can: read from /version and /info, kept until the engine was away. */
import type { Engine } from '../client.ts'
import type { Ids } from './users.ts'

export interface EngineFacts {
  /** The engine's own version and the agreed version of its API. */
  version: string
  api: string
  oldestApi: string
  name: string
  os: string
  /** As the contract says it; another processor under the engine's own word. */
  arch: string
  cpus: number
  memoryBytes: number
  /** Which limits its kernel honours; the others would be dropped with a mere warning. */
  limits: { cpu: boolean; cpuShares: boolean; cpuset: boolean; memory: boolean; swap: boolean; pids: boolean }
  /** What the kernel and the engine hold workers in; `userns`: their root is nobody on the machine. */
  security: { apparmor: boolean; seccomp: boolean; userns: boolean }
  /** Who the root of its containers is on its machine, where it remaps users. */
  remapped?: Ids
  /** Is docker-init there? */
  init: boolean
  cgroup: string
  storage: string
  rootless: boolean
  /** Do containers outlive a restart of the engine? */
  liveRestore: boolean
  /** Does it refuse devices that it has no driver for? Another one leaves them out in silence. */
  deviceRequests: boolean
  /** Do volumes that it makes together with a container have the labels that were asked for? */
  volumeLabels: boolean
  /** Does it make a container before the network that it names is there? */
  lateNetworks: boolean
  /** Which of its log drivers keeps every byte and can be read: see {@link logConfigOf}. */
  logDriver: string
}

/** The part of GET /info that is used. */
export interface EngineInfo {
  Name: string
  OSType: string
  Architecture: string
  NCPU: number
  MemTotal: number
  MemoryLimit: boolean
  SwapLimit: boolean
  PidsLimit: boolean
  CpuCfsPeriod: boolean
  CpuCfsQuota: boolean
  CPUShares?: boolean
  CPUSet?: boolean
  InitBinary?: string
  InitCommit?: { ID: string }
  CgroupVersion?: string
  Driver: string
  DockerRootDir?: string
  SecurityOptions?: string[] | null
  LiveRestoreEnabled?: boolean
  Plugins?: { Log?: string[] | null }
}

const archNames: Readonly<Record<string, string>> = { x86_64: 'amd64', aarch64: 'arm64' }

/** Asks the engine. */
export async function readFacts(engine: Engine, signal: AbortSignal): Promise<EngineFacts> {
  const [{ api, theirs }, info] = await Promise.all([
    engine.agreed(signal),
    engine.json<EngineInfo>({ method: 'GET', path: '/info', signal }),
  ])
  const facts = factsOf(info, { api, version: theirs.Version, oldestApi: theirs.MinAPIVersion })
  // Where each container has a monitor process of its own, the engine is nobody's parent, whatever it says of live-restore. Of the
  // rest such an engine (podman 4.3) says nothing.
  const monitored = (theirs.Components as { Name: string }[] | null | undefined)?.some(({ Name }) => Name === 'Conmon') === true
  return monitored ? { ...facts, liveRestore: true, deviceRequests: false, volumeLabels: false, lateNetworks: false } : facts
}

/** Pure. */
export function factsOf(info: EngineInfo, version: { api: string; version: string; oldestApi: string }): EngineFacts {
  const has = (name: string): boolean => (info.SecurityOptions ?? []).some((option) => option.split(',')[0] === `name=${name}`)
  const userns = has('userns')
  // The API has no word for it, but an engine keeps what is remapped in a folder of that name.
  const [, uid, gid] = (userns ? /\/(\d+)\.(\d+)$/.exec(info.DockerRootDir ?? '') : undefined) ?? []
  return {
    ...version,
    name: info.Name,
    os: info.OSType,
    arch: archNames[info.Architecture] ?? info.Architecture,
    cpus: info.NCPU,
    memoryBytes: info.MemTotal,
    limits: {
      cpu: info.CpuCfsPeriod && info.CpuCfsQuota,
      cpuShares: info.CPUShares === true,
      cpuset: info.CPUSet === true,
      memory: info.MemoryLimit,
      swap: info.SwapLimit,
      pids: info.PidsLimit,
    },
    security: { apparmor: has('apparmor'), seccomp: has('seccomp'), userns },
    ...(uid === undefined ? {} : { remapped: { uid: Number(uid), gid: Number(gid) } }),
    // An engine that does not find the program says so in its version.
    init: (info.InitBinary ?? '') !== '' && info.InitCommit?.ID !== 'N/A',
    cgroup: info.CgroupVersion ?? '1',
    storage: info.Driver,
    rootless: has('rootless'),
    liveRestore: info.LiveRestoreEnabled === true,
    ...{ deviceRequests: true, volumeLabels: true, lateNetworks: true },
    logDriver: exactDrivers.find((driver) => info.Plugins?.Log?.includes(driver) === true) ?? 'local',
  }
}

/** The drivers whose files have every byte as it was: json-file, the usual default, replaces what is not UTF-8. */
const exactDrivers = ['local', 'k8s-file']

/** Log files are kept whole, for a cursor to count in: a second file is begun only at a size no reader lags behind by. */
const LOG_FILE_SIZE = '16g'

/** How a worker's output is kept. Podman's driver takes a size too, but then cuts the file; without one it keeps all. Pure. */
export function logConfigOf({ logDriver }: Pick<EngineFacts, 'logDriver'>): { Type: string; Config: Record<string, string> } {
  if (logDriver !== 'local') return { Type: logDriver, Config: {} }
  return { Type: 'local', Config: { 'max-size': LOG_FILE_SIZE, 'max-file': '2', compress: 'false' } }
}
