/** Processes of tests: start, capture, stop by pid, expect an exit. */
import { spawn, type ChildProcess } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { openSync, closeSync } from 'node:fs'

import { waitFor } from './wait.ts'

export interface ProcessExit {
  code: number | null
  signal: NodeJS.Signals | null
}

export interface ProcessOptions {
  cwd?: string
  /** The whole environment; by default that of this process. */
  env?: NodeJS.ProcessEnv
  /** Written to stdin, which is then closed. Without it stdin is empty. */
  input?: string | Buffer
  /** stdout and stderr go to the end of this file and are not captured. */
  logFile?: string
  /** Own session, not ended with this process; only with `logFile`, since nobody reads its pipes later. */
  detached?: boolean
}

export interface RunningProcess {
  readonly pid: number
  readonly command: readonly string[]
  /** What it has written so far; at most the last {@link CAPTURE_BYTES}. */
  stdout(): string
  stderr(): string
  running(): boolean
  readonly exited: Promise<ProcessExit>
  /** Sends SIGTERM, and SIGKILL when `graceMs` (default 10 s) have passed; answers the exit. Idempotent. */
  stop(graceMs?: number): Promise<ProcessExit>
  kill(signal: NodeJS.Signals): void
  /** Waits for the exit and fails, with the end of its output, unless it has this code. */
  expectExit(code: number): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

/** 8 MiB of each stream are kept: more than a test looks at, and a flooding process cannot take the machine. */
export const CAPTURE_BYTES: number = 8 * 1024 * 1024

/** Starts a program (no shell). Rejects when it cannot be started. */
export async function startProcess(
  command: readonly [string, ...string[]],
  options: ProcessOptions = {},
): Promise<RunningProcess> {
  const { cwd, env = process.env, input, logFile, detached = false } = options
  if (detached && logFile === undefined) throw new Error('a detached process needs a logFile')
  const log = logFile === undefined ? undefined : openSync(logFile, 'a', 0o600)
  const output = log ?? 'pipe'
  const [program, ...args] = command
  const stdin = input === undefined ? 'ignore' : 'pipe'
  const child = spawn(program, args, { cwd, env, detached, stdio: [stdin, output, output] })
  if (log !== undefined) closeSync(log)
  const capture = { stdout: captureOf(child.stdout), stderr: captureOf(child.stderr) }
  const exited = exitOf(child)
  await new Promise<void>((resolve, reject) => {
    child.once('spawn', resolve)
    child.once('error', (cause) => reject(new Error(`cannot start ${program}: ${cause.message}`, { cause })))
  })
  // A program may end without reading its input: its exit says what matters then.
  child.stdin?.on('error', () => {}).end(input)
  if (detached) child.unref()
  return handleOf(child, command, { exited, ...capture })
}

/** Runs a program to its end. A code other than 0 is an answer, not a failure; being late (default 60 s) is. */
export async function runProcess(
  command: readonly [string, ...string[]],
  options: ProcessOptions & { timeoutMs?: number } = {},
): Promise<ProcessExit & { stdout: string; stderr: string }> {
  const { timeoutMs = 60_000, ...rest } = options
  const running = await startProcess(command, rest)
  let late = false
  const timer = setTimeout(() => {
    late = true
    running.kill('SIGKILL')
  }, timeoutMs)
  const exit = await running.exited
  clearTimeout(timer)
  if (late) throw new Error(`${command.join(' ')} ran longer than ${timeoutMs} ms`)
  return { ...exit, stdout: running.stdout(), stderr: running.stderr() }
}

/** Runs a program that must succeed, and answers its stdout. */
export async function mustRun(
  command: readonly [string, ...string[]],
  options: ProcessOptions & { timeoutMs?: number } = {},
): Promise<string> {
  const { code, signal, stdout, stderr } = await runProcess(command, options)
  if (code !== 0) throw new Error(`${command.join(' ')} ended with ${code ?? signal}: ${(stderr || stdout).trim()}`)
  return stdout
}

/** A process that is not our child, told from a later one with the same pid by its start. */
export interface ProcessIdentity {
  pid: number
  /** Ticks after boot, field 22 of /proc/PID/stat. */
  startTime: string
}

/**
 * Who runs under a pid now; undefined for nobody and for a zombie, which only waits to be reaped.
 *
 * A first thread that has ended counts as running while others of its process are still ending: files and sockets
 * are closed by the last one (field 20 is the number of threads).
 */
export async function identityOf(pid: number): Promise<ProcessIdentity | undefined> {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined)
  // The second field is the program's name in brackets and may itself hold blanks and brackets.
  const fields = stat?.slice(stat.lastIndexOf(')') + 2).split(' ')
  if (fields === undefined || fields[0] === 'X') return undefined
  if (fields[0] === 'Z' && Number(fields[17]) <= 1) return undefined
  return { pid, startTime: fields[19] ?? '' }
}

export async function isRunning(identity: ProcessIdentity): Promise<boolean> {
  return (await identityOf(identity.pid))?.startTime === identity.startTime
}

/** Ends a process that is not our child: SIGTERM, SIGKILL after `graceMs`, then waits until it is gone. */
export async function stopIdentity(identity: ProcessIdentity, graceMs = 10_000): Promise<void> {
  const gone = { until: (running: boolean) => !running, timeoutMs: Math.max(graceMs, 1) }
  const look = (): Promise<boolean> => isRunning(identity)
  if (!(await look())) return
  if (graceMs > 0) {
    signal(identity.pid, 'SIGTERM')
    const ended = await waitFor('the end of a process', look, gone).catch(() => true)
    if (!ended) return
  }
  if (await look()) signal(identity.pid, 'SIGKILL')
  await waitFor(`the end of process ${identity.pid} after SIGKILL`, look, { until: gone.until })
}

/** Sends a signal; a process that has ended meanwhile is as wanted. */
function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

function handleOf(
  child: ChildProcess,
  command: readonly string[],
  parts: { exited: Promise<ProcessExit>; stdout: () => string; stderr: () => string },
): RunningProcess {
  const { exited, stdout, stderr } = parts
  const running = (): boolean => child.exitCode === null && child.signalCode === null
  const stop = async (graceMs = 10_000): Promise<ProcessExit> => {
    if (running()) child.kill('SIGTERM')
    const timer = setTimeout(() => child.kill('SIGKILL'), graceMs)
    const exit = await exited
    clearTimeout(timer)
    return exit
  }
  return {
    pid: child.pid as number,
    command,
    stdout,
    stderr,
    running,
    exited,
    stop,
    kill: (signal) => void child.kill(signal),
    expectExit: async (wanted) => {
      const { code, signal } = await exited
      if (code === wanted) return
      const output = `${stdout()}\n${stderr()}`.trim().slice(-4_000)
      throw new Error(`${command.join(' ')} ended with ${code ?? signal}, not ${wanted}. It wrote:\n${output}`)
    },
    [Symbol.asyncDispose]: async () => void (await stop()),
  }
}

/** 1 s: what a process wrote before its end is read long before, and a child of its own may hold its pipes for ever. */
const LAST_OUTPUT_MS = 1_000

function exitOf(child: ChildProcess): Promise<ProcessExit> {
  return new Promise((resolve) => {
    child.once('exit', (code, signal) => {
      const end = (): void => resolve({ code, signal })
      const timer = setTimeout(end, LAST_OUTPUT_MS)
      child.once('close', () => {
        clearTimeout(timer)
        end()
      })
    })
  })
}

function captureOf(stream: NodeJS.ReadableStream | null): () => string {
  let chunks: Buffer[] = []
  let size = 0
  stream?.on('data', (chunk: Buffer) => {
    chunks.push(chunk)
    size += chunk.length
    // Cut only when twice the limit is held: each byte is then copied at most once.
    if (size > 2 * CAPTURE_BYTES) {
      chunks = [Buffer.concat(chunks).subarray(-CAPTURE_BYTES)]
      size = CAPTURE_BYTES
    }
  })
  return () => Buffer.concat(chunks).subarray(-CAPTURE_BYTES).toString()
}
