/** What happens inside a worker of the fake provider: commands, output, files, ports. */
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { basename, dirname, join } from 'node:path'
import type { Readable, Writable } from 'node:stream'
import { ProviderError } from '../../errors.ts'
import type { Call, ExecSession, TerminalSize, WorkerExit, WorkerProvider, WorkerStats, WorkerTarget } from '../../provider.ts'
import { cellState, pidOf, processesOf, readOutput, readText, signalQuietly, startCell } from './cell.ts'
import type { Life } from './life.ts'
import { environmentOf } from './machine.ts'
import { inside, refused } from './translate.ts'
import type { FakeVendor, WorkerRecord } from './vendor.ts'

type Inside = Required<
  Pick<
    WorkerProvider,
    'logs' | 'exec' | 'execState' | 'execKill' | 'execResize' | 'copyIn' | 'copyOut' | 'forward' | 'suspend' | 'resume' | 'mark'
  >
>

export interface WorkspaceOptions {
  vendor: FakeVendor
  life: Life
  tty: boolean
  /** The worker's record; throws `not-found`, or what its part's outage is. */
  find(target: WorkerTarget, call: Call): Promise<WorkerRecord>
}

export function workspace({ vendor, life, tty, find }: WorkspaceOptions): Inside {
  const home = (record: WorkerRecord): string => vendor.folder(record.id)
  const mainCell = (record: WorkerRecord): string => join(home(record), 'main')
  const execCell = (record: WorkerRecord, id: string): string => join(home(record), 'exec', id)

  function mustRun(record: WorkerRecord): void {
    const marks = vendor.marks(record.id)
    const mark = (['stopping', 'suspended', 'lost', 'expired'] as const).find((one) => marks.has(one))
    const ended = record.command !== undefined && cellState(mainCell(record), home(record)).state !== 'running'
    if (mark !== undefined || ended)
      throw new ProviderError('conflict', `the worker does not run: ${mark ?? 'exited'}`, { effect: 'none' })
  }

  return {
    async *logs(target, { cursor, follow }, call) {
      const record = await find(target, call)
      const [stdout = 0, stderr = 0] = cursor?.split('.').map(Number) ?? []
      const from = { stdout, stderr }
      for await (const { stream, offset, data } of readOutput(mainCell(record), { from, follow, signal: call.signal })) {
        from[stream] = offset + data.length
        yield { stream, cursor: `${from.stdout}.${from.stderr}`, data }
      }
    },

    async exec(target, command, call) {
      const record = await find(target, call)
      if (command.tty !== undefined && !tty) throw refused('unsupported', 'tty', 'no terminals here')
      const cell = execCell(record, command.id)
      if (command.tty !== undefined && cellState(cell, home(record)).state !== 'absent')
        throw refused('conflict', 'id', 'nobody attaches to a terminal')
      if (cellState(cell, home(record)).state === 'absent') {
        mustRun(record)
        await life.step('exec')
        vendor.note({ kind: 'effect', op: 'exec' }, { worker: record.id, call })
      }
      const env = { ...environmentOf(home(record), record), ...command.env }
      if (command.user !== undefined) env['MUSTER_FAKE_USER'] = command.user
      const input = await startCell(cell, {
        worker: home(record),
        command: command.tty === undefined ? command.command : inTerminal(cell, command.command, command.tty),
        env,
        dir: command.workdir === undefined ? inside(home(record), record, '.') : inside(home(record), record, command.workdir),
        event: { file: join(vendor.dir, 'events'), line: record.id },
        stdin: command.input !== undefined,
      })
      if (input !== undefined && command.input !== undefined) {
        life.onEnd(() => input.destroy())
        void feed(input, command.input, call.signal)
      }
      if (command.tty !== undefined) {
        const hangUp = (): void => signalQuietly(-(pidOf(cell) ?? NaN), 'SIGKILL')
        life.onEnd(hangUp)
        call.signal.addEventListener('abort', hangUp)
      }
      return session(cell, { from: command.from, signal: call.signal, home: home(record) })
    },

    async execState(target, id, call) {
      const record = await find(target, call)
      const found = cellState(execCell(record, id), home(record))
      if (found.state === 'absent' || found.state === 'lost') return { state: 'unknown' }
      return found.state === 'exited' ? { state: 'exited', exit: exitOf(found) } : { state: 'running' }
    },

    async execKill(target, { id, signal }, call) {
      const record = await find(target, call)
      const cell = execCell(record, id)
      const pid = pidOf(cell)
      if (pid === undefined || cellState(cell, home(record)).state !== 'running') return
      await life.step('exec-kill')
      vendor.note({ kind: 'effect', op: 'exec-kill' }, { worker: record.id, call })
      signalQuietly(-pid, signal)
    },

    async execResize(target, { id, columns, rows }, call) {
      const record = await find(target, call)
      const cell = execCell(record, id)
      const line = readText(join(cell, 'tty'))?.trim()
      if (line === undefined || cellState(cell, home(record)).state !== 'running') return
      const told = spawn('stty', ['-F', line, ...sizeWords({ columns, rows })], { stdio: ['ignore', 'ignore', 'pipe'] })
      await endOf(told, { signal: call.signal, path: 'stty' }).catch((error: unknown) => {
        // It has ended meanwhile: the line is hung up before its command is gone.
        if (!/Input\/output error/.test(String(error))) throw error
      })
    },

    async copyIn(target, { path, tar }, call) {
      const record = await find(target, call)
      await life.step('copy-in')
      vendor.note({ kind: 'effect', op: 'copy-in' }, { worker: record.id, call })
      const folder = inside(home(record), record, path)
      mkdirSync(folder, { recursive: true })
      const come = mkdtempSync(join(home(record), 'come-'))
      try {
        const child = spawn('tar', ['-xf', '-', '--no-same-owner', '-C', come], { stdio: ['pipe', 'ignore', 'pipe'] })
        const ended = endOf(child, { signal: call.signal, path: 'tar' })
        child.stdin.on('error', () => {})
        await Promise.all([feed(child.stdin, tar, call.signal), ended])
        const names = readdirSync(come)
        if (names.length === 0) return
        // Unlike tar it refuses a file for a folder, and a folder for a file.
        const words = ['-a', '--remove-destination', '-t', folder, '--', ...names]
        const settle = spawn('cp', words, { cwd: come, stdio: ['ignore', 'ignore', 'pipe'] })
        await endOf(settle, { signal: call.signal, path })
      } finally {
        rmSync(come, { recursive: true, force: true })
      }
    },

    async *copyOut(target, path, call) {
      const record = await find(target, call)
      const full = inside(home(record), record, path)
      if (!existsSync(full)) throw refused('not-found', path, `no ${path} in the worker`)
      const child = spawn('tar', ['-cf', '-', '-C', dirname(full), basename(full)], { stdio: ['ignore', 'pipe', 'pipe'] })
      const ended = endOf(child, { signal: call.signal, path: 'tar' })
      ended.catch(() => {})
      try {
        yield* child.stdout as AsyncIterable<Uint8Array>
        await ended
      } finally {
        child.kill('SIGKILL')
      }
    },

    async *forward(target, { port, input }, call) {
      const record = await find(target, call)
      mustRun(record)
      const open = (record.machine['network'] as { ports?: number[] } | undefined)?.ports
      if (open?.includes(port) === false) throw refused('conflict', 'port', `port ${port} is not open`)
      const socket = connect({ host: '127.0.0.1', port, signal: call.signal, allowHalfOpen: true })
      try {
        await new Promise<void>((resolve, reject) => {
          socket.once('connect', resolve).once('error', (cause) => {
            reject(
              call.signal.aborted
                ? (call.signal.reason as Error)
                : new ProviderError('transient', `nothing listens on port ${port}`, { effect: 'none', cause }),
            )
          })
        })
        const sent = feed(socket, input, call.signal)
        yield* socket as AsyncIterable<Uint8Array>
        await sent
      } finally {
        socket.destroy()
      }
    },

    async suspend(target, { keeps }, call) {
      const record = await find(target, call)
      if (keeps === 'nothing') throw refused('unsupported', 'keeps', 'the disk stays')
      const before = readText(join(home(record), 'suspended'))
      if (before === keeps) return
      mustRun(record)
      if (keeps === 'disk' && record.command !== undefined)
        throw new ProviderError('conflict', 'its command would begin again', { effect: 'none' })
      await life.step('suspend')
      vendor.mark(record.id, 'suspended', keeps)
      for (const pid of processesOf(home(record))) signalQuietly(pid, keeps === 'disk' ? 'SIGKILL' : 'SIGSTOP')
      vendor.tell(record.id)
    },

    async resume(target, call) {
      const record = await find(target, call)
      await life.step('resume')
      for (const pid of processesOf(home(record))) signalQuietly(pid, 'SIGCONT')
      vendor.unmark(record.id, 'suspended')
      vendor.tell(record.id)
    },

    async mark({ id }, { leased }) {
      if (vendor.get(id) === undefined) return
      if (leased) vendor.unmark(id, 'idle')
      else vendor.mark(id, 'idle')
    },
  }
}

/** What the processes of a worker use now. */
export function usedIn(home: string): Pick<WorkerStats, 'cpuSeconds' | 'memoryBytes' | 'pids'> {
  const processes = processesOf(home)
  const sum = (one: (pid: number) => number): number => processes.reduce((total, pid) => total + one(pid), 0)
  return { cpuSeconds: sum(cpuSecondsOf), memoryBytes: sum(memoryOf), pids: processes.length }
}

/** Output first, then the exit. */
function session(cell: string, at: { from: { stdout: number; stderr: number }; signal: AbortSignal; home: string }): ExecSession {
  const exit = Promise.withResolvers<WorkerExit>()
  // Whoever stops reading before the end has no use for the exit.
  exit.promise.catch(() => {})
  async function* output(): AsyncGenerator<{ stream: 'stdout' | 'stderr'; offset: number; data: Uint8Array }> {
    try {
      yield* readOutput(cell, { from: at.from, follow: true, signal: at.signal })
      const found = cellState(cell, at.home)
      exit.resolve(found.state === 'exited' ? exitOf(found) : { reason: 'the worker is gone' })
    } finally {
      exit.reject(new ProviderError('cancelled', 'the output was not read to its end', { effect: 'possible' }))
    }
  }
  return { output: output(), exit: exit.promise }
}

export function exitOf(found: { code: number; oom: boolean; at: Date }): WorkerExit {
  const exit: WorkerExit = { code: found.code, reason: found.oom ? 'out of memory' : 'exited', at: found.at.toISOString() }
  if (found.oom) exit.oomKilled = true
  return exit
}

/** Writes as the reader takes. Ends the target also when the source fails: a command must not wait for ever. */
async function feed(target: Writable, source: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<void> {
  try {
    for await (const chunk of source) {
      if (signal.aborted || target.destroyed) break
      if (!target.write(chunk)) await drained(target)
    }
    target.end()
  } catch {
    target.destroy()
  }
}

function drained(target: Writable): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      target.off('drain', done).off('close', done)
      resolve()
    }
    target.once('drain', done).once('close', done)
  })
}

function endOf(child: ChildProcess, { signal, path }: { signal: AbortSignal; path: string }): Promise<void> {
  let said = ''
  ;(child.stderr as Readable).on('data', (text: Buffer) => {
    said = `${said}${text.toString()}`.slice(-500)
  })
  return new Promise((resolve, reject) => {
    const aborted = (): void => {
      child.kill('SIGKILL')
    }
    signal.addEventListener('abort', aborted)
    if (signal.aborted) aborted()
    child.once('error', reject)
    child.once('close', (code) => {
      signal.removeEventListener('abort', aborted)
      if (signal.aborted) reject(signal.reason as Error)
      else if (code === 0) resolve()
      else reject(new ProviderError('invalid-spec', said.trim(), { path }))
    })
  })
}

// The kernel counts processor time in ticks; USER_HZ is 100 on every Linux that Node runs on.
const ticksPerSecond = 100

function cpuSecondsOf(pid: number): number {
  const fields = readText(`/proc/${pid}/stat`)?.split(') ').at(-1)?.split(' ') ?? []
  return (Number(fields[11] ?? 0) + Number(fields[12] ?? 0)) / ticksPerSecond
}

function memoryOf(pid: number): number {
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(readText(`/proc/${pid}/status`) ?? '')?.[1] ?? 0) * 1024
}

/** `script` of util-linux makes the terminal, and ends with the command's code. */
function inTerminal(cell: string, command: readonly string[], size: TerminalSize): string[] {
  const begin = `tty >${quoted(join(cell, 'tty'))}; stty ${sizeWords(size).join(' ')}; exec`
  return ['script', '-qefc', `${begin} ${command.map(quoted).join(' ')}`, '/dev/null']
}

function sizeWords({ columns, rows }: TerminalSize): string[] {
  return ['cols', String(columns), 'rows', String(rows)]
}

function quoted(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`
}
