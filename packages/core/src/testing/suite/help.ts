/** Small steps that many tests share. */
import assert from 'node:assert/strict'
import { isProviderError, type ProviderError } from '../../errors.ts'
import type {
  ExecInput,
  ListQuery,
  LogOptions,
  StatsQuery,
  WorkerExit,
  WorkerObservation,
  WorkerPage,
  WorkerTarget,
} from '../../provider.ts'
import type { LaunchSpec, WorkerId } from '../../spec.ts'
import type { Bench } from './bench.ts'
import type { Calls } from './session.ts'

export const force = { graceMs: 0, force: true, reason: 'conformance' } as const
export const grace = { graceMs: 10_000, force: false, reason: 'conformance' } as const

/** The failure of a call that must fail so. */
export async function fails(
  what: string,
  call: Promise<unknown>,
  wanted: Partial<Pick<ProviderError, 'code' | 'effect' | 'path'>>,
): Promise<ProviderError> {
  const error = await call.then(
    (value) => assert.fail(`${what}: no failure, but ${JSON.stringify(value)}`),
    (reason: unknown) => reason,
  )
  if (!isProviderError(error)) throw error
  const seen = Object.fromEntries(Object.keys(wanted).map((key) => [key, error[key as keyof ProviderError]]))
  assert.deepEqual(seen, wanted, `${what}: ${error.code}: ${error.message}`)
  return error
}

/** A promise that somebody may look at later, or nobody: its failure is then no unhandled one. */
export function awaited<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => undefined)
  return promise
}

/** All items, unless the stream fails. */
export function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  return Array.fromAsync(items)
}

export function queryOf(bench: Bench, over: Partial<ListQuery> = {}): ListQuery {
  return { tags: { 'muster-owner': bench.owner, 'muster-provider': bench.provider }, limit: 500, ...over }
}

/** As often as the contract lets anybody ask. */
export function statsQueryOf(bench: Bench): StatsQuery {
  return { tags: queryOf(bench).tags, everyMs: 500 }
}

/** Every page. */
export async function pages(session: Calls, query: ListQuery): Promise<WorkerPage[]> {
  const found: WorkerPage[] = []
  for (let cursor: string | undefined; ;) {
    const page = await session.list(cursor === undefined ? query : { ...query, cursor })
    found.push(page)
    if (page.next === undefined) return found
    cursor = page.next
  }
}

export async function listed(bench: Bench, session: Calls, ids: readonly WorkerId[]): Promise<WorkerObservation[]> {
  const workers = (await pages(session, queryOf(bench))).flatMap((page) => page.workers)
  return workers.filter(({ id }) => ids.includes(id))
}

export async function inspected(session: Calls, target: WorkerTarget): Promise<WorkerObservation | undefined> {
  return (await session.inspect([target]))[0]
}

export async function whenRunning(bench: Bench, session: Calls, target: WorkerTarget): Promise<WorkerObservation> {
  return await bench.until(`${target.id} runs`, async () => {
    const found = await inspected(session, target)
    if (found?.problem?.final === true) throw new Error(`it will never run: ${found.problem.code}: ${found.problem.message}`)
    return found?.phase === 'running' || found?.phase === 'exited' ? found : undefined
  })
}

export async function whenExited(bench: Bench, session: Calls, target: WorkerTarget): Promise<WorkerExit> {
  return await bench.until(`${target.id} has exited`, async () => (await inspected(session, target))?.exit)
}

export async function whenGone(bench: Bench, session: Calls, target: WorkerTarget): Promise<void> {
  await bench.until(`${target.id} is gone`, async () => ((await inspected(session, target)) === undefined ? true : undefined))
}

/** Launches and waits until it runs. */
export async function launched(bench: Bench, session: Calls, spec: LaunchSpec): Promise<WorkerTarget> {
  const { handle } = await session.launch(spec)
  const target = { id: spec.id, handle }
  await whenRunning(bench, session, target)
  return target
}

export interface Output {
  stdout: Buffer
  stderr: Buffer
}

/** Whole logs; where the vendor keeps one stream only, all is in `stdout`. */
export async function logsOf(session: Calls, target: WorkerTarget, options: LogOptions = { follow: true }): Promise<Output> {
  const chunks = await all(session.logs(target, options))
  return {
    stdout: Buffer.concat(chunks.filter(({ stream }) => stream === 'stdout').map(({ data }) => data)),
    stderr: Buffer.concat(chunks.filter(({ stream }) => stream === 'stderr').map(({ data }) => data)),
  }
}

export interface Ran extends Output {
  exit: WorkerExit
}

/** Runs a command in the worker to its end. */
export async function run(session: Calls, target: WorkerTarget, command: ExecInput): Promise<Ran> {
  const { output, exit } = await session.exec(target, command)
  const parts: { stdout: Uint8Array[]; stderr: Uint8Array[] } = { stdout: [], stderr: [] }
  for await (const { stream, data } of output) parts[stream].push(data)
  return { stdout: Buffer.concat(parts.stdout), stderr: Buffer.concat(parts.stderr), exit: await exit }
}

export function commandOf(bench: Bench, script: string, over: Partial<ExecInput> = {}): ExecInput {
  return { id: bench.newExecId(), command: bench.shell(script), stdin: false, from: { stdout: 0, stderr: 0 }, ...over }
}

/** A connection may be lost on the way: whoever asks attaches again, by the same id, which begins nothing twice. */
const ATTEMPTS = 3

async function attached(session: Calls, target: WorkerTarget, command: ExecInput): Promise<Ran> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await run(session, target, command)
    } catch (error) {
      if (attempt === ATTEMPTS || !isProviderError(error) || error.code !== 'transient') throw error
    }
  }
}

/** What a script prints inside a fresh worker with this spec, by whatever way there is. */
export async function printedInside(bench: Bench, script: string, over: Partial<LaunchSpec>): Promise<string> {
  const session = await bench.session()
  if (bench.declares('exec') && bench.declares('work:hold')) {
    const target = await launched(bench, session, bench.hold(over))
    const { stdout, stderr, exit } = await attached(session, target, commandOf(bench, script))
    assert.equal(exit.code, 0, `the script ended with ${exit.code}: ${stderr.toString()}`)
    return stdout.toString()
  }
  const spec = bench.command(script, over)
  const { handle } = await session.launch(spec)
  const { stdout } = await logsOf(session, { id: spec.id, handle })
  return stdout.toString()
}

export async function* bytes(...parts: (string | Uint8Array)[]): AsyncGenerator<Uint8Array> {
  for (const part of parts) yield await Promise.resolve(typeof part === 'string' ? Buffer.from(part) : part)
}

/** Ends a signal told in either way: as `128 + n` or by its name. */
export function endedBy(exit: WorkerExit, signal: 'SIGTERM' | 'SIGKILL' | 'SIGINT'): boolean {
  const code = { SIGINT: 130, SIGKILL: 137, SIGTERM: 143 }[signal]
  return exit.signal === signal || (exit.signal === undefined && exit.code === code)
}
