/**
 * Control groups: which of them this process may make, and what a worker's limits are written as.
 *
 * A worker has one folder in each hierarchy used: `<hierarchy>/muster-<digest of the root>/<id>`. Under root the hierarchy's top is the place, so that
 * the end of the daemon's own service takes no worker with it; else what was delegated to this process. Formats: cgroup-v1 and
 * cgroup-v2 of the kernel's documentation.
 */
import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Resources } from '@muster/core'

const run = promisify(execFile)

export type Controller = 'cpu' | 'memory' | 'pids'

/** One mounted hierarchy. */
export interface Hierarchy {
  version: 1 | 2
  /** Of version 1; version 2 names its own in each folder. */
  controllers: string[]
  /** Where it is mounted, and which folder of it this process is in. */
  mount: string
  own: string
}

/** What one worker has of it, all as paths. Written into the worker's folder, so that any later version of the plugin can read it. */
export interface WorkerCgroup {
  /** Folders, made by the supervisor and removed at the end; and theirs above, removed when empty. */
  dirs: string[]
  parents: string[]
  /** `cgroup.procs` files that a process writes 0 into to join. */
  procs: string[]
  /** The one of them that lists the worker's processes. */
  list: string
  /** Version 2: the folder whose children need these controllers switched on. */
  v2?: string
  control?: string
  /** Writing 1 kills all. */
  kill?: string
  freezer?: { file: string; frozen: string; thawed: string }
  /** Has a line `oom_kill N`. */
  oom?: string
  /** Where its use is read. */
  cpu?: { file: string; version: 1 | 2 }
  memory?: { now: string; peak: string }
  pids?: string
}

export interface Cgroups {
  version: string
  can: Record<Controller, boolean>
  worker(id: string): WorkerCgroup
  /** Lines `FILE VALUE` in the order in which they are written, and what that gives. */
  limits(id: string, limits: Limits): { lines: string[]; granted: Resources }
}

export type Limits = Pick<Resources, 'cpu' | 'memoryBytes' | 'pids'>

/** Microseconds; the kernel's default for both versions. */
const PERIOD = 100_000
/** The kernel refuses a quota under one millisecond. */
const LEAST_QUOTA = 1000
/** Memory is accounted in pages, and a limit that is no multiple is rounded down by the kernel. */
const PAGE = 4096

/** What of the machine's hierarchies this process may use, tried out with a folder that is removed again. Undefined: nothing. */
export async function findCgroups(options: {
  digest: string
  root: boolean
  versions: readonly (1 | 2)[]
}): Promise<Cgroups | undefined> {
  const { digest, root, versions } = options
  const found = parseHierarchies({
    mounts: await readFile('/proc/self/mountinfo', 'utf8').catch(() => ''),
    own: await readFile('/proc/self/cgroup', 'utf8').catch(() => ''),
  })
  const usable: Place[] = []
  for (const hierarchy of found) {
    if (!versions.includes(hierarchy.version)) continue
    const place = await tryPlace(hierarchy, { name: `muster-${digest}`, root })
    if (place !== undefined) usable.push(place)
  }
  return cgroupsOf(usable)
}

/** A hierarchy in which a folder could be made and joined. */
export interface Place {
  version: 1 | 2
  /** The folder of all workers. */
  parent: string
  controllers: string[]
  /** Names of files that a worker's folder has. */
  files: ReadonlySet<string>
}

/** Pure: mountinfo(5) and cgroups(7) as text. */
export function parseHierarchies(text: { mounts: string; own: string }): Hierarchy[] {
  const own = new Map(
    text.own
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => {
        const [id = '', controllers = '', ...path] = line.split(':')
        return [id === '0' ? 'v2' : controllers, path.join(':')] as const
      }),
  )
  const found: Hierarchy[] = []
  for (const line of text.mounts.split('\n')) {
    const [before = '', after = ''] = line.split(' - ')
    const [, , , mountRoot = '/', mount = ''] = before.split(' ')
    const [type, , options = ''] = after.split(' ')
    if (type !== 'cgroup' && type !== 'cgroup2') continue
    const controllers = type === 'cgroup2' ? [] : options.split(',').filter((option) => known.has(option))
    if (type === 'cgroup' && controllers.length === 0) continue
    const key = type === 'cgroup2' ? 'v2' : [...own.keys()].find((name) => name.split(',').includes(controllers[0] ?? ''))
    const path = own.get(key ?? '') ?? '/'
    const below = mountRoot !== '/' && path.startsWith(mountRoot) ? path.slice(mountRoot.length) : path
    found.push({ version: type === 'cgroup2' ? 2 : 1, controllers, mount, own: below === '' ? '/' : below })
  }
  return found
}

const known = new Set(['cpu', 'cpuacct', 'memory', 'pids', 'freezer'])

/** Tries a hierarchy out with a folder in `name` that is made, joined and removed again. Undefined: it is not ours to use. */
export async function tryPlace(
  hierarchy: Hierarchy,
  { name, root }: { name: string; root: boolean },
): Promise<Place | undefined> {
  const above = root ? hierarchy.mount : join(hierarchy.mount, hierarchy.own)
  const parent = join(above, name)
  const tried = await run('/bin/sh', ['-c', TRIAL, 'sh', above, parent, String(hierarchy.version), ...wanted], { env: {} }).catch(
    () => undefined,
  )
  if (tried === undefined) return undefined
  const [controllers = '', files = ''] = tried.stdout.split('\n')
  return {
    version: hierarchy.version,
    parent,
    controllers: hierarchy.version === 1 ? hierarchy.controllers : controllers.split(' '),
    files: new Set(files.split(' ').filter((file) => file !== '')),
  }
}

const wanted = [
  'cgroup.kill',
  'cgroup.freeze',
  'freezer.state',
  'memory.memsw.limit_in_bytes',
  'memory.swap.max',
  'memory.peak',
] as const

/**
 * One shell does all of it, so that the death of the plugin leaves nothing; what the death of such a shell left, the next one removes.
 * In version 2 children get a controller only when each folder above switches it on; one that holds processes of its own may not.
 * Prints two lines: the controllers of version 2, and which of the files are there.
 */
const TRIAL = `
above=$1 parent=$2 version=$3 trial=$2/trial-$$
shift 3
ended() {
  n=0
  while [ $n -lt 50 ] && ! rmdir "$trial" 2>/dev/null && [ -d "$trial" ]; do n=$((n + 1)); sleep 0.02; done
  rmdir "$parent" 2>/dev/null
  exit "$1"
}
prepare() {
  mkdir -p "$parent" 2>/dev/null || return 1
  [ "$version" = 1 ] || for folder in "$above" "$parent"; do
    for controller in cpu memory pids; do (echo "+$controller" >"$folder/cgroup.subtree_control") 2>/dev/null; done
  done
  # An earlier process may have had this number.
  rmdir "$trial" 2>/dev/null
  mkdir "$trial" 2>/dev/null
}
[ -w "$above" ] || [ -d "$parent" ] || exit 1
n=0
# Whoever ends beside us removes the parent between our two steps.
until prepare; do
  n=$((n + 1))
  [ $n -lt 50 ] || ended 1
done
for old in "$parent"/trial-*; do
  [ -d "/proc/\${old##*-}" ] || rmdir "$old" 2>/dev/null
done
(echo 0 >"$trial/cgroup.procs") 2>/dev/null || ended 1
controllers= files=
[ "$version" = 1 ] || read -r controllers <"$trial/cgroup.controllers" || :
for file; do [ ! -e "$trial/$file" ] || files="$files $file"; done
printf '%s\\n%s\\n' "$controllers" "$files"
ended 0
`

/** Pure. */
export function cgroupsOf(places: readonly Place[]): Cgroups | undefined {
  const of = (controller: string): Place | undefined => places.find((place) => place.controllers.includes(controller))
  const [cpu, memory, pids] = [of('cpu'), of('memory'), of('pids')]
  const v2 = places.find((place) => place.version === 2)
  // Version 2 freezes and counts without any controller.
  const [freezer, cpuacct] = v2 === undefined ? [of('freezer'), of('cpuacct')] : []
  const keeper = v2 ?? freezer ?? memory ?? pids ?? cpu
  if (keeper === undefined) return undefined
  const used = [...new Set([keeper, cpu, memory, pids, cpuacct, freezer])].filter((place) => place !== undefined)
  const at = (place: Place, id: string, file: string): string => join(place.parent, id, file)

  const worker = (id: string): WorkerCgroup => {
    const one: WorkerCgroup = {
      dirs: used.map((place) => join(place.parent, id)),
      parents: used.map((place) => place.parent),
      procs: used.map((place) => at(place, id, 'cgroup.procs')),
      list: at(keeper, id, 'cgroup.procs'),
    }
    if (v2 !== undefined) {
      const control = [cpu, memory, pids].flatMap((place, index) =>
        place === v2 ? [`+${['cpu', 'memory', 'pids'][index]}`] : [],
      )
      if (control.length > 0) Object.assign(one, { v2: v2.parent, control: control.join(' ') })
      if (v2.files.has('cgroup.kill')) one.kill = at(v2, id, 'cgroup.kill')
    }
    if (v2?.files.has('cgroup.freeze') === true) one.freezer = { file: at(v2, id, 'cgroup.freeze'), frozen: '1', thawed: '0' }
    else if (freezer !== undefined) one.freezer = { file: at(freezer, id, 'freezer.state'), frozen: 'FROZEN', thawed: 'THAWED' }
    if (cpuacct !== undefined) one.cpu = { file: at(cpuacct, id, 'cpuacct.usage'), version: 1 }
    else if (v2 !== undefined) one.cpu = { file: at(v2, id, 'cpu.stat'), version: 2 }
    if (memory?.version === 1) {
      one.oom = at(memory, id, 'memory.oom_control')
      one.memory = { now: at(memory, id, 'memory.usage_in_bytes'), peak: at(memory, id, 'memory.max_usage_in_bytes') }
    } else if (memory !== undefined) {
      one.oom = at(memory, id, 'memory.events')
      one.memory = { now: at(memory, id, 'memory.current'), peak: at(memory, id, 'memory.peak') }
    }
    if (pids !== undefined) one.pids = at(pids, id, 'pids.current')
    return one
  }

  return {
    version: [...new Set(used.map((place) => `v${place.version}`))].join(' and '),
    can: { cpu: cpu !== undefined, memory: memory !== undefined, pids: pids !== undefined },
    worker,
    limits(id, limits) {
      const lines: string[] = []
      const granted: Resources = {}
      if (limits.memoryBytes !== undefined && memory !== undefined) {
        const bytes = Math.ceil(limits.memoryBytes / PAGE) * PAGE
        granted.memoryBytes = bytes
        if (memory.version === 1) {
          lines.push(`${at(memory, id, 'memory.limit_in_bytes')} ${bytes}`)
          if (memory.files.has('memory.memsw.limit_in_bytes'))
            lines.push(`${at(memory, id, 'memory.memsw.limit_in_bytes')} ${bytes}`)
        } else {
          lines.push(`${at(memory, id, 'memory.max')} ${bytes}`)
          if (memory.files.has('memory.swap.max')) lines.push(`${at(memory, id, 'memory.swap.max')} 0`)
        }
      }
      if (limits.cpu !== undefined && cpu !== undefined) {
        const quota = Math.max(LEAST_QUOTA, Math.ceil(limits.cpu * PERIOD))
        granted.cpu = quota / PERIOD
        if (cpu.version === 2) lines.push(`${at(cpu, id, 'cpu.max')} ${quota} ${PERIOD}`)
        else lines.push(`${at(cpu, id, 'cpu.cfs_period_us')} ${PERIOD}`, `${at(cpu, id, 'cpu.cfs_quota_us')} ${quota}`)
      }
      if (limits.pids !== undefined && pids !== undefined) {
        granted.pids = limits.pids
        lines.push(`${at(pids, id, 'pids.max')} ${limits.pids}`)
      }
      return { lines, granted }
    },
  }
}
