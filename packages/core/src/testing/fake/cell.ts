/**
 * A cell: one supervised command of the fake vendor, as a folder. The supervisor is a few lines of `sh`, so that the command and its
 * exit code survive the plugin. Files: `started` (the claim: of many supervisors one goes on), `pid`, `stdout`, `stderr`, `exit`.
 */
import { spawn } from 'node:child_process'
import { closeSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, readSync, statSync, watch } from 'node:fs'
import { join } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import type { OutputStream } from '../../provider.ts'

/** In the environment of every process of a worker: how the vendor finds them all, daemons too. Its value is the worker's folder. */
const cookie = 'MUSTER_FAKE_WORKER'

// The worker's own PATH may not have it.
const setsid = ['/usr/bin/setsid', '/bin/setsid'].find((path) => existsSync(path)) ?? 'setsid'

// The command runs in the foreground: in the background it would ignore SIGINT. It gets a session of its own, so that a signal to
// its group leaves the supervisor alive. Descriptor 4 tells the starter that the pid is written; nobody may listen any more.
const SUPERVISOR = `
cell=$1 events=$2 name=$3 dir=$4 setsid=$5; shift 5
set -C; true >"$cell/started" || exit 0; set +C
exec 4>&1 >/dev/null
if cd "$dir" 2>"$cell/stderr"; then
  "$setsid" /bin/sh -c 'echo $$ >"$0/pid"; (trap "" PIPE; echo started >&4) 2>/dev/null; exec 4>&-; exec "$@"' \
    "$cell" "$@" >"$cell/stdout" 2>>"$cell/stderr"
  code=$?
else
  code=127
fi
echo $code >"$cell/exit"
echo "$name" >>"$events"
`

export interface CellCommand {
  /** The worker's folder. */
  worker: string
  command: string[]
  env: Record<string, string>
  dir: string
  /** The file and the line that tell of the end. */
  event: { file: string; line: string }
  /** Keep a pipe to its standard input? Without one it reads end-of-file. */
  stdin?: boolean
}

/** Starts the cell's command unless it was started before, by whomever. Resolves when it has a pid; to its input, where wanted. */
export async function startCell(cell: string, run: CellCommand): Promise<Writable | undefined> {
  mkdirSync(cell, { recursive: true })
  let input: Writable | undefined
  if (!existsSync(join(cell, 'started'))) {
    const supervisor = spawn(
      '/bin/sh',
      ['-c', SUPERVISOR, 'supervisor', cell, run.event.file, run.event.line, run.dir, setsid, ...run.command],
      {
        env: { PATH: '/usr/local/bin:/usr/bin:/bin', ...run.env, [cookie]: run.worker, MUSTER_FAKE_OOM: join(cell, 'oom') },
        detached: true,
        stdio: [run.stdin === true ? 'pipe' : 'ignore', 'pipe', 'ignore'],
      },
    )
    supervisor.unref()
    input = supervisor.stdin ?? undefined
    input?.on('error', () => {})
    await new Promise<void>((resolve, reject) => {
      const said = supervisor.stdout as Readable
      supervisor.once('error', reject)
      said.once('close', resolve)
      said.once('data', () => said.destroy())
    })
  }
  // Another one may hold the claim: its pid comes in a moment.
  while (pidOf(cell) === undefined && cellState(cell, run.worker).state === 'running') await changed(cell)
  return input
}

export type CellState = { state: 'absent' | 'running' | 'lost' } | { state: 'exited'; code: number; oom: boolean; at: Date }

/** What the cell's files and the process table say of it. */
export function cellState(cell: string, worker: string): CellState {
  if (!existsSync(join(cell, 'started'))) return { state: 'absent' }
  const exited = exitOf(cell)
  if (exited !== undefined) return exited
  const pid = pidOf(cell)
  if (pid !== undefined && belongs(pid, worker)) return { state: 'running' }
  // Its supervisor may be about to write the exit code, or have just done so.
  return processesOf(worker).length > 0 ? { state: 'running' } : (exitOf(cell) ?? { state: 'lost' })
}

export function pidOf(cell: string): number | undefined {
  return numberIn(join(cell, 'pid'))
}

function exitOf(cell: string): (CellState & { state: 'exited' }) | undefined {
  const path = join(cell, 'exit')
  const code = numberIn(path)
  if (code === undefined) return undefined
  return { state: 'exited', code, oom: existsSync(join(cell, 'oom')), at: statSync(path).mtime }
}

/** A line that is written whole, line end included. */
function numberIn(path: string): number | undefined {
  const text = readText(path)
  return text?.endsWith('\n') === true ? Number(text) : undefined
}

/** All processes of the worker in this folder. */
export function processesOf(worker: string): number[] {
  return everyProcess().filter((pid) => belongs(pid, worker))
}

/** All processes of all fake workers: the worker's folder of each. */
export function allProcesses(): { pid: number; worker: string }[] {
  return everyProcess().flatMap((pid) => {
    const worker = workerOf(pid)
    return worker === undefined ? [] : [{ pid, worker }]
  })
}

function everyProcess(): number[] {
  return readdirSync('/proc').map(Number).filter(Number.isInteger)
}

function belongs(pid: number, worker: string): boolean {
  return workerOf(pid) === worker
}

function workerOf(pid: number): string | undefined {
  const environment = readText(`/proc/${pid}/environ`)
  // Most processes are nobody's: a look for the name before the work of taking all apart.
  if (environment?.includes(cookie) !== true) return undefined
  return environment
    .split('\0')
    .find((entry) => entry.startsWith(`${cookie}=`))
    ?.slice(cookie.length + 1)
}

/** A process that has just ended is no error. A negative pid is a group. */
export function signalQuietly(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

/** A watch may miss what came just before it: nobody waits longer than this for a second look. */
const lookAgainMs = 20

/** Resolves at the next change in the folder. */
export function changed(folder: string, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    let watcher: ReturnType<typeof watch> | undefined
    const settle = (act: () => void) => (): void => {
      clearTimeout(timer)
      watcher?.close()
      signal?.removeEventListener('abort', aborted)
      act()
    }
    const done = settle(resolve)
    const aborted = settle(() => reject(signal?.reason as Error))
    const timer = setTimeout(done, lookAgainMs)
    try {
      watcher = watch(folder, done).on('error', done)
    } catch {
      // The folder has gone: the timer ends the wait.
    }
    signal?.addEventListener('abort', aborted)
    if (signal?.aborted === true) aborted()
  })
}

export interface Piece {
  stream: OutputStream
  offset: number
  data: Uint8Array
}

const pieceBytes = 64 * 1024

/** Output from these offsets on, both streams in turn. With `follow` until the command has ended and all is read. */
export async function* readOutput(
  cell: string,
  options: { from: Record<OutputStream, number>; follow: boolean; signal: AbortSignal },
): AsyncGenerator<Piece> {
  const at = { ...options.from }
  for (;;) {
    options.signal.throwIfAborted()
    const last = !options.follow || exitOf(cell) !== undefined || !existsSync(cell)
    let read = false
    for (const stream of ['stdout', 'stderr'] as const) {
      const data = readAt(join(cell, stream), at[stream])
      if (data.length === 0) continue
      read = true
      const offset = at[stream]
      at[stream] += data.length
      yield { stream, offset, data }
    }
    if (read) continue
    if (last) return
    await changed(cell, options.signal)
  }
}

function readAt(path: string, offset: number): Uint8Array {
  if (!existsSync(path)) return new Uint8Array()
  const buffer = Buffer.allocUnsafe(pieceBytes)
  const file = openSync(path, 'r')
  try {
    return buffer.subarray(0, readSync(file, buffer, 0, pieceBytes, offset))
  } finally {
    closeSync(file)
  }
}

/** Undefined when it cannot be read. */
export function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}
