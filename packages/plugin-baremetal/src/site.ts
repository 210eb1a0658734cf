/**
 * Where workers live on this machine and what the machine can do for them; found out once, when the plugin starts.
 */
import { execFile } from 'node:child_process'
import { realpath } from 'node:fs/promises'
import { availableParallelism, totalmem } from 'node:os'
import { basename, join } from 'node:path'
import { promisify } from 'node:util'
import type { PluginContext } from '@muster/core'
import { type Cgroups, findCgroups } from './cgroup.ts'
import type { BaremetalConfig } from './config.ts'
import { defaultLogBytes, defaultUsers } from './config.ts'
import { type Disk, diskOf, type RoomOf } from './disk.ts'
import { unfit } from './errors.ts'
import { findCommand } from './files.ts'
import { machinePlace, placeDigest } from './moved.ts'
import { machineFolder, type Place, preparePlace } from './place.ts'
import { bootId, type Identity, selfIdentity } from './proc.ts'
import { plainPath, workerPath } from './tools.ts'
import type { Surroundings } from './translate.ts'
import { defaultLedger, openUsers, type Users } from './user.ts'

export interface Site extends Surroundings, Place {
  users?: Users
  cgroups?: Cgroups
  /** The shell that runs the script. */
  shell: string
  /** PATH of workers. */
  path: string
  boot: string
  self: Identity
  /** Most of each stream that is kept; absent: no limit. */
  logBytes: number | undefined
  /** The disk of the workers. */
  disk: Disk
  /** Ids of the workers that this process itself runs in, outermost last. */
  within: string
}

/** Parts of the surroundings that tests replace. */
export interface SiteOptions {
  /** The ledger of users; one for the machine. */
  ledger?: string
  /** Versions of cgroups that are looked at. */
  cgroupVersions?: readonly (1 | 2)[]
  /** Instead of `/bin/sh`. */
  shell?: string
  /** The room of a disk. */
  room?: RoomOf
  env?: NodeJS.ProcessEnv
}

/** Makes the place ready. Fails with a ProviderError that says what to mend, effect `none`. */
export async function openSite(
  config: Readonly<BaremetalConfig>,
  context: Pick<PluginContext, 'provider' | 'owner' | 'dataDir'>,
  options: SiteOptions = {},
): Promise<Site> {
  const { ledger = defaultLedger, cgroupVersions = [1, 2], shell = '/bin/sh', env = process.env } = options
  if (process.platform !== 'linux') throw unfit('local workers need Linux', 'Run the host on a Linux machine.')
  const isRoot = process.getuid?.() === 0
  const isolated = isRoot && config.users !== 'off'
  const setpriv = await findSetpriv()
  await needTools(isolated, setpriv)
  const data = await realpath(context.dataDir)
  const { provider, owner } = context
  const inMachine = config.root === undefined && isolated
  const name = inMachine ? await machinePlace({ machine: machineFolder, provider, owner, data }) : undefined
  const root = config.root ?? (name === undefined ? data : join(machineFolder, name))
  // Part of the name, so that it stays with what is there.
  const digest = name?.slice(-12) ?? placeDigest(provider, root)
  const boot = await bootId()
  const self = await selfIdentity(boot)
  const place = await preparePlace({ root, data, owner, boot, isolated })
  const cgroups = config.cgroup === 'off' ? undefined : await findCgroups({ digest, root: isRoot, versions: cgroupVersions })
  const users = isolated
    ? await openUsers({ range: typeof config.users === 'object' ? config.users : defaultUsers, ledger, root, self })
    : undefined
  return {
    ...place,
    isolated,
    ...(users === undefined ? {} : { users }),
    ...(cgroups === undefined ? {} : { cgroups }),
    can: cgroups?.can ?? {},
    cgroupHint:
      config.cgroup === 'off'
        ? 'Remove `cgroup: off` from the provider’s config.'
        : 'Run the host as root, or delegate a cgroup with cpu, memory and pids to its user.',
    setpriv,
    shell,
    bash: basename(await realpath(shell)) === 'bash',
    binds: config.binds ?? [],
    arch: process.arch,
    machine: { cpu: availableParallelism(), memoryBytes: totalmem() },
    path:
      config.path ??
      (await workerPath({ path: env['PATH'] ?? plainPath, node: process.execPath, isolated, folder: join(root, 'tools') })),
    boot,
    self,
    logBytes: config.logBytes === 'unlimited' ? undefined : (config.logBytes ?? defaultLogBytes),
    disk: diskOf(place.workers, {
      reserveBytes: config.reserveBytes,
      ...(options.room === undefined ? {} : { room: options.room }),
    }),
    within: [env['MUSTER_WORKER'], env['MUSTER_WITHIN']].filter((id) => id !== undefined && id !== '').join(' '),
  }
}

/** That of util-linux: busybox has a smaller one of the same name. */
async function findSetpriv(): Promise<string | undefined> {
  const path = await findCommand('setpriv', plainPath)
  if (path === undefined) return undefined
  const { stdout } = await promisify(execFile)(path, ['--version'], { env: {} }).catch(() => ({ stdout: '' }))
  return stdout.includes('util-linux') ? path : undefined
}

async function needTools(isolated: boolean, setpriv: string | undefined): Promise<void> {
  for (const name of ['ln', 'readlink', 'mkfifo', 'grep', 'tar', 'cat', 'wc', 'sleep']) {
    if ((await findCommand(name, plainPath)) === undefined)
      throw unfit(`${name} is missing`, `Install the package that holds ${name}.`)
  }
  if (isolated && setpriv === undefined)
    throw unfit(
      'setpriv is missing: workers cannot get users of their own',
      'Install util-linux, or set `users: off` to do without isolation.',
    )
}
