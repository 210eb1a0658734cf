/** How far a plugin is kept in, why not further, and what holds then. Pure. */
import type { PluginPermissions } from '@muster/core'
import { PluginRefusal } from './refusal.ts'
import type { PluginEntry } from './registry.ts'

/** From the loosest to the tightest. */
export const isolationLevels = ['L1', 'L2'] as const
export type IsolationLevel = (typeof isolationLevels)[number]

/** As people read it. */
export const levelNames: Readonly<Record<IsolationLevel, string>> = {
  L2: 'a process of the host’s user, with the permissions of its manifest enforced by Node',
  L1: 'a plain process of the host’s user',
}

export interface Isolation {
  level: IsolationLevel
  /** What keeps it from the next level; absent: there is none. */
  because?: string
  /** What holds whatever the plugin does. */
  enforced: string[]
  /** What it asks for and nobody checks, and what gets around the rest. */
  advisory: string[]
}

export function isolationOf(permissions: PluginPermissions): Isolation {
  const { childProcess, fsWrite } = permissions
  if (childProcess && fsWrite.includes('/'))
    return {
      level: 'L1',
      // The model of Node would only take away calls that it cannot judge, as fchmod, and hold nothing back.
      because: 'it asks for all files and for child processes, and nothing would be left to enforce',
      enforced: always,
      advisory: ['everything else that it asks for'],
    }
  return { level: 'L2', enforced: [...always, ...byNode(permissions)], advisory: advisoryOf(permissions) }
}

const always: string[] = ['names of the environment', 'size of its heap']

function byNode({ net, unix, childProcess }: PluginPermissions): string[] {
  return [
    'files that it reads and writes',
    ...(childProcess ? [] : ['no child processes']),
    ...(net.length + unix.length > 0 ? [] : ['no network']),
    'no worker threads, addons, inspector and node:sqlite',
  ]
}

function advisoryOf({ net, unix, childProcess }: PluginPermissions): string[] {
  return [
    // The model of Node knows no more of the network than yes or no.
    ...(net.length + unix.length > 0 ? ['which hosts, ports and sockets it connects to, and that it does not listen'] : []),
    ...(childProcess ? ['all of it for its child processes'] : []),
  ]
}

/** Error: PluginRefusal `below-level`. */
export function demandLevel({ alias, isolation: wanted }: PluginEntry, { level, because }: Isolation): void {
  if (wanted === undefined || isolationLevels.indexOf(level) >= isolationLevels.indexOf(wanted)) return
  throw new PluginRefusal(
    'below-level',
    `'${alias}' must have isolation ${wanted}, and has ${level} here: ${because}`,
    `write "isolation": "${level}" if ${levelNames[level]} will do; what it may do then: muster plugins show ${alias}`,
  )
}
