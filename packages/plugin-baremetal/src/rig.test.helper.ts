/** A provider of this package in a folder of its own, and calls made by hand. */
import { createHash, randomBytes } from 'node:crypto'
import { chmod, mkdir, mkdtemp, readdir, readFile, readlink, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type {
  Call,
  ExecInput,
  ExecSession,
  LaunchSpec,
  LogChunk,
  WorkerExit,
  WorkerObservation,
  WorkerProvider,
  WorkerStats,
} from '@muster/core'
import { waitFor } from '@muster/test/systems/wait'
import { type BaremetalConfig, parseConfig } from './config.ts'
import { createProvider, type ProviderOptions } from './provider.ts'
import type { SiteOptions } from './site.ts'
import { defaultLedger } from './user.ts'

export const ownerTags = { 'muster-owner': 'test', 'muster-provider': 'local' } as const

export interface Rig {
  provider: WorkerProvider
  /** Another one in the same place, as after a restart. */
  again(): WorkerProvider
  dir: string
  /** The folder of workers, as the configuration names it. */
  root: string
  config: BaremetalConfig
  options: ProviderOptions
  /** Terminates all, and fails when anything is left. */
  close(): Promise<void>
}

const isRoot = process.getuid?.() === 0

/** Not under root's `/tmp` alone: workers' users must pass the folders above. */
export async function openRig(config: Partial<BaremetalConfig> = {}, site: SiteOptions = {}): Promise<Rig> {
  const dir = await mkdtemp(join(tmpdir(), 'muster-local-'))
  const root = join(dir, 'root')
  await mkdir(join(dir, 'data'), { mode: 0o700 })
  if (isRoot) await chmod(dir, 0o711)
  const full: BaremetalConfig = { transport: 'local', root, ...config }
  const options: ProviderOptions = {
    config: parseConfig(full),
    context: { provider: 'local', owner: 'test', dataDir: join(dir, 'data'), now: Date.now },
    ...site,
  }
  const provider = createProvider(options)
  return {
    provider,
    again: () => createProvider(options),
    dir,
    root,
    config: full,
    options,
    async close() {
      const { workers } = await provider.list({ tags: ownerTags, limit: 500 }, callOf())
      await Promise.all(workers.map(({ id }) => gone(provider, id)))
      const left = await waitFor('nothing to be left', () => leftovers(root), {
        until: (all) => all.length === 0,
        timeoutMs: 30_000,
      }).catch(() => leftovers(root))
      await rm(dir, { recursive: true, force: true })
      if (left.length > 0) throw new Error(`left behind: ${left.join(', ')}`)
    },
  }
}

/** Everything a rig's workers may leave: folders, processes, cgroups, entries of the ledger. */
async function leftovers(root: string): Promise<string[]> {
  const folders = await Promise.all(
    ['workers', 'making', 'trash', 'changes'].map(async (name) =>
      (await names(join(root, name))).map((entry) => `${name}/${entry}`),
    ),
  )
  const processes = await processesIn(root)
  const uids = await names(defaultLedger)
  const entries = await Promise.all(
    uids.map(async (uid) => (await names(join(defaultLedger, uid))).map((name) => join(defaultLedger, uid, name))),
  )
  const users: string[] = []
  for (const entry of entries.flat()) {
    if ((await readlink(entry).catch(() => '')) === root) users.push(entry)
  }
  const cgroups = await Promise.all(
    (await names('/sys/fs/cgroup')).map(async (at) =>
      (await names(join('/sys/fs/cgroup', at))).filter((name) => name === groupOf(root)),
    ),
  )
  return [
    ...folders.flat(),
    ...processes.map((pid) => `process ${pid}`),
    ...users.map((uid) => `user ${uid}`),
    ...[...cgroups.flat(), ...(await names('/sys/fs/cgroup')).filter((name) => name === groupOf(root))].map(
      (name) => `cgroup ${name}`,
    ),
  ]
}

function groupOf(root: string): string {
  return `muster-${createHash('sha256').update(`local\0${root}`).digest('hex').slice(0, 12)}`
}

/** Pids of living processes that work in a folder or were given a path below it. */
async function processesIn(root: string): Promise<number[]> {
  const pids = (await names('/proc')).filter((name) => /^\d+$/.test(name)).map(Number)
  const found: number[] = []
  for (const pid of pids) {
    const words = await readFile(`/proc/${pid}/cmdline`, 'latin1').catch(() => '')
    if (pid !== process.pid && words.split('\0').some((word) => word.startsWith(`${root}/`))) found.push(pid)
  }
  return found
}

async function names(path: string): Promise<string[]> {
  return await readdir(path).catch(() => [])
}

export function newId(): string {
  return `w${randomBytes(26).toString('hex').slice(0, 26)}`
}

function newExecId(): string {
  return `x${randomBytes(26).toString('hex').slice(0, 26)}`
}

export function callOf(options: { ms?: number; signal?: AbortSignal } = {}): Call {
  const { ms = 60_000 } = options
  const signals = [AbortSignal.timeout(ms), ...(options.signal === undefined ? [] : [options.signal])]
  return {
    signal: AbortSignal.any(signals),
    deadline: Date.now() + ms,
    idempotencyKey: randomBytes(8).toString('hex'),
    epoch: 1,
    attempt: 1,
    log: { debug() {}, info() {}, warn() {}, error() {} },
    trace: { traceparent: `00-${'1'.repeat(32)}-${'1'.repeat(16)}-01` },
    now: Date.now,
    secret: () => Promise.reject(new Error('no secrets here')),
  }
}

export function specOf(work: LaunchSpec['work'] | string, rest: Partial<LaunchSpec> = {}): LaunchSpec {
  const id = rest.id ?? newId()
  return {
    id,
    tags: { ...ownerTags, 'muster-pool': 'ci', 'muster-worker': id, 'muster-epoch': '1' },
    work: typeof work === 'string' ? { mode: 'command', command: ['/bin/sh', '-c', work] } : work,
    ...rest,
  }
}

export const hold: LaunchSpec['work'] = { mode: 'hold' }

export async function seen(provider: WorkerProvider, id: string): Promise<WorkerObservation | undefined> {
  return (await provider.inspect([{ id }], callOf()))[0]
}

export async function exited(provider: WorkerProvider, id: string): Promise<WorkerExit> {
  const worker = await waitFor(`the exit of ${id}`, () => seen(provider, id), {
    until: (found) => found?.exit !== undefined,
    everyMs: 5,
  })
  return must(worker?.exit)
}

/** Terminates until it is gone. */
/** What it uses now. */
export async function usageOf(provider: WorkerProvider, id: string): Promise<WorkerStats> {
  for await (const one of must(provider.stats)({ tags: ownerTags, everyMs: 500 }, callOf())) if (one.id === id) return one
  throw new Error('the stream of samples ended')
}

export async function gone(provider: WorkerProvider, id: string, graceMs = 0): Promise<void> {
  await waitFor(`the end of ${id}`, () => provider.terminate({ id }, { graceMs, force: false, reason: 'test' }, callOf()), {
    until: ({ state }) => state === 'gone',
    everyMs: 5,
  })
}

export async function readLogs(logs: AsyncIterable<LogChunk>): Promise<{ stdout: string; stderr: string; cursor: string }> {
  const parts: Record<'stdout' | 'stderr', Uint8Array[]> = { stdout: [], stderr: [] }
  let cursor = '0:0'
  for await (const chunk of logs) {
    parts[chunk.stream].push(chunk.data)
    cursor = chunk.cursor
  }
  return { stdout: Buffer.concat(parts.stdout).toString(), stderr: Buffer.concat(parts.stderr).toString(), cursor }
}

/** Launches a command and reads it to its end. */
export async function runToEnd(
  provider: WorkerProvider,
  spec: LaunchSpec,
): Promise<{ stdout: string; stderr: string; exit: WorkerExit }> {
  await provider.launch(spec, callOf())
  const { stdout, stderr } = await readLogs(must(provider.logs)({ id: spec.id }, { follow: true }, callOf()))
  return { stdout, stderr, exit: await exited(provider, spec.id) }
}

export function execOf(script: string, rest: Partial<ExecInput> = {}): ExecInput {
  return { id: newExecId(), command: ['/bin/sh', '-c', script], stdin: false, from: { stdout: 0, stderr: 0 }, ...rest }
}

export async function readExec(session: ExecSession): Promise<{ stdout: string; stderr: string; exit: WorkerExit }> {
  const parts: Record<'stdout' | 'stderr', Uint8Array[]> = { stdout: [], stderr: [] }
  for await (const { stream, data } of session.output) parts[stream].push(data)
  return {
    stdout: Buffer.concat(parts.stdout).toString(),
    stderr: Buffer.concat(parts.stderr).toString(),
    exit: await session.exit,
  }
}

export function must<T>(thing: T | undefined): T {
  if (thing === undefined) throw new Error('it is not there')
  return thing
}

/** Pids of living processes that have this word in their command line. */
export async function pidsNamed(word: string): Promise<number[]> {
  const pids = (await names('/proc')).filter((name) => /^\d+$/.test(name)).map(Number)
  const found: number[] = []
  for (const pid of pids) {
    const words = (await readFile(`/proc/${pid}/cmdline`, 'latin1').catch(() => '')).split('\0')
    if (words.includes(word)) found.push(pid)
  }
  return found
}
