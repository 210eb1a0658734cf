/**
 * One worker's folder `<root>/workers/<id>`: all there is to know of a worker.
 *
 * | name | what it is |
 * | --- | --- |
 * | `worker.json` | what was asked for, without any value of env or files; there as long as the worker is |
 * | `conf`, `limits`, `env`, `command` | the same for the script; `env` and `command` can be read by the worker's user |
 * | `workspace`, `tmp`, `runs`, `pipes` | the worker's own: working folder and HOME, TMPDIR, runs of the runner, FIFOs of a command |
 * | `out`, `err` | output of a command |
 * | `supervisor` | link to the pid, start and boot of the supervisor: the worker was started |
 * | `exit` | how the command ended, put there in one step |
 * | `stopping`, `suspended` | is being removed; is stopped for now |
 */
import { readFile, readlink, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { OwnerTags, WorkerExit, WorkerId } from '@muster/core'
import type { WorkerCgroup } from './cgroup.ts'
import { isSystem } from './errors.ts'
import { parseExit } from './exit.ts'
import { isAlive, parseIdentity } from './proc.ts'
import type { User } from './user.ts'

export interface WorkerState {
  v: 1
  id: WorkerId
  tags: OwnerTags
  /** SHA-256 of the spec. */
  digest: string
  mode: 'command' | 'hold'
  /** Boot id of the machine when it was made. */
  boot: string
  createdAt: number
  /** Its own user; absent: that of the host. */
  user?: User
  noNewPrivileges: boolean
  /** Its soft limit of file locks: how its processes are known where nothing surer is at hand. */
  mark: number
  workdir: string
  ports?: number[]
  labels: Record<string, string>
  cgroup?: WorkerCgroup
  granted?: { cpu?: number; memoryBytes?: number; pids?: number }
}

/** What changes in the life of a worker. */
export interface Facts {
  supervisor: 'none' | 'alive' | 'dead'
  exit?: WorkerExit
  stopping: boolean
  /** Somebody is at it right now. */
  stopper: boolean
  suspended: boolean
  /** Boot id of the machine now. */
  boot: string
}

/** Undefined when there is no such worker. */
export async function readState(folder: string): Promise<WorkerState | undefined> {
  try {
    return JSON.parse(await readFile(join(folder, 'worker.json'), 'utf8')) as WorkerState
  } catch (error) {
    if (isSystem(error, 'ENOENT', 'ENOTDIR')) return undefined
    throw error
  }
}

export async function readFacts(folder: string, boot: string): Promise<Facts> {
  const [stopper, supervisor, suspended] = await Promise.all([
    lifeOf(folder, { link: 'stopping', boot }),
    lifeOf(folder, { link: 'supervisor', boot }),
    exists(join(folder, 'suspended')),
  ])
  // After the look at the supervisor: it writes the exit before it ends.
  const exit = await readExit(folder)
  return {
    supervisor,
    ...(exit === undefined ? {} : { exit }),
    stopping: stopper !== 'none',
    stopper: stopper === 'alive',
    suspended,
    boot,
  }
}

/** Is there nothing more to come from its command? */
export async function isOver(folder: string, boot: string): Promise<boolean> {
  const life = await lifeOf(folder, { link: 'supervisor', boot })
  if (life === 'none') return !(await exists(join(folder, 'worker.json')))
  return life === 'dead' || (await exists(join(folder, 'exit')))
}

async function lifeOf(folder: string, { link, boot }: { link: string; boot: string }): Promise<Facts['supervisor']> {
  try {
    const identity = parseIdentity(await readlink(join(folder, link)))
    return identity !== undefined && (await isAlive(identity, boot)) ? 'alive' : 'dead'
  } catch (error) {
    if (isSystem(error, 'ENOENT', 'ENOTDIR')) return 'none'
    throw error
  }
}

async function readExit(folder: string): Promise<WorkerExit | undefined> {
  const path = join(folder, 'exit')
  try {
    const [text, { mtime }] = await Promise.all([readFile(path, 'utf8'), stat(path)])
    return parseExit(text, mtime)
  } catch (error) {
    if (isSystem(error, 'ENOENT', 'ENOTDIR')) return undefined
    throw error
  }
}

async function exists(path: string): Promise<boolean> {
  return await stat(path).then(
    () => true,
    () => false,
  )
}
