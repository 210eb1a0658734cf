/** `muster` as a process of its own, as a shell would start it: every byte it writes, in bounded memory. */
import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import { Readable, type Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'

const bin = join(import.meta.dirname, '../../bin/muster.mjs')
/** Of each stream this much is kept as text; the rest is counted and hashed. */
const KEPT_BYTES = 1_048_576

export interface Written {
  bytes: number
  sha256: string
  /** The first MiB. */
  text: string
}

export interface MusterExit {
  code: number | null
  signal: NodeJS.Signals | null
  stdout: Written
  stderr: Written
}

export interface MusterProcess {
  readonly pid: number
  readonly exited: Promise<MusterExit>
  /** So far, the first MiB. */
  stderr(): string
  stdout(): string
  kill(signal: NodeJS.Signals): void
  /** Stops reading its output until called with false. */
  hold(on: boolean): void
  /** Closes the reading end of its stdout, as `head` does. */
  closeOutput(): void
}

export interface MusterOptions {
  cwd: string
  env?: Record<string, string>
  /** Standard input; absent: none. `open`: a pipe that never ends. */
  input?: Uint8Array | 'open'
  /** Does what it reaches count for the coverage? It then runs from sources and takes thrice the time, so that few tests ask for it. */
  counted?: boolean
}

export function startMuster(args: readonly string[], { cwd, env = {}, input, counted = false }: MusterOptions): MusterProcess {
  // In CI the bundle is fresh, and starts in a fraction of the time.
  const bundled = process.env['CI'] === 'true' && !(counted && process.env['MUSTER_TEST_SOURCE'] === '1')
  const source = { ...(bundled ? {} : { MUSTER_SOURCE: '1' }), ...(counted ? {} : { NODE_V8_COVERAGE: undefined }) }
  const child = spawn(process.execPath, [bin, ...args], {
    cwd,
    env: { ...process.env, ...source, NO_COLOR: '1', ...env },
    stdio: [input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
  }) as ChildProcessByStdio<Writable | null, Readable, Readable>
  const stdout = collect(child.stdout)
  const stderr = collect(child.stderr)
  child.stdin?.on('error', () => undefined)
  if (input instanceof Uint8Array && child.stdin !== null)
    void pipeline(Readable.from([input]), child.stdin).catch(() => undefined)
  const exited = new Promise<MusterExit>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) => resolve({ code, signal, stdout: stdout.written(), stderr: stderr.written() }))
  })
  return {
    pid: child.pid ?? 0,
    exited,
    stdout: stdout.text,
    stderr: stderr.text,
    kill: (signal) => void child.kill(signal),
    hold: (on) => {
      if (on) child.stdout.pause()
      else child.stdout.resume()
    },
    closeOutput: () => child.stdout.destroy(),
  }
}

export function muster(args: readonly string[], options: MusterOptions): Promise<MusterExit> {
  return startMuster(args, options).exited
}

function collect(stream: Readable): { written(): Written; text(): string } {
  const hash = createHash('sha256')
  const kept: Buffer[] = []
  let bytes = 0
  let digest: string | undefined
  stream.on('data', (chunk: Buffer) => {
    if (bytes < KEPT_BYTES) kept.push(chunk.subarray(0, KEPT_BYTES - bytes))
    bytes += chunk.length
    hash.update(chunk)
  })
  const text = (): string => Buffer.concat(kept).toString()
  return { text, written: () => ({ bytes, sha256: (digest ??= hash.digest('hex')), text: text() }) }
}
