/** Makes a provider misbehave as its fault script says; the script can change while the plugin runs. */
import { closeSync, mkdirSync, openSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import * as z from 'zod'
import { ProviderError } from '../../errors.ts'
import type { Call, WorkerObservation, WorkerPage, WorkerProvider } from '../../provider.ts'
import type { LaunchSpec } from '../../spec.ts'
import { readText } from './cell.ts'
import { type Fault, type FaultAction, faultSchema } from './config.ts'
import { toRecord } from './translate.ts'
import type { FakeVendor } from './vendor.ts'
import { newWorkerId } from '../ids.ts'

/** The script's file in the vendor's folder: a JSON array of faults. */
export const faultFile = 'faults.json'

type Method = (...args: never[]) => unknown

export interface FaultOptions {
  vendor: FakeVendor
  /** From the configuration; those of the file come after them. */
  faults: readonly Fault[]
  /** Name of the secret that an `auth` fault refuses. */
  secret: string | undefined
}

/** The provider, each method behind the fault script and noted in the vendor's log. */
export function withFaults(provider: WorkerProvider, options: FaultOptions): WorkerProvider {
  const script = scriptOf(options)
  const streams = new Set(['watch', 'stats', 'logs', 'copyOut', 'forward'])
  const wrapped = Object.entries(provider as unknown as Record<string, Method>).map(([name, method]) => [
    name,
    (...args: unknown[]): unknown => {
      const call = args.at(-1) as Call
      const worker = workerOf(args[0])
      options.vendor.note({ kind: 'call', op: name }, worker === undefined ? { call } : { worker, call })
      const actions = script.take(name, worker)
      const run = (): unknown => method(...(args as never[]))
      const context: Context = { name, args, call, vendor: options.vendor, secret: options.secret }
      return streams.has(name)
        ? stream(run as () => AsyncIterable<unknown>, actions, context)
        : single(run as () => Promise<unknown>, actions, context)
    },
  ])
  return Object.fromEntries(wrapped)
}

interface Taken {
  fault: Fault
  action: FaultAction
}

interface Context {
  name: string
  args: unknown[]
  call: Call
  vendor: FakeVendor
  secret: string | undefined
}

async function single(run: () => Promise<unknown>, taken: Taken[], context: Context): Promise<unknown> {
  for (const { action } of taken) await before(action, context)
  let answer = await run()
  for (const one of taken) answer = await after(answer, one, context)
  return answer
}

async function* stream(run: () => AsyncIterable<unknown>, taken: Taken[], context: Context): AsyncGenerator {
  for (const { action } of taken) await before(action, context)
  const times = taken.reduce((sum, { action }) => (action.kind === 'flood' ? sum * action.times : sum), 1)
  for await (const item of run()) {
    if (context.name === 'watch' && hidden([item as WorkerObservation], taken).length === 0) continue
    for (let n = 0; n < times; n++) yield item
  }
  for (const one of taken) await after(undefined, one, context)
}

async function before(action: FaultAction, context: Context): Promise<void> {
  switch (action.kind) {
    case 'delay':
      return delay(action.ms, undefined, { signal: context.call.signal })
    case 'fail':
      if (action.when !== 'after') throw failure(action)
      return
    case 'hang':
    case 'deaf':
      if (action.when !== 'after') await never(action.kind, context.call.signal)
      return
    case 'die':
      if (action.when !== 'after' && action.step === undefined) process.kill(process.pid, 'SIGKILL')
      return
    case 'auth':
      return refuseOld(action.until, context)
    default:
  }
}

async function after(answer: unknown, { fault, action }: Taken, context: Context): Promise<unknown> {
  switch (action.kind) {
    case 'fail':
      if (action.when === 'after') throw failure(action)
      return answer
    case 'hang':
    case 'deaf':
      if (action.when === 'after') await never(action.kind, context.call.signal)
      return answer
    case 'die':
      if (action.when === 'after') process.kill(process.pid, 'SIGKILL')
      return answer
    case 'double':
      twin(context)
      return answer
    case 'late':
      context.vendor.mark(
        (context.args[0] as LaunchSpec).id,
        'problem',
        JSON.stringify({ code: action.code, message: action.message ?? `late ${action.code}`, final: action.final ?? true }),
      )
      return answer
    default:
      return lie(answer, { fault, action })
  }
}

/** Answers that are changed on their way out. */
function lie(answer: unknown, { fault, action }: Taken): unknown {
  const page = (change: (workers: WorkerObservation[]) => WorkerObservation[]): unknown => {
    if (Array.isArray(answer)) return change(answer as WorkerObservation[])
    const { workers, ...rest } = answer as WorkerPage
    return Array.isArray(workers) ? { ...rest, workers: change(workers) } : answer
  }
  switch (action.kind) {
    case 'hide':
      return page((workers) => hidden(workers, [{ fault, action }]))
    case 'short': {
      const { next: _next, ...rest } = answer as WorkerPage
      return { ...rest, workers: rest.workers.slice(0, action.workers) }
    }
    case 'blind': {
      const { workers, blind = [], ...rest } = answer as WorkerPage
      const seen = workers.filter(({ part }) => part === undefined || !action.parts.includes(part))
      return { ...rest, workers: seen, blind: [...new Set([...blind, ...action.parts])] }
    }
    case 'wrong-id':
      return page((workers) => workers.map((worker) => ({ ...worker, id: newWorkerId() })))
    case 'wrong-tags':
      return page((workers) => workers.map((worker) => ({ ...worker, tags: { ...worker.tags, ...action.tags } })))
    case 'extra':
      return page((workers) => {
        const [first] = workers
        const more = Array.from({ length: first === undefined ? 0 : action.workers }, () => {
          const id = newWorkerId()
          return { ...(first as WorkerObservation), id, tags: { ...(first as WorkerObservation).tags, 'muster-worker': id } }
        })
        return [...workers, ...more]
      })
    default:
      return answer
  }
}

function hidden(workers: WorkerObservation[], taken: Taken[]): WorkerObservation[] {
  return workers.filter(({ id }) => !taken.some(({ fault, action }) => action.kind === 'hide' && (fault.worker ?? id) === id))
}

function failure({ code, message, kind: _kind, when: _when, ...options }: FaultAction & { kind: 'fail' }): ProviderError {
  return new ProviderError(code, message ?? `told to fail with ${code}`, options)
}

function never(kind: 'hang' | 'deaf', signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    if (kind === 'hang') signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true })
    if (kind === 'hang' && signal.aborted) reject(signal.reason as Error)
  })
}

/** As a vendor that no longer takes an old secret: asked anew once, then `auth`. */
async function refuseOld(until: number, { call, secret }: Context): Promise<void> {
  if (secret === undefined) throw new ProviderError('auth', 'the vendor refused the secret', { effect: 'none' })
  const first = await call.secret(secret)
  if (Number(first.version) >= until) return
  const second = await call.secret(secret, { refused: first.version })
  if (Number(second.version) < until) throw new ProviderError('auth', 'the vendor refused the secret', { effect: 'none' })
}

function twin({ args, vendor, call }: Context): void {
  const spec = args[0] as LaunchSpec
  const id = newWorkerId()
  const record = toRecord(
    { ...spec, id, tags: { ...spec.tags, 'muster-worker': id }, work: { mode: 'hold' } },
    { parts: ['a'], now: 0 },
  )
  vendor.create(record)
  vendor.note({ kind: 'effect', op: 'create' }, { worker: id, call })
  vendor.tell(id)
}

function workerOf(first: unknown): string | undefined {
  const id = (first as { id?: unknown } | undefined)?.id
  return typeof id === 'string' ? id : undefined
}

export interface Script {
  /** Faults that a call meets; each has used up one of its times. */
  take(method: string, worker: string | undefined): Taken[]
  /** Does a `die` fault wait for this step? */
  diesAt(step: string): boolean
}

export function scriptOf({ vendor, faults }: Pick<FaultOptions, 'vendor' | 'faults'>): Script {
  const path = join(vendor.dir, faultFile)
  const used = join(vendor.dir, 'used')
  mkdirSync(used, { recursive: true })
  let known: { stamp: string; faults: Fault[] } = { stamp: '', faults: [] }

  function current(): Fault[] {
    const stat = statSync(path, { throwIfNoEntry: false })
    // A new script is renamed into place: another inode.
    const stamp = stat === undefined ? '' : `${stat.ino}.${stat.mtimeMs}.${stat.size}`
    if (stamp !== known.stamp) {
      const text = stamp === '' ? undefined : readText(path)
      known = { stamp, faults: text === undefined ? [] : z.array(faultSchema).parse(JSON.parse(text)) }
    }
    return [...faults, ...known.faults]
  }

  /** Counts this use; over processes and restarts, as one file each. */
  function use({ id, skip = 0, times }: Fault): boolean {
    if (skip === 0 && times === undefined) return true
    for (let n = 0; times === undefined || n < skip + times; n++) {
      try {
        closeSync(openSync(join(used, `${id}.${n}`), 'wx'))
        return n >= skip
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
      }
    }
    return false
  }

  function matching(method: string, worker: string | undefined): Fault[] {
    return current().filter((fault) => {
      if (fault.method !== '*' && fault.method !== method) return false
      // What is hidden is named by the fault, whatever the call asks for.
      return fault.worker === undefined || fault.action.kind === 'hide' || fault.worker === worker
    })
  }

  return {
    take: (method, worker) =>
      matching(method, worker)
        .filter((fault) => !(fault.action.kind === 'die' && fault.action.step !== undefined) && use(fault))
        .map((fault) => ({ fault, action: fault.action })),
    diesAt: (step) => current().some((fault) => fault.action.kind === 'die' && fault.action.step === step && use(fault)),
  }
}
