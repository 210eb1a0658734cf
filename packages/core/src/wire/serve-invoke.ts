/** Calls one method of an author's provider and moves its streams. */
import { ProviderError } from '../errors.ts'
import { execCodec, ItemFault, logsCodec, statsCodec, watchCodec } from './items.ts'
import type { MethodSpec } from './messages.ts'
import { type Encode, encodeBytes, isAsyncIterable, pump } from './pump.ts'
import type { OpenCall } from './serve-call.ts'
import { iterate, type Receiver, type Sender } from './streams.ts'

/** What `create` gave: methods by name. */
export type Author = Record<string, unknown>

export interface Invocation {
  name: string
  spec: MethodSpec
  params: Record<string, unknown>
  open: OpenCall
  out?: Sender
  in?: Receiver
  /** Says `$/started`. */
  started(): void
}

/** The method's value; for an iterable: nothing, once it has ended; for `exec`: the exit. */
export async function invoke(author: Author, work: Invocation): Promise<unknown> {
  const { spec, open, out } = work
  const given: unknown = (author[work.name] as (...args: unknown[]) => unknown)(...argumentsOf(work), open.call)
  if (out === undefined) return await given
  if (spec.out === 'exec') return await invokeExec(await given, work, out)
  if (!isAsyncIterable(given)) {
    await given
    throw fault(work.name, 'gave no AsyncIterable')
  }
  work.started()
  await pump(given, out, encoder(work))
  open.call.signal.throwIfAborted()
  return undefined
}

async function invokeExec(session: unknown, work: Invocation, out: Sender): Promise<unknown> {
  const { output, exit } = (session ?? {}) as { output?: unknown; exit?: unknown }
  if (!isAsyncIterable(output)) throw fault('exec', 'output: no AsyncIterable')
  if (typeof (exit as Partial<Promise<unknown>> | undefined)?.then !== 'function') throw fault('exec', 'exit: no Promise')
  const ended = Promise.resolve(exit)
  // It may fail while output is still read; whoever awaits it below gets the failure.
  ended.catch(() => undefined)
  work.started()
  await pump(output, out, encoder(work))
  work.open.call.signal.throwIfAborted()
  out.end()
  return await ended
}

/** In the contract's order. Three methods take their bytes inside an object. */
function argumentsOf({ name, spec, params, in: input }: Invocation): unknown[] {
  const bytes = input === undefined ? undefined : iterate(input, (payload): Uint8Array => payload)
  if (name === 'exec')
    return [params['target'], bytes === undefined ? params['command'] : { ...(params['command'] as object), input: bytes }]
  if (name === 'copyIn') return [params['target'], { path: params['path'], tar: bytes }]
  if (name === 'forward') return [params['target'], { port: params['port'], input: bytes }]
  return spec.args.map((one) => params[one])
}

function encoder({ name, spec, params }: Invocation): Encode {
  const encode = plainEncoder(spec, params)
  return (value) => {
    try {
      return encode(value)
    } catch (error) {
      if (error instanceof ItemFault) throw fault(name, error.message)
      if (error instanceof ProviderError) throw fault(name, error.message)
      throw error
    }
  }
}

function plainEncoder(spec: MethodSpec, params: Record<string, unknown>): Encode {
  switch (spec.out) {
    case 'watch':
      return watchCodec().encode
    case 'stats':
      return statsCodec().encode
    case 'logs':
      return logsCodec().encode
    case 'exec':
      return execCodec((params['command'] as { from: { stdout: number; stderr: number } }).from).encode
    default:
      return encodeBytes
  }
}

function fault(name: string, message: string): ProviderError {
  return new ProviderError('internal', `${name}: ${message}`)
}
