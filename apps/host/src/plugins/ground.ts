/** What this machine gives to keep plugins in: asked once, tried out, and never guessed. */
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { promisify } from 'node:util'
import { cagesAreHere } from './cage.ts'
import { type Lack, lacksNetwork } from './no-network.ts'
import { remembered } from './remembered.ts'
import { word } from './word.ts'

const run = promisify(execFile)

/** User ids that nobody else hands out. The first is also the group in which all plugins pass through the data folder. */
export interface UserRange {
  from: number
  to: number
}

/**
 * As for local workers, whose users follow on these: free in systemd's table of ids (60578 to 61183), and below 65536, so that they exist
 * in containers with a map of 65,536 ids.
 */
export const defaultUsers: UserRange = { from: 60_578, to: 60_599 }

export interface Ground {
  /** Why no plugin gets a user of its own here, and what mends it; absent: each one can. */
  lacks?: Lack
  /** True: each of them gets a control group as well. */
  cages?: boolean
  /** Why none of them gets a network of its own; absent: each one can that asks for none. */
  lacksNetwork?: Lack
}

/** Where nobody has looked. */
export const bareGround: Ground = { lacks: { fact: 'nobody has looked what this machine gives', mend: 'run muster check' } }

export interface GroundOptions {
  /** The data folder. */
  data: string
  users: UserRange | 'off'
  /** Default: that of this process. */
  root?: boolean
}

export async function openGround({ data, users, root = process.getuid?.() === 0 }: GroundOptions): Promise<Ground> {
  if (users === 'off') return lack('host.isolation.users is off', 'name a range of user ids there')
  if (!root) return lack('the host does not run as root', 'start the host as root')
  const path = await setpriv()
  if (path === undefined) return lack('setpriv of util-linux is missing', 'install util-linux')
  const closed = await closedTo(dirname(resolve(data)))
  if (closed !== undefined)
    return lack(
      `no other user can pass ${closed} on the way to the data folder`,
      `run: chmod o+x ${word(closed)}, or write another host.data`,
    )
  const tried = await trial(path, users)
  if (tried !== undefined)
    return lack(`a process of user ${users.to} cannot be started: ${tried}`, 'name other ids as host.isolation.users')
  const [cages, shared] = await Promise.all([cagesAreHere(), lacksNetwork()])
  return { cages, ...(shared === undefined ? {} : { lacksNetwork: shared }) }
}

function lack(fact: string, mend: string): Ground {
  return { lacks: { fact, mend } }
}

/** That of util-linux; that of busybox cannot do what is needed. */
export const setpriv: () => Promise<string | undefined> = remembered(async () => {
  for (const path of ['/usr/bin/setpriv', '/bin/setpriv'].filter((one) => existsSync(one))) {
    const { stdout } = await run(path, ['--version'], { env: {} }).catch(() => ({ stdout: '' }))
    if (stdout.includes('util-linux')) return path
  }
  return undefined
})

export interface PluginUser {
  uid: number
  gid: number
}

/** Arguments of setpriv: the kernel kills the plugin when the host dies, even one that hangs; and without a user it stays that of the host. */
export function privileges(user?: PluginUser): string[] {
  const death = ['--pdeathsig', 'KILL']
  if (user === undefined) return death
  const ids = [`--reuid=${user.uid}`, `--regid=${user.gid}`, '--clear-groups']
  return [...ids, '--no-new-privs', '--inh-caps=-all', '--bounding-set=-all', ...death]
}

/** What keeps Node from running as such a user, in the words of whoever refused it. */
async function trial(path: string, { from, to }: UserRange): Promise<string | undefined> {
  try {
    await run(path, [...privileges({ uid: to, gid: from }), process.execPath, '--version'], { env: {} })
    return undefined
  } catch (error) {
    const { stderr, message } = error as { stderr?: string; message: string }
    return (stderr?.trim() || message).split('\n').at(-1)
  }
}

/** The first folder on the way to `path`, `path` included, that users other than its owner and group cannot pass. */
async function closedTo(path: string): Promise<string | undefined> {
  const above = dirname(path) === path ? undefined : await closedTo(dirname(path))
  if (above !== undefined) return above
  // What is not there yet is made, and nobody is kept out by it.
  const found = await stat(path).catch(() => undefined)
  return found === undefined || (found.mode & 0o001) !== 0 ? undefined : path
}
