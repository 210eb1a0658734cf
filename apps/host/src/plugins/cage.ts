/**
 * A control group for each plugin with a user of its own: memory and processes of the plugin and its children together, and the end of all of them
 * with it. Formats: cgroup-v1 and cgroup-v2 of the kernel's documentation.
 */
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, readlink, rmdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import type { PluginManifest } from '@muster/core'
import { memoryOf } from './memory.ts'
import { remembered } from './remembered.ts'

export interface Cage {
  /** The command, in the cage before it begins. */
  inside(command: readonly string[]): string[]
  /** Ends what is in it, and removes it. True: the kernel had to end something in it for its memory. */
  drop(): Promise<boolean>
}

export interface CageLimits {
  memoryMb: number
  /** Threads count too. */
  pids: number
}

/** A hierarchy, and the folder of it in which cages are made. */
interface Place {
  version: 1 | 2
  folder: string
  controllers: readonly string[]
}

/** Of all hosts that see the same processes: the number of one says nothing elsewhere. */
const prefix = remembered(async () => {
  const space = await readlink('/proc/self/ns/pid').catch(() => '')
  return `muster-plugin-${/\d+/.exec(space)?.[0] ?? 0}-`
})
/** Node has about a dozen threads. */
const threads = 64
/** For a plugin that starts programs, as the command line of a vendor: some at once, and what they need. */
const programs: CageLimits = { pids: 512, memoryMb: 1024 }

export function cageLimits(manifest: Pick<PluginManifest, 'limits' | 'permissions'>): CageLimits {
  const more = manifest.permissions.childProcess ? programs : { pids: 0, memoryMb: 0 }
  return { memoryMb: memoryOf(manifest) + more.memoryMb, pids: threads + more.pids }
}

let count = 0
const places = remembered(findPlaces)

/** Undefined where none can be made. */
export async function openCage(limits: CageLimits): Promise<Cage | undefined> {
  const found = await places()
  return found.length === 0 ? undefined : makeCage(found, limits)
}

/** May cages be made here? Tried out. */
export async function cagesAreHere(): Promise<boolean> {
  return (await places()).length > 0
}

async function makeCage(all: readonly Place[], { memoryMb, pids }: CageLimits): Promise<Cage> {
  const name = `${await prefix()}${process.pid}-${++count}`
  const folders = all.map(({ folder }) => join(folder, name))
  const memory = String(memoryMb * 2 ** 20)
  for (const { version, folder, controllers } of all) {
    const own = join(folder, name)
    await mkdir(own)
    const files: [string, string][] = []
    if (controllers.includes('pids')) files.push(['pids.max', String(pids)])
    if (controllers.includes('memory'))
      files.push(
        ...((version === 2
          ? [
              ['memory.max', memory],
              ['memory.swap.max', '0'],
            ]
          : [
              ['memory.limit_in_bytes', memory],
              ['memory.memsw.limit_in_bytes', memory],
            ]) as [string, string][]),
      )
    // Swap is not counted everywhere.
    for (const [file, value] of files) if (existsSync(join(own, file))) await writeFile(join(own, file), value)
  }
  return {
    inside: (command) => ['/bin/sh', '-c', JOIN, 'sh', String(folders.length), ...folders, ...command],
    async drop() {
      const killed = (await Promise.all(folders.map(countKills))).some((one) => one > 0)
      await Promise.all(folders.map(removeCage))
      return killed
    },
  }
}

/** Whoever writes 0 joins, and what it executes stays. */
const JOIN = 'n=$1; shift; while [ "$n" -gt 0 ]; do echo 0 >"$1/cgroup.procs" || exit 1; n=$((n - 1)); shift; done; exec "$@"'

async function countKills(folder: string): Promise<number> {
  let kills = 0
  for (const file of ['memory.events', 'memory.oom_control']) {
    const text = await readFile(join(folder, file), 'utf8').catch(() => '')
    kills += Number(/^oom_kill (\d+)$/m.exec(text)?.[1] ?? 0)
  }
  return kills
}

/** The kernel takes a moment to forget processes: a second of looks, and then the next host of this machine removes it. */
async function removeCage(folder: string): Promise<void> {
  // What forks as fast as it is killed forks no more.
  await writeFile(join(folder, 'pids.max'), '0').catch(() => undefined)
  for (let look = 0; look < 50 && existsSync(folder); look++) {
    const pids = await readFile(join(folder, 'cgroup.procs'), 'utf8').catch(() => '')
    for (const pid of pids.split('\n').filter((line) => Number(line) > 1))
      try {
        process.kill(Number(pid), 'SIGKILL')
      } catch {
        // It ended meanwhile.
      }
    if (
      await rmdir(folder).then(
        () => true,
        () => false,
      )
    )
      return
    await sleep(20)
  }
}

/** Hierarchies in which a cage was made, joined and removed again. */
async function findPlaces(): Promise<Place[]> {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return []
  const [mounts, own] = await Promise.all(
    ['/proc/self/mountinfo', '/proc/self/cgroup'].map((file) => readFile(file, 'utf8').catch(() => '')),
  )
  const usable: Place[] = []
  for (const place of placesOf(mounts ?? '', own ?? '')) {
    if (place.version === 2 && !(await switchedOn(place))) continue
    await sweep(place)
    if (await tried(place)) usable.push(place)
  }
  return usable
}

/** Pure: mountinfo(5) and cgroups(7) as text. */
export function placesOf(mounts: string, own: string): Place[] {
  const wanted = ['memory', 'pids']
  const path = (controller: string): string =>
    own
      .split('\n')
      .map((line) => /^\d+:([^:]*):(.*)$/.exec(line))
      .find((found) => found?.[1]?.split(',').includes(controller))?.[2] ?? '/'
  return mounts.split('\n').flatMap((line): Place[] => {
    const [before = '', after = ''] = line.split(' - ')
    const [, , , , mount = ''] = before.split(' ')
    const [type, , options = ''] = after.split(' ')
    // A group with processes gives its children no controllers, and that of a daemon has it: only the top may.
    if (type === 'cgroup2') return [{ version: 2, folder: mount, controllers: wanted }]
    const controllers = type === 'cgroup' ? options.split(',').filter((option) => wanted.includes(option)) : []
    return controllers.map((controller) => ({
      version: 1,
      folder: join(mount, path(controller), '.'),
      controllers: [controller],
    }))
  })
}

/** Of version 2: are these controllers there for the groups below? Asks for them. */
export async function switchedOn({ folder, controllers }: Pick<Place, 'folder' | 'controllers'>): Promise<boolean> {
  const file = join(folder, 'cgroup.subtree_control')
  await writeFile(file, controllers.map((one) => `+${one}`).join(' ')).catch(() => undefined)
  const on = (await readFile(file, 'utf8').catch(() => '')).trim().split(' ')
  return controllers.every((one) => on.includes(one))
}

/** Cages of hosts that were killed: their plugins went with them. */
async function sweep({ folder }: Place): Promise<void> {
  const mine = await prefix()
  for (const name of await readdir(folder).catch(() => [])) {
    const host = name.startsWith(mine) ? /^\d+/.exec(name.slice(mine.length))?.[0] : undefined
    if (host !== undefined && !existsSync(`/proc/${host}`)) await removeCage(join(folder, name))
  }
}

async function tried(place: Place): Promise<boolean> {
  try {
    const cage = await makeCage([place], { memoryMb: 64, pids: threads })
    try {
      const [program = '', ...args] = cage.inside(['/bin/true'])
      await promisify(execFile)(program, args, { env: {} })
      return true
    } finally {
      await cage.drop()
    }
  } catch {
    return false
  }
}
