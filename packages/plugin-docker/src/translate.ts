/** From the contract's spec to the engine's request, and from the engine's objects to observations. Pure. */
import { posix } from 'node:path'
import {
  fieldsOf,
  type FileSpec,
  type Handle,
  type Instant,
  type LaunchSpec,
  type Mount,
  type OwnerTags,
  type ProviderPhase,
  type SpecField,
  type WorkerExit,
  type WorkerId,
  type WorkerObservation,
  type WorkerStats,
} from '@muster/core'
import type { ContainerInspect, ContainerStats, CreateBody } from './client.ts'
import { EngineFailure, toDockerError } from './errors.ts'
import { type EngineFacts, logConfigOf } from './engine/facts.ts'
import { isImageName } from './images/name.ts'
import { label, labelsOf } from './labels.ts'
import { checkLimits, limitsOf } from './workers/limits.ts'
import { checkNetwork, checkUnreached, exposedPorts, networkOf, planOf } from './network/network.ts'
import type { HostRules } from './rules.ts'
import { checkSecurity, securityOf } from './workers/security.ts'
import { type DockerSettings, refuse, settingsOf } from './settings.ts'
import { checkMounts, mountsOf } from './workers/storage.ts'

/** The most bytes of environment. A kernel takes at most 128 KiB for one variable, its name and two more bytes included. */
export const envBytes: number = 120 * 1024

/** Where a holding worker keeps what is needed between commands; a volume of its own under a read-only root. */
export const stateRoot = '/.muster'

/** Where the runner of a worker keeps its runs. A volume's own top folder an engine leaves as it is. */
export function runFolderIn({ readOnlyRoot }: { readOnlyRoot: boolean }): string {
  return readOnlyRoot ? `${stateRoot}/run` : stateRoot
}

/** With it a holding worker ends that is suspended to disk: nothing else of it ends so. EX_TEMPFAIL of sysexits.h. */
const SUSPENDED_CODE = 75

/** Files beside the runs of a worker: it ended to be started again, and then was. A start after any other end takes the second away. */
export const marks = { suspended: '.suspended', resumed: '.resumed' } as const

/** Five seconds: most programs end within one of SIGTERM, on a busy machine within a few. */
const SUSPEND_TRIES = 50

/** Makes a holding worker end what runs in it, and itself, to be started again. */
export const suspendSignal = 'SIGUSR1'

/** In the script of a holding worker: from there on it waits for that signal. */
export const suspendTrap = 'trap stay USR1'

/** Has it ended only to be started again? */
export function isOnDisk({ Config, State }: Pick<ContainerInspect, 'Config' | 'State'>): boolean {
  return State.Status === 'exited' && State.ExitCode === SUSPENDED_CODE && Config.Labels[label.holds] !== undefined
}

/**
 * What holds a worker open. It ends at SIGTERM, but first hands the signal to every command inside (`kill -1` means all processes this
 * user may signal, but itself and process 1) and waits until none is left, so that they have the grace too. A shell sees a signal only
 * between commands: hence `wait`. Where its user may, it makes the runner's folder: an engine takes 60 ms to put it there.
 */
const holdScript = (runFolder: string): string =>
  [
    'end() { trap "" TERM USR1; kill -TERM -1; wait; while kill -0 -1; do sleep 0.1 || sleep 1; done; exit 0; }',
    'trap end TERM INT',
    // Whoever is left then ends with it.
    `stay() { trap "" TERM USR1; kill -TERM -1; wait; n=0; while kill -0 -1 && [ $n -lt ${SUSPEND_TRIES} ]; do sleep 0.1 || sleep 1; n=$((n + 1)); done; true >${runFolder}/${marks.suspended} && exit ${SUSPENDED_CODE}; exit 1; }`,
    `mkdir -m 1777 ${runFolder} 2>/dev/null`,
    `mv ${runFolder}/${marks.suspended} ${runFolder}/${marks.resumed} 2>/dev/null || rm -f ${runFolder}/${marks.resumed}`,
    // It needs the folder.
    suspendTrap,
    'while sleep 2147483 & wait $!; do :; done',
    'exit 127',
  ].join('\n')

/** What one provider honours: the fields of its manifest, as far as its operator's rules go. */
export interface Honoured {
  fields: readonly SpecField[]
  rules: HostRules
  /** Is there a way from here to addresses that only the engine's machine reaches? */
  reaches: boolean
}

/**
 * Refuses what this engine would not honour: the first such field as `unsupported` with its path, a value that cannot be as
 * `invalid-spec`, more than the machine has as `capacity`.
 */
export function checkSpec(spec: LaunchSpec, { fields, rules, reaches }: Honoured, facts: EngineFacts): void {
  for (const field of fieldsOf(spec))
    if (!fields.includes(field)) throw refuse('unsupported', field, 'this provider does not honour it')
  if (spec.work.mode === 'agent') throw refuse('unsupported', 'work.mode', 'a Docker worker runs a command or holds')
  if (spec.image === undefined) throw refuse('invalid-spec', 'image', 'a Docker worker needs an image')
  checkImages(spec, spec.image)
  if (spec.os !== undefined && spec.os !== facts.os) throw refuse('unsupported', 'os', `the engine runs ${facts.os}`)
  if (spec.arch !== undefined && spec.arch !== facts.arch) throw refuse('unsupported', 'arch', `the engine runs on ${facts.arch}`)
  if (spec.work.mode === 'command' && spec.work.command[0] === '')
    throw refuse('invalid-spec', 'work.command', 'a program has a name')
  const settings = settingsOf(spec)
  checkLimits(spec, settings, facts)
  checkSecurity(spec, settings, facts)
  const bytes = Object.entries(spec.env ?? {}).reduce((sum, pair) => sum + Buffer.byteLength(pair.join('')), 0)
  if (bytes > envBytes) throw refuse('invalid-spec', 'env', `names and values together are more than ${envBytes} bytes`)
  checkMounts(spec, settings, rules)
  checkNetwork(spec, settings, rules)
  if (!reaches) checkUnreached(spec)
  checkEngine(spec, settings, facts)
  if ((spec.files?.length ?? 0) > 0 && spec.security?.readOnlyRoot === true)
    throw refuse('unsupported', 'files', 'files cannot be put into a read-only root')
}

function checkImages({ services = [] }: LaunchSpec, image: string): void {
  const named = [['image', image], ...services.map((service, index) => [`services.${index}.image`, service.image])] as const
  for (const [at, name] of named) if (!isImageName(name)) throw refuse('invalid-spec', at, 'it is no name of an image')
}

/** Refuses what stands on orders and labels that not every engine keeps. */
function checkEngine(spec: LaunchSpec, settings: DockerSettings, { volumeLabels, lateNetworks }: EngineFacts): void {
  const volume = (spec.mounts ?? []).findIndex(({ source }) => source.kind === 'volume')
  if (!volumeLabels && volume >= 0)
    throw refuse('unsupported', 'mounts.volume', 'the engine makes it without labels: it could not be found again')
  const { networks, gate, services } = planOf(spec, settings)
  if (lateNetworks || networks.length === 0) return
  const at = gate === undefined ? (services === undefined ? 'settings.network.scope' : 'services') : 'network.egress.restricted'
  throw refuse('unsupported', at, 'the engine makes no worker before its network is there')
}

/** The body of POST /containers/create. */
export function createBody(spec: LaunchSpec, facts: EngineFacts): CreateBody {
  const { work, security = {} } = spec
  const settings = settingsOf(spec)
  const network = networkOf(spec, settings)
  const program =
    work.mode === 'command'
      ? work.command
      : ['/bin/sh', '-c', holdScript(runFolderIn({ readOnlyRoot: security.readOnlyRoot === true }))]
  return {
    Image: spec.image ?? '',
    ...network,
    ...(network.HostConfig.PortBindings === undefined ? {} : exposedPorts(settings.network)),
    Labels: labelsOf(spec),
    // Both are given, so that nothing of the image's own is put before or behind.
    Entrypoint: program.slice(0, 1),
    Cmd: program.slice(1),
    Env: Object.entries(spec.env ?? {}).map(([name, value]) => `${name}=${value}`),
    // An image's own check would run beside the job and count against its limits.
    Healthcheck: { Test: ['NONE'] },
    ...(work.mode === 'hold' ? { StopSignal: 'SIGTERM' } : {}),
    ...(work.mode === 'hold' && security.readOnlyRoot === true ? { Volumes: { [stateRoot]: {} } } : {}),
    ...(spec.workdir === undefined ? {} : { WorkingDir: posix.resolve('/', spec.workdir) }),
    ...(security.user === undefined ? {} : { User: security.user }),
    ...(settings.stopTimeoutSeconds === undefined ? {} : { StopTimeout: settings.stopTimeoutSeconds }),
    HostConfig: {
      // A worker stays listed with its exit until terminate.
      AutoRemove: false,
      RestartPolicy: { Name: 'no' },
      // Reaps orphans, and makes a job's death by a signal an exit code: process 1 would not die of one.
      Init: facts.init,
      LogConfig: logConfigOf(facts),
      ...limitsOf(spec, settings),
      ...network.HostConfig,
      ...securityOf(spec, settings),
      ...mountsOf(spec, settings),
    },
  }
}

/** `linux/amd64`, when the spec names a processor: an image of another one is then refused instead of started. */
export function platformOf({ os = 'linux', arch }: LaunchSpec): string | undefined {
  return arch === undefined ? undefined : `${os}/${arch}`
}

/** Refuses a file that a tmpfs mount would hide: files are put in before the mounts exist. `at` is the file's absolute path. */
export function checkHidden(file: FileSpec, at: string, mounts: readonly Mount[]): void {
  const mount = mounts.find(({ target }) => `${at}/`.startsWith(`${target.replace(/\/+$/, '')}/`))
  if (mount !== undefined) throw refuse('unsupported', 'files', `${file.path} would be hidden by the mount at ${mount.target}`)
}

/** A reference to a container: found by its name alone, the engine's own id is there for people. */
export function handleOf(container: string): Handle {
  return { v: 1, data: { container } }
}

const phases: Readonly<Record<string, ProviderPhase>> = {
  created: 'provisioning',
  restarting: 'provisioning',
  running: 'running',
  paused: 'suspended',
  removing: 'stopping',
  exited: 'exited',
  // The engine failed to remove it; the next terminate tries again.
  dead: 'stopping',
}

/** An engine's word for a state as the contract's. `stopping`: have we asked it to end? */
export function phaseOf(state: string, stopping: boolean): ProviderPhase {
  const phase = phases[state] ?? 'provisioning'
  return stopping && (phase === 'running' || phase === 'suspended') ? 'stopping' : phase
}

/** What is known of one container. */
export function observe(container: ContainerInspect, tags: OwnerTags, stopping: boolean): WorkerObservation {
  const { State: state } = container
  const phase = phaseOf(isOnDisk(container) ? 'paused' : state.Status, stopping)
  const problem = phase === 'provisioning' ? problemOf(state) : undefined
  return {
    id: tags['muster-worker'],
    handle: handleOf(container.Id),
    tags,
    phase,
    ready: phase === 'running',
    ...(problem === undefined ? {} : { problem }),
    ...(phase === 'exited' ? { exit: exitOf(state, container.HostConfig.Memory) } : {}),
  }
}

/** The same of one that was started again: the worker ended with its first run, and nobody knows how. One that we end is ending. */
export function observedAgain(seen: WorkerObservation, { StartedAt: started }: ContainerInspect['State']): WorkerObservation {
  if (seen.phase === 'stopping') return seen
  const at = instantOf(started)
  const { problem: _problem, ...rest } = seen
  const reason = 'unknown: somebody started its container again, beside Muster'
  return { ...rest, phase: 'exited', ready: false, exit: { reason, ...(at === undefined ? {} : { at }) } }
}

/** A container whose start failed stays `created` and says why. */
function problemOf(state: ContainerInspect['State']): WorkerObservation['problem'] {
  if (state.ExitCode === 0 || state.Error === '') return undefined
  const { code, message } = toDockerError(new EngineFailure(state.Error, { sent: true }), { doing: 'start', mutates: true })
  return { code, message, final: true }
}

/**
 * How it ended. An engine gives 128 + signal for a death by signal, which a program can also return by itself: the signal is named
 * only where the kernel killed it for memory.
 */
export function exitOf(state: ContainerInspect['State'], memoryBytes = 0): WorkerExit {
  const code = state.ExitCode
  const killed = state.OOMKilled && code !== 0
  const at = instantOf(state.FinishedAt)
  return {
    ...(code >= 0 && code <= 255 ? { code } : {}),
    ...(killed ? { oomKilled: true } : {}),
    ...(killed && code === 137 ? { signal: 'SIGKILL' } : {}),
    reason: killed
      ? `out of memory${memoryBytes > 0 ? `: it reached its limit of ${memoryBytes} bytes` : ''}`
      : state.Error === ''
        ? `exited with code ${code}`
        : state.Error,
    ...(at === undefined ? {} : { at }),
  }
}

/** Statuses of a death by SIGKILL and SIGTERM, which is also how an engine ends its containers when it stops or comes back. */
const KILLED_CODES: readonly number[] = [137, 143]

/** Could the engine have ended it by itself? Then it must be asked when it started. One that holds ends with 0 when it is told to end, and only then. */
export function isDoubtful({ code, oomKilled }: WorkerExit, holds = false): boolean {
  return oomKilled !== true && code !== undefined && (KILLED_CODES.includes(code) || (holds && code === 0))
}

/** A doubtful exit from before the engine's start is nobody's word: without a code. */
export function exitInDoubt(exit: WorkerExit, engineStartedAt: Instant | undefined, holds = false): WorkerExit {
  if (!isDoubtful(exit, holds) || exit.at === undefined || engineStartedAt === undefined || exit.at >= engineStartedAt)
    return exit
  return { reason: `unknown: the engine restarted; it says ${exit.reason}`, at: exit.at }
}

/** An engine that comes back keeps nothing of what one that ended meanwhile said last, and does not say since when it was away. */
export function exitUnheard(exit: WorkerExit, engineStartedAt: Instant | undefined): WorkerExit {
  if (exit.at === undefined || engineStartedAt === undefined || exit.at >= engineStartedAt) return exit
  const missing = 'the end of stdout and stderr is missing, the engine was not there or has restarted since'
  return { ...exit, reason: `${exit.reason}; ${missing}` }
}

/** An engine's time (RFC 3339 with nanoseconds); year 1 means never. */
export function instantOf(time: string): Instant | undefined {
  const at = new Date(time)
  return Number.isNaN(at.getTime()) || at.getUTCFullYear() <= 1 ? undefined : at.toISOString()
}

/** One sample; undefined: of a container that does not run. Without a peak: nobody counted its memory. The page cache that could be given back at once is not counted, as `docker stats` does. */
export function statsOf(id: WorkerId, sample: ContainerStats): WorkerStats | undefined {
  const at = instantOf(sample.read)
  const { usage, max_usage: peak, stats } = sample.memory_stats as Partial<ContainerStats['memory_stats']>
  if (at === undefined) return undefined
  const detail = stats as unknown as Record<string, number> | undefined
  // cgroup v1 and v2 name the same thing differently.
  const cache = detail?.['total_inactive_file'] ?? detail?.['inactive_file'] ?? 0
  const pids = sample.pids_stats?.current
  const networks = Object.values(sample.networks ?? {})
  const moved = sample.blkio_stats?.io_service_bytes_recursive as { op: string; value: number }[] | null | undefined
  const bytes = (wanted: string): number =>
    (moved ?? []).reduce((sum, { op, value }) => (op.toLowerCase() === wanted ? sum + value : sum), 0)
  // Kernels from 6.10 on count for version 1, which alone has this peak, only where a limit is set, and say nothing but zeros else.
  const isCounted = moved !== null && moved !== undefined && (peak === undefined || moved.some(({ value }) => value > 0))
  return {
    id,
    at,
    cpuSeconds: sample.cpu_stats.cpu_usage.total_usage / 1e9,
    memoryBytes: Math.max(0, (usage ?? 0) - cache),
    // Version 2 keeps it where an engine does not look: then it is the most that was seen.
    ...(usage === undefined ? {} : { memoryPeakBytes: peak ?? usage }),
    ...(pids === undefined ? {} : { pids }),
    ...(networks.length === 0
      ? {}
      : {
          network: {
            receivedBytes: networks.reduce((sum, { rx_bytes: count }) => sum + count, 0),
            sentBytes: networks.reduce((sum, { tx_bytes: count }) => sum + count, 0),
          },
        }),
    ...(isCounted ? { disk: { readBytes: bytes('read'), writtenBytes: bytes('write') } } : {}),
  }
}

/** With the peak that was seen of it; whoever ran out of memory is told it. */
export function withPeak(exit: WorkerExit, peak: number | undefined): WorkerExit {
  if (peak === undefined) return exit
  const reason = exit.oomKilled === true ? `${exit.reason}; its last known peak is ${peak} bytes` : exit.reason
  return { ...exit, reason, memoryPeakBytes: peak }
}
