/** From a launch spec to what a worker's folder holds, and from the folder to an observation. Pure. */
import { isAbsolute, join, normalize, relative, resolve } from 'node:path'
import {
  fieldsOf,
  type Handle,
  type LaunchSpec,
  ProviderError,
  type SpecField,
  type WorkerObservation,
  type WorkerTarget,
} from '@muster/core'
import { quote } from '@muster/provider-parts/quote'
import type { Controller, Limits } from './cgroup.ts'
import { settingsSchema } from './config.ts'
import { refused } from './errors.ts'
import type { Facts, WorkerState } from './folder.ts'
import { type Machine, refuseSizes } from './sizes.ts'

/** What this machine and this configuration allow. */
export interface Surroundings {
  /** Has each worker a user of its own? */
  isolated: boolean
  can: Partial<Record<Controller, boolean>>
  /** Why there is no cgroup, for the hint of a refusal. */
  cgroupHint: string
  /** The program of util-linux, by its whole path: busybox has another one of this name. */
  setpriv: string | undefined
  /** Is `/bin/sh` bash, which keeps more variables for itself? */
  bash: boolean
  binds: readonly string[]
  arch: string
  machine: Machine
}

/** A checked spec. Paths of files and mounts are relative to the workspace. */
export interface Plan {
  command?: string[]
  /** Its command is an agent: where it finds the host, and what it proves itself by there. */
  agent?: { url: string; ticket: string }
  env: Record<string, string>
  /** Absolute. */
  workdir: string
  files: { path: string; data: Buffer; mode: number }[]
  mounts: { path: string; source: string; readOnly: boolean }[]
  limits: Limits
  noNewPrivileges: boolean
  ports?: number[]
  labels: Record<string, string>
}

/** Optional spec fields that are honoured. The manifest says the same; a test holds both together. */
export const honouredFields: readonly SpecField[] = [
  'env',
  'workdir',
  'files',
  'resources.cpu',
  'resources.memoryBytes',
  'resources.pids',
  'os',
  'arch',
  'mounts.bind',
  'network.egress.full',
  'network.ports',
  'security.noNewPrivileges',
  'labels',
  'settings',
]

/** MAX_ARG_STRLEN of Linux: one argument or `NAME=value`, with its NUL. */
const WORD_BYTES = 131_072
/** All variables of one spec together; the largest single one still fits WORD_BYTES with its `=` and NUL. */
export const envBytes: number = WORD_BYTES - 2

/** Variables a shell keeps for itself: an export of them is refused or changed (seen in dash 0.5.12 and bash 5.2). */
const shellOwned = new Set(['OPTIND', '_'])
const bashOwned = new Set(
  (
    'UID EUID PPID GROUPS BASHOPTS SHELLOPTS BASH_VERSINFO BASHPID RANDOM SECONDS SRANDOM EPOCHSECONDS EPOCHREALTIME LINENO HISTCMD ' +
    'DIRSTACK FUNCNAME BASH_COMMAND BASH_SUBSHELL BASH_LINENO BASH_SOURCE BASH_ARGC BASH_ARGV BASH_ALIASES BASH_CMDS'
  ).split(' '),
)
/** Ours: who a worker is, and how its processes are known. */
const ownVariables = new Set(['MUSTER_WORKER', 'MUSTER_WITHIN', 'MUSTER_WORKDIR', 'MUSTER_AGENT_URL', 'MUSTER_AGENT_TICKET'])

const noRoot = 'A local worker has no file system of its own: use a path relative to its working folder.'

/** Checks a spec against this machine. Throws `unsupported` or `invalid-spec` with the field's path, before any effect. */
export function planOf(spec: LaunchSpec, workspace: string, around: Surroundings): Plan {
  refuseFields(spec, around)
  const workdir = within(workspace, spec.workdir ?? '.', { path: 'workdir', base: workspace })
  const files = (spec.files ?? []).map((file, index) => {
    const at = within(workspace, file.path, { path: `files.${index}.path`, base: workdir })
    if (at === workdir || at === workspace)
      throw refused('invalid-spec', `files.${index}.path`, { message: 'a file cannot replace a folder' })
    return { path: relative(workspace, at), data: Buffer.from(file.base64, 'base64'), mode: file.mode ?? 0o600 }
  })
  const mounts = (spec.mounts ?? []).map((mount, index) => {
    const source = mount.source.kind === 'bind' ? normalize(mount.source.path) : ''
    if (!around.binds.some((allowed) => isInside(normalize(allowed), source)))
      throw refused('unsupported', `mounts.${index}.source.path`, {
        message: `${source} is not among the folders that workers may bind`,
        hint: 'List it under `binds` in the provider’s config.',
      })
    const at = within(workspace, mount.target, { path: `mounts.${index}.target`, base: workdir })
    if (at === workdir || at === workspace)
      throw refused('unsupported', `mounts.${index}.target`, {
        message: 'the working folder itself cannot be a mount here',
        hint: noRoot,
      })
    return { path: relative(workspace, at), source, readOnly: mount.readOnly === true }
  })
  distinct([
    ...files.map((file, i) => [`files.${i}.path`, file.path]),
    ...mounts.map((mount, i) => [`mounts.${i}.target`, mount.path]),
  ])
  const { cpu, memoryBytes, pids } = spec.resources ?? {}
  return {
    ...workOf(spec),
    env: checkedEnv(spec.env ?? {}, around),
    workdir,
    files,
    mounts,
    limits: {
      ...(cpu === undefined ? {} : { cpu }),
      ...(memoryBytes === undefined ? {} : { memoryBytes }),
      ...(pids === undefined ? {} : { pids }),
    },
    noNewPrivileges: around.isolated || spec.security?.noNewPrivileges === true,
    ...(spec.network?.ports === undefined ? {} : { ports: spec.network.ports }),
    labels: spec.labels ?? {},
  }
}

function refuseFields(spec: LaunchSpec, around: Surroundings): void {
  for (const field of fieldsOf(spec)) {
    if (honouredFields.includes(field)) continue
    throw refused('unsupported', field, { message: `${field} cannot be honoured by a local process` })
  }
  if (spec.os !== undefined && spec.os !== 'linux') throw refused('unsupported', 'os', { message: 'this machine is linux' })
  const arch = around.arch === 'x64' ? 'amd64' : around.arch
  if (spec.arch !== undefined && spec.arch !== arch) throw refused('unsupported', 'arch', { message: `this machine is ${arch}` })
  for (const [field, controller] of limitFields) {
    if (spec.resources?.[field] !== undefined && around.can[controller] !== true)
      throw refused('unsupported', `resources.${field}`, {
        message: `no ${controller} limit can be set here`,
        hint: around.cgroupHint,
      })
  }
  refuseSizes(spec.resources ?? {}, around.machine)
  const { noNewPrivileges } = spec.security ?? {}
  if (noNewPrivileges === false && around.isolated)
    throw refused('unsupported', 'security.noNewPrivileges', {
      message: 'a worker with a user of its own never gets new privileges',
    })
  if (noNewPrivileges === true && around.setpriv === undefined)
    throw refused('unsupported', 'security.noNewPrivileges', { message: 'setpriv is missing', hint: 'Install util-linux.' })
}

const limitFields = [
  ['cpu', 'cpu'],
  ['memoryBytes', 'memory'],
  ['pids', 'pids'],
] as const satisfies readonly (readonly [keyof Limits, Controller])[]

function within(workspace: string, path: string, { path: field, base }: { path: string; base: string }): string {
  if (path.includes('\0')) throw refused('invalid-spec', field, { message: 'a path cannot hold a NUL byte' })
  const at = resolve(base, path)
  if (isInside(workspace, at)) return at
  if (isAbsolute(path)) throw refused('unsupported', field, { message: `${path} lies outside the worker’s folder`, hint: noRoot })
  throw refused('invalid-spec', field, { message: `${path} leads out of the worker’s folder` })
}

/** The working folder of a command in a worker that lives. An absolute one is the caller's own affair; a relative one is held as the spec's is. */
export function checkExecWorkdir({ workdir }: Pick<WorkerState, 'workdir'>, workspace: string, path: string | undefined): void {
  if (path !== undefined && !isAbsolute(path)) within(workspace, path, { path: 'workdir', base: workdir })
}

function isInside(folder: string, path: string): boolean {
  const step = relative(folder, path)
  return step === '' || (step !== '..' && !step.startsWith('../') && !isAbsolute(step))
}

/** Two things in one place, or one below a file or a mount. */
function distinct(places: readonly (readonly string[])[]): void {
  places.forEach(([field = '', path = ''], index) => {
    const other = places.find(([, taken = ''], at) => at < index && (isInside(taken, path) || isInside(path, taken)))
    if (other !== undefined) throw refused('invalid-spec', field, { message: `${path} is in the place of ${other[0]}` })
  })
}

function workOf({ work, settings }: LaunchSpec): Pick<Plan, 'command' | 'agent'> {
  const parsed = settingsSchema.safeParse(settings ?? {})
  if (!parsed.success)
    throw refused('invalid-spec', 'settings', { message: parsed.error.issues[0]?.message ?? 'they are not valid' })
  const { agent } = parsed.data
  if (work.mode !== 'agent') {
    if (agent !== undefined)
      throw refused('unsupported', 'settings.agent', {
        message: `a worker with work ${work.mode} runs no agent`,
        hint: 'Give the pool `work: agent`.',
      })
    return work.mode === 'hold' ? {} : { command: words(work.command, 'work.command') }
  }
  if (agent === undefined)
    throw refused('invalid-spec', 'settings.agent', {
      message: 'it does not say which program is the agent',
      hint: 'Name it in the pool: `worker: { work: agent, settings: { agent: [program, argument] } }`.',
    })
  return { command: words(agent, 'settings.agent'), agent: { url: work.url, ticket: work.ticket.$secret } }
}

function words(command: readonly string[], path: string): string[] {
  return command.map((word, index) => checkedText(word, `${path}.${index}`, 1))
}

function checkedEnv(env: Record<string, string>, around: Surroundings): Record<string, string> {
  const bytes = Object.entries(env).reduce((sum, [name, value]) => sum + Buffer.byteLength(name) + Buffer.byteLength(value), 0)
  if (bytes > envBytes) throw refused('invalid-spec', 'env', { message: `env of ${bytes} bytes; at most ${envBytes}` })
  for (const [name, value] of Object.entries(env)) {
    if (shellOwned.has(name) || ownVariables.has(name) || (around.bash && bashOwned.has(name)))
      throw refused('unsupported', `env.${name}`, { message: `${name} is set by the worker itself` })
    checkedText(value, `env.${name}`, 2 + Buffer.byteLength(name))
  }
  return env
}

function checkedText(text: string, path: string, extra: number): string {
  if (text.includes('\0')) throw refused('invalid-spec', path, { message: 'a NUL byte cannot be passed to a process' })
  if (Buffer.byteLength(text) + extra > WORD_BYTES)
    throw refused('invalid-spec', path, {
      message: `longer than the ${WORD_BYTES} bytes that Linux passes to a process in one piece`,
    })
  return text
}

/** `W/env`: read by the worker's own shell, so that no value is ever in a process list. */
export function envText(env: Record<string, string>, workdir: string): string {
  const lines = Object.entries(env).map(([name, value]) => `export ${name}=${quote(value)}\n`)
  return `${lines.join('')}MUSTER_WORKDIR=${quote(workdir)}\n`
}

/** `W/command`. */
export function commandText(command: readonly string[]): string {
  return `set -- ${command.map(quote).join(' ')}\n`
}

/** `W/conf`: what the script knows of the worker. */
export function confText(
  state: WorkerState,
  places: { changes: string; trash: string; setpriv: string | undefined; shell: string; logBytes: number | undefined },
): string {
  const { cgroup, user } = state
  const values: Record<string, string> = {
    id: state.id,
    mode: state.mode,
    uid: user === undefined ? '' : String(user.uid),
    entry: user?.entry ?? '',
    nnp: state.noNewPrivileges ? '1' : '',
    sh: places.shell,
    setpriv: places.setpriv ?? '',
    mark: String(state.mark),
    logs: places.logBytes === undefined ? '' : String(places.logBytes),
    procs: cgroup?.procs.join(' ') ?? '',
    list: cgroup?.list ?? '',
    dirs: cgroup?.dirs.join(' ') ?? '',
    parents: cgroup?.parents.join(' ') ?? '',
    v2: cgroup?.v2 ?? '',
    control: cgroup?.control ?? '',
    freezer: cgroup?.freezer?.file ?? '',
    frozen: cgroup?.freezer?.frozen ?? '',
    thawed: cgroup?.freezer?.thawed ?? '',
    cgkill: cgroup?.kill ?? '',
    oom: cgroup?.oom ?? '',
    changes: places.changes,
    trash: places.trash,
  }
  return Object.entries(values)
    .map(([name, value]) => `${name}=${quote(value)}\n`)
    .join('')
}

export const handleVersion = 1

/** All of it follows from the id. */
export function handleOf(id: string): Handle {
  return { v: handleVersion, data: { worker: id } }
}

/** A handle must name the target; without one the id is enough. */
export function checkTarget({ id, handle }: WorkerTarget): string {
  if (!/^w[0-9a-z]{26}$/.test(id)) throw refused('invalid-spec', 'id', { message: 'not the id of a worker' })
  if (handle === undefined) return id
  const data = handle.data as { worker?: unknown } | null
  if (handle.v !== handleVersion || data?.worker !== id)
    throw new ProviderError('invalid-spec', `not a handle of ${id}`, { effect: 'none', path: 'handle' })
  return id
}

export function observationOf(state: WorkerState, facts: Facts): WorkerObservation {
  const { id, tags } = state
  const phase = phaseOf(facts)
  const exit = facts.exit ?? (phase === 'lost' ? { reason: lossOf(state, facts) } : undefined)
  return {
    id,
    handle: handleOf(id),
    tags,
    phase,
    // A readiness check is the host's affair: it asks by exec.
    ready: phase === 'running',
    ...(exit === undefined ? {} : { exit }),
  }
}

function phaseOf(facts: Facts): WorkerObservation['phase'] {
  if (facts.stopping) return 'stopping'
  if (facts.exit !== undefined) return 'exited'
  if (facts.supervisor === 'none') return 'provisioning'
  if (facts.supervisor === 'dead') return 'lost'
  return facts.suspended ? 'suspended' : 'running'
}

function lossOf(state: WorkerState, facts: Facts): string {
  return state.boot === facts.boot
    ? 'unknown: the process that watches the worker was killed'
    : 'unknown: the machine was restarted'
}

/** A path of the copy methods: relative ones begin at the working folder. */
export function copyPath(state: WorkerState, path: string): string {
  if (path.includes('\0')) throw refused('invalid-spec', 'path', { message: 'a path cannot hold a NUL byte' })
  return join(resolve(state.workdir, path))
}
