/** A raw exec made of local processes, and the shells the runner must hold in. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, readlinkSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import type { Readable } from 'node:stream'
import type { ExecInput, ExecSession, WorkerExit } from '../provider.ts'
import type { RawChunk, RawExec } from './raw.ts'

export interface Benches {
  root: string
  benches: Bench[]
  /** Shells that this machine does not have. */
  missing: string[]
  /** Makes the folders; before the tests. */
  make(): void
  remove(): void
}

export interface Bench {
  name: string
  shell: string
  path: string
}

/** Programs of the first PATH that the script and the tests use. */
const TOOLS: readonly string[] = (
  'basename cat chmod cut date dd env head id kill ln ls mkdir mkfifo mv nice printf ps rm seq sleep stat sync tail tee touch tr true ' +
  'wc yes od'
).split(' ')
let plans = 0

/** `sh` as dash, bash and busybox ash, each with the tools it mostly comes with, and bash without `setsid`. */
export function planBenches(): Benches {
  const root = join(tmpdir(), `muster-shells-${process.pid}-${plans++}`)
  const benches: Bench[] = []
  const missing: string[] = []
  const links: [file: string, link: string][] = []
  const plan = (name: string, program: string, rest: 'system' | 'tools' | 'own'): void => {
    const file = find(program)
    if (file === undefined) return void missing.push(program)
    const dir = join(root, name.replaceAll(' ', '-'))
    links.push([file, join(dir, 'sh')])
    if (rest === 'own') for (const tool of ['setsid', ...TOOLS]) links.push([file, join(dir, tool)])
    if (rest === 'tools') for (const tool of TOOLS) links.push([find(tool) ?? '/nowhere', join(dir, tool)])
    benches.push({ name, shell: join(dir, 'sh'), path: rest === 'system' ? `${dir}:/usr/bin:/bin` : dir })
  }
  plan('dash', 'dash', 'system')
  plan('bash', 'bash', 'system')
  plan('bash without setsid', 'bash', 'tools')
  plan('busybox', 'busybox', 'own')
  const make = (): void => {
    // Other users go through it to their own folders.
    mkdirSync(root, { mode: 0o711 })
    for (const [file, link] of links) {
      mkdirSync(dirname(link), { recursive: true })
      symlinkSync(file, link)
    }
  }
  return { root, benches, missing, make, remove: () => rmSync(root, { recursive: true, force: true }) }
}

function find(name: string): string | undefined {
  return ['/usr/bin', '/bin', '/usr/local/bin'].map((dir) => join(dir, name)).find((file) => existsSync(file))
}

export interface LocalRaw {
  raw: RawExec
  /** The processes started so far, newest last. */
  children: ChildProcess[]
  /** Counts what the reader has taken out of the pipes. */
  taken(): number
}

export interface LocalRawOptions {
  /** Sees each chunk before the runner does. */
  onChunk?: (child: ChildProcess) => void
  /** Words before the program: another process that starts it. */
  wrap?: readonly string[]
  /** User and group number to run as. */
  uid?: number
}

export function localRaw(bench: Pick<Bench, 'path'>, options: LocalRawOptions = {}): LocalRaw {
  const { onChunk, wrap = [], uid } = options
  const children: ChildProcess[] = []
  let taken = 0
  const raw: RawExec = async ({ argv, stdin, signal }) => {
    const [file = '', ...args] = [...wrap, ...argv]
    // An own key keeps Node from handing its coverage variable on: the worker's environment is looked at to the last name.
    const env = { PATH: bench.path, HOME: '/', INHERITED: 'yes', NODE_V8_COVERAGE: undefined }
    const child = spawn(file, args, { stdio: 'pipe', cwd: '/', signal, env, ...(uid === undefined ? {} : { uid, gid: uid }) })
    const failed = new Promise<never>((_resolve, reject) => child.on('error', reject))
    failed.catch(() => undefined)
    await Promise.race([once(child, 'spawn'), failed])
    children.push(child)
    child.stdin.on('error', () => undefined)
    signal.addEventListener('abort', () => [child.stdin, child.stdout, child.stderr].forEach((pipe) => pipe.destroy()), {
      once: true,
    })
    void (async () => {
      for await (const data of stdin ?? []) await new Promise((resolve) => child.stdin.write(data, resolve))
      child.stdin.end()
    })()
    async function* output(): AsyncGenerator<RawChunk> {
      for await (const chunk of both(child.stdout, child.stderr)) {
        taken += chunk.data.length
        onChunk?.(child)
        yield chunk
      }
    }
    const exit = new Promise<{ code?: number; signal?: string }>((resolve) => {
      child.on('exit', (code, name) =>
        resolve({ ...(code === null ? {} : { code }), ...(name === null ? {} : { signal: name }) }),
      )
    })
    return { output: output(), exit }
  }
  return { raw, children, taken: () => taken }
}

/** Two pipes as one, each read only when asked: nothing is taken out of a pipe that nobody wants. */
async function* both(stdout: Readable, stderr: Readable): AsyncGenerator<RawChunk> {
  const next = async (stream: 'stdout' | 'stderr', source: AsyncIterator<Buffer>): Promise<RawChunk & { done: boolean }> => {
    const result = await source.next().catch(() => ({ done: true as const, value: undefined }))
    return { stream, done: result.done === true, data: result.value ?? Buffer.alloc(0) }
  }
  const sources = { stdout: stdout[Symbol.asyncIterator](), stderr: stderr[Symbol.asyncIterator]() }
  const open = new Map((['stdout', 'stderr'] as const).map((stream) => [stream, next(stream, sources[stream])]))
  while (open.size > 0) {
    const { done, ...chunk } = await Promise.race(open.values())
    if (done) open.delete(chunk.stream)
    else {
      open.set(chunk.stream, next(chunk.stream, sources[chunk.stream]))
      yield chunk
    }
  }
}

export const never: AbortSignal = new AbortController().signal

let count = 0
export function command(line: readonly string[], more: Partial<ExecInput> = {}): ExecInput {
  return { id: `x${process.pid}n${count++}`, command: [...line], stdin: false, from: { stdout: 0, stderr: 0 }, ...more }
}

export interface Collected {
  stdout: Buffer
  stderr: Buffer
  exit: WorkerExit
}

/** All output of a session; fails on a gap, an overlap or a chunk over 64 KiB. */
export async function collect(session: ExecSession, from = { stdout: 0, stderr: 0 }): Promise<Collected> {
  const parts: Record<'stdout' | 'stderr', Uint8Array[]> = { stdout: [], stderr: [] }
  const at = { ...from }
  for await (const { stream, offset, data } of session.output) {
    if (offset !== at[stream]) throw new Error(`${stream} came at ${offset} instead of ${at[stream]}`)
    if (data.length === 0 || data.length > 65_536) throw new Error(`a chunk of ${data.length} bytes`)
    at[stream] += data.length
    parts[stream].push(data)
  }
  return { stdout: Buffer.concat(parts.stdout), stderr: Buffer.concat(parts.stderr), exit: await session.exit }
}

/** Resolves when `test` holds; asks again after a short rest, and gives up after `ms`. */
export async function until(test: () => boolean | Promise<boolean>, ms = 60_000): Promise<void> {
  const end = performance.now() + ms
  while (!(await test()))
    if (performance.now() > end) throw new Error('it did not come true')
    else await new Promise((resolve) => setTimeout(resolve, 5))
}

/** Pids whose command line or working folder names `text`. */
export function processesOf(text: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => readProc(pid, 'cmdline').includes(text) || readLink(pid).includes(text))
}

export function readProc(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'latin1')
  } catch {
    return ''
  }
}

function readLink(pid: number): string {
  try {
    return readlinkSync(`/proc/${pid}/cwd`)
  } catch {
    return ''
  }
}
