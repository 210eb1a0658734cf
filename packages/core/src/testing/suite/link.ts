/** A plugin process as the suite holds it: its wire, its end, its words. Real ones, and ones in this process for fast tests of the suite itself. */
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import process from 'node:process'
import { type Duplex, duplexPair } from 'node:stream'
import type { Plugin } from '../../plugin.ts'
import { createRedactor } from '../../wire/redact.ts'
import { createService } from '../../wire/service.ts'
import { mortalLife, type MortalLife } from '../fake/life.ts'

export interface PluginLink {
  readonly socket: Duplex
  /** SIGKILL. Resolves when it is dead. */
  kill(): Promise<void>
  /** Settles at its end. */
  readonly exited: Promise<{ code: number | null; signal: string | null }>
  /** What it wrote to stdout and stderr so far. */
  words(): string
  /** Its resident memory in bytes, where it is a process of its own. */
  memory?(): number
  /** Where the plugin can tell: SIGKILL at its n-th effect at the vendor from now on, before that happens. */
  killAtEffect?(n: number): void
}

/** Where a plugin process may keep things: the suite makes the folder, and tells it again with `configure`. */
export interface StartPlace {
  dataDir: string
}

export type StartPlugin = (place: StartPlace) => PluginLink

/** Asks Node to write coverage at its end: test runners set it, and merge what children wrote. */
const coverage = 'NODE_V8_COVERAGE'

/**
 * Starts the command with its fourth pipe as the wire; `env` is its whole environment, but for the runner's coverage. A command that depends on
 * the place starts in it, as under a host.
 */
export function processPlugin(
  command: readonly string[] | ((place: StartPlace) => readonly string[]),
  env: Record<string, string> = {},
): StartPlugin {
  return (place) => {
    const placed = typeof command === 'function'
    const [file = '', ...args] = placed ? command(place) : command
    const folder = process.env[coverage]
    const child = spawn(file, args, {
      ...(placed && { cwd: place.dataDir }),
      env: folder === undefined ? env : { ...env, [coverage]: folder },
      stdio: ['ignore', 'pipe', 'pipe', 'pipe'],
    })
    let said = ''
    const hear = (text: Buffer): void => {
      said += text.toString()
    }
    child.stdout?.on('data', hear)
    child.stderr?.on('data', hear)
    const exited = new Promise<{ code: number | null; signal: string | null }>((resolve) => {
      child.once('error', (error) => {
        said += String(error)
        resolve({ code: null, signal: null })
      })
      child.once('exit', (code, signal) => resolve({ code, signal }))
    })
    return {
      socket: child.stdio[3] as Duplex,
      exited,
      words: () => said,
      async kill() {
        child.kill('SIGKILL')
        await exited
      },
      memory: () => residentBytes(child.pid ?? 0),
    }
  }
}

function residentBytes(pid: number): number {
  const kib = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
  if (kib === undefined) throw new Error(`process ${pid} is no more`)
  return Number(kib) * 1024
}

/** The plugin in this process: `kill` ends its life, so that none of its later steps happens. */
export function inProcessPlugin(make: (life: Life) => Plugin): StartPlugin {
  return () => {
    const life = mortalLife()
    const [ours, theirs] = duplexPair()
    const exited = Promise.withResolvers<{ code: number | null; signal: string | null }>()
    let said = ''
    let killed = false
    let stepsLeft: number | undefined
    const kill = async (): Promise<void> => {
      killed = true
      life.end()
      ours.destroy()
      theirs.destroy()
      exited.resolve({ code: null, signal: 'SIGKILL' })
      await exited.promise
    }
    const watched: Life = {
      onEnd: (end) => life.onEnd(end),
      async step(name) {
        if (stepsLeft !== undefined && --stepsLeft === 0) await kill()
        await life.step(name)
      },
    }
    const target = {
      redactor: createRedactor(),
      write: (line: string) => {
        said += line
      },
    }
    const service = createService(theirs, make(watched), target)
    void service.closed.then(() => {
      if (!killed) exited.resolve({ code: 0, signal: null })
    })
    return {
      socket: ours,
      exited: exited.promise,
      words: () => said,
      kill,
      killAtEffect(n) {
        stepsLeft = n
      },
    }
  }
}

type Life = Pick<MortalLife, 'step' | 'onEnd'>
