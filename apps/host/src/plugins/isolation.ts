/** How far a plugin is kept in, why not further, and what holds then. Pure. */
import type { PluginPermissions } from '@muster/core'
import { holdsNothing } from '@muster/packed/command'
import type { Ground } from './ground.ts'
import { PluginRefusal } from './refusal.ts'
import { type IsolationLevel, isolationLevels, type PluginEntry } from './registry.ts'

const ofItsOwn = 'a process of a user of its own, without groups, capabilities and new privileges'
const plain = 'a plain process of the host’s user'

const levelNames: Readonly<Record<'node' | 'other', Readonly<Record<IsolationLevel, string>>>> = {
  node: {
    L3: `${ofItsOwn}, with the permissions of its manifest enforced by Node`,
    L2: 'a process of the host’s user, with the permissions of its manifest enforced by Node',
    L1: plain,
  },
  other: {
    L3: `${ofItsOwn}, and without a network that it does not ask for`,
    L2: `${ofItsOwn}, in the network of the host, which it does not ask for`,
    L1: plain,
  },
}

/** The level as people read it: it depends on who runs the plugin. */
export function levelName({ level }: Isolation, interpreter: string | undefined): string {
  return levelNames[interpreter === undefined ? 'node' : 'other'][level]
}

export interface Isolation {
  level: IsolationLevel
  /** Its process is of a user of its own. */
  ownUser: boolean
  /** Its process is in a network in which nothing is up. */
  ownNetwork: boolean
  /** What keeps it from the next level, and what mends that; absent: there is no next one. */
  because?: { fact: string; mend?: string }
  /** What holds whatever the plugin does. */
  enforced: string[]
  /** What it asks for and nobody checks, and what gets around the rest. */
  advisory: string[]
}

export function isolationOf(
  permissions: PluginPermissions,
  { interpreter, ...where }: { entry: PluginEntry; ground: Ground; interpreter?: string | undefined },
): Isolation {
  if (interpreter !== undefined) return ofOther(interpreter, { permissions, ...where })
  if (holdsNothing(permissions))
    return {
      ...{ level: 'L1', ...hosts },
      because: { fact: 'it asks for all files and for child processes, and nothing would be left to enforce' },
      enforced: always,
      advisory: ['everything else that it asks for'],
    }
  const folder = 'folder' in where.entry.source
  const because = belowThree(permissions, where)
  const level = because === undefined ? 'L3' : 'L2'
  return {
    ...{ level, ...hosts, ownUser: level === 'L3' },
    ...(because === undefined ? {} : { because }),
    enforced: [
      ...always,
      ...filesOf(permissions),
      ...(level === 'L3' ? byUser(where.ground) : []),
      ...byNode(permissions, folder),
    ],
    advisory: advisoryOf(permissions, { level, folder }),
  }
}

/** Does the level depend on what the machine gives? Finding that out starts processes. */
export function dependsOnGround(
  permissions: PluginPermissions,
  { entry, interpreter }: { entry: PluginEntry; interpreter?: string | undefined },
): boolean {
  return !('folder' in entry.source) && (interpreter !== undefined || !holdsNothing(permissions))
}

/** In another language: what the kernel holds, and nothing of what Node would. */
function ofOther(
  interpreter: string,
  { permissions, ...where }: { permissions: PluginPermissions; entry: PluginEntry; ground: Ground },
): Isolation {
  const because = belowThree(permissions, { ...where, byUserFrom: 'L2' })
  const rest = ['files and child processes that it asks for', 'size of its heap']
  if (because !== undefined)
    return {
      ...{ level: 'L1', ...hosts },
      because: { ...because, fact: `${interpreter} runs it, which knows nothing of permissions, and ${because.fact}` },
      enforced: [environment, ...filesOf(permissions)],
      advisory: [...rest, anyNetwork],
    }
  const byKernel = [environment, ...filesOf(permissions), ...byUser(where.ground)]
  const own = { ownUser: true, ownNetwork: false }
  if (permissions.net.length > 0) return { level: 'L3', ...own, enforced: byKernel, advisory: [...rest, whichHosts] }
  const { lacksNetwork } = where.ground
  if (lacksNetwork !== undefined)
    return {
      ...{ level: 'L2', ...own },
      because: { ...lacksNetwork, fact: `it asks for no network, and ${lacksNetwork.fact}` },
      enforced: byKernel,
      advisory: [...rest, anyNetwork],
    }
  return {
    ...{ level: 'L3', ...own, ownNetwork: true },
    enforced: [...byKernel, 'no network, not even loopback'],
    advisory: [...rest, 'which sockets it connects to that lie as files and are open to its user'],
  }
}

/** As the host is. */
const hosts = { ownUser: false, ownNetwork: false }
const anyNetwork = 'network, whether it asks for it or not'
/** Who may list the data folder knows its name, and who opens it is admin. */
const ownSocket =
  'that it keeps away from the socket of the daemon, whose user it has and whose name is among the files it may read'
const whichHosts = 'which hosts, ports and sockets it connects to, and that it does not listen'

/**
 * A user of its own is of no use where it cannot come to what the plugin asks for: only somebody who knows the machine can say that it can, by a
 * demand that is met with such a user alone.
 */
function belowThree(
  { unix, fsRead, fsWrite }: PluginPermissions,
  { entry, ground, byUserFrom = 'L3' }: { entry: PluginEntry; ground: Ground; byUserFrom?: IsolationLevel },
): Isolation['because'] {
  if ('folder' in entry.source) return { fact: 'it lies in a folder, for development', mend: 'pack it, and name the tarball' }
  if (ground.lacks !== undefined) return ground.lacks
  if (atLeast(entry.isolation, byUserFrom) || [...unix, ...fsRead, ...fsWrite].length === 0) return undefined
  return {
    fact: 'it asks for files or sockets, which a user of its own might not be allowed to open',
    mend: `write "isolation": "L3" where it is`,
  }
}

const environment = 'names of the environment, and size of its memory'
const always: string[] = [environment, 'size of its heap']

/** Of each process: where it may start more of them it is no bound, and is not set. */
function filesOf({ childProcess }: PluginPermissions): string[] {
  return childProcess ? [] : ['number of open files']
}

function byUser({ cages }: Ground): string[] {
  const caged = cages === true ? ['memory and number of processes, its children counted'] : []
  return ['no files, sockets and processes of other users', 'no groups, no capabilities and no new privileges', ...caged]
}

function byNode({ net, unix, childProcess }: PluginPermissions, folder: boolean): string[] {
  return [
    // What is under development imports from anywhere.
    folder ? 'files that it writes' : 'files that it reads and writes',
    ...(childProcess ? [] : ['no child processes']),
    ...(net.length + unix.length > 0 ? [] : ['no network']),
    'no worker threads, addons, inspector and node:sqlite',
  ]
}

function advisoryOf(
  { net, unix, childProcess }: PluginPermissions,
  { level, folder }: { level: IsolationLevel; folder: boolean },
): string[] {
  return [
    // The model of Node knows no more of the network than yes or no.
    ...(net.length + unix.length > 0 ? [whichHosts, ...(folder ? [ownSocket] : [])] : []),
    ...(childProcess ? [`files and network for its child processes${level === 'L3' ? ', which its user alone holds' : ''}`] : []),
  ]
}

/** Why it has no more, in one line. */
export function reasonOf({ because }: Isolation): string | undefined {
  return because === undefined ? undefined : [because.fact, because.mend].filter((one) => one !== undefined).join('; ')
}

function atLeast(level: IsolationLevel | undefined, wanted: IsolationLevel): boolean {
  return level !== undefined && isolationLevels.indexOf(level) >= isolationLevels.indexOf(wanted)
}

/** Error: PluginRefusal `below-level`. */
export function demandLevel({ alias, isolation: wanted }: PluginEntry, { level, because }: Isolation): void {
  if (wanted === undefined || atLeast(level, wanted)) return
  const { fact, mend } = because ?? { fact: '' }
  throw new PluginRefusal(
    'below-level',
    `'${alias}' must have isolation ${wanted}, and has ${level} here: ${fact}`,
    [
      `run: muster plugins show ${alias}, which says what it may do with ${level}`,
      `write "isolation": "${level}" if that will do`,
      ...(mend === undefined ? [] : [`or ${mend}`]),
    ].join('; '),
  )
}
