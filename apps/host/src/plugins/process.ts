/** One plugin process: spawned, connected, its output kept short, and surely ended. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Duplex } from 'node:stream'
import { connectPlugin, type PluginConnection, type PluginManifest } from '@muster/core'
import { commandOf, type PluginPlace } from '@muster/packed/command'
import { readLines } from './lines.ts'
import type { Cage } from './cage.ts'
import { type Holds, openHolds } from './holds.ts'
import { type PluginUser, privileges, setpriv } from './ground.ts'
import type { IsolationLevel } from './registry.ts'
import { memoryOf, watchMemory } from './memory.ts'
import { withoutNetwork } from './no-network.ts'
import { withOpenFiles } from './open-files.ts'
import type { Redactor } from './redactor.ts'

export interface PluginProcess {
  readonly pid: number
  readonly connection: PluginConnection
  /** Its open calls, whoever made them. */
  readonly holds: Holds
  /** Settles when the process is gone. */
  readonly exited: Promise<ProcessEnd>
  /** The last lines it wrote, redacted. */
  tail(): string[]
  /** What it took more of than it may; known once it has exited. */
  excess(): string | undefined
  /** SIGKILL; a no-op when it is gone. */
  kill(): void
}

export interface ProcessEnd {
  code: number | null
  signal: string | null
}

export interface SpawnOptions extends PluginPlace {
  manifest: PluginManifest
  level: IsolationLevel
  /** In a network in which nothing is up. */
  ownNetwork: boolean
  /** One of its own; absent: the host's. */
  user?: PluginUser
  cage?: Cage
  redactor: Redactor
  /** Each line of stdout and stderr, redacted and capped. */
  onLine(line: string): void
}

/** Enough to see what went wrong, small enough to keep for every provider. */
const keptLines = 200

/** Resolves once the process runs; rejects when it cannot be spawned. */
export async function spawnPlugin(options: SpawnOptions): Promise<PluginProcess> {
  const { manifest, level, user, cage, cwd } = options
  const own = commandOf(manifest, { ...options, confined: level !== 'L1' })
  const found = await setpriv()
  if (user !== undefined && found === undefined) throw new Error('setpriv of util-linux is missing')
  const bound = found === undefined ? own : [found, ...privileges(user), ...own]
  const away = options.ownNetwork ? await withoutNetwork(bound) : bound
  const few = manifest.permissions.childProcess ? away : withOpenFiles(away)
  const command = cage === undefined ? few : cage.inside(few)
  const child = spawn(command[0] ?? '', command.slice(1), {
    cwd,
    env: environment(manifest),
    stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
  })
  await Promise.race([once(child, 'spawn'), once(child, 'error').then(([error]) => Promise.reject(error as Error))])
  const lines: string[] = []
  const take = (line: string): void => {
    lines.push(line)
    if (lines.length > keptLines) lines.shift()
    options.onLine(line)
  }
  for (const stream of [child.stdout, child.stderr])
    if (stream !== null) readLines(stream, { clean: options.redactor.clean, take })
  const connection = connectPlugin(child.stdio[3] as Duplex, { inFlight: manifest.limits.inFlight, secrets: manifest.secrets })
  let excess: string | undefined
  const limitMb = memoryOf(manifest)
  const unwatch = watchMemory(child.pid ?? -1, {
    limitMb,
    over(foundMb) {
      excess = `it took ${foundMb} MiB of memory, and may have ${limitMb} (heapMb of its limits, twice, and 128)`
      child.kill('SIGKILL')
    },
  })
  const exited = exitOf(child).then(async (end) => {
    unwatch()
    if ((await cage?.drop()) === true) excess ??= `it took more memory than its control group has`
    if (end.signal === 'SIGABRT' && lines.some((line) => line.includes('heap out of memory')))
      excess ??= `its heap is full: it may have ${manifest.limits.heapMb} MiB (heapMb of its limits)`
    return end
  })
  // A broken or silent connection is no reason to keep a process.
  void connection.closed.then(() => endSoon(child))
  return {
    pid: child.pid ?? -1,
    connection,
    holds: openHolds(),
    exited,
    tail: () => [...lines],
    excess: () => excess,
    kill: () => void child.kill('SIGKILL'),
  }
}

/** Nothing of the host's own environment but the names that the manifest asks for. */
function environment(manifest: PluginManifest): NodeJS.ProcessEnv {
  const env: NodeJS.ProcessEnv = {}
  for (const name of manifest.permissions.env) {
    const value = process.env[name]
    if (value !== undefined) env[name] = value
  }
  return env
}

/** A plugin ends by itself within a second of its connection's end; one that does not is killed. */
function endSoon(child: ChildProcess): void {
  if (child.exitCode !== null || child.signalCode !== null) return
  const timer = setTimeout(() => child.kill('SIGKILL'), 1500)
  child.once('exit', () => clearTimeout(timer))
}

async function exitOf(child: ChildProcess): Promise<ProcessEnd> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
  return { code: child.exitCode, signal: child.signalCode }
}
