/** The shape of each method on the host's side: a promise, an iterable, or an exec session. */
import { type ProviderError, toProviderError } from '../errors.ts'
import type { ExecInput, ExecSession, WorkerExit } from '../provider.ts'
import type { CallOptions } from './call-options.ts'
import { type CallRequest, type HostCall, startCall } from './client-call.ts'
import type { ClientCore } from './client-core.ts'
import { WireViolation } from './close.ts'
import { execCodec, ItemFault, logsCodec, statsCodec, watchCodec } from './items.ts'
import { maxChunkBytes, maxItemBytes } from './limits.ts'
import type { MethodSpec } from './messages.ts'
import { encodeBytes, pump } from './pump.ts'
import type { Receiver, Sender } from './streams.ts'

export interface Method {
  kind: string
  name: string
  spec: MethodSpec
}

type Bytes = AsyncIterable<unknown>

/** `args`: the contract's, then the options. */
export function callMethod(core: ClientCore, method: Method, args: readonly unknown[]): unknown {
  const { kind, name, spec } = method
  const { params, input } = splitInput(method, args)
  const request: CallRequest = { method: `${kind}.${name}`, name, spec, args: params, options: args.at(-1) as CallOptions }
  if (spec.out === 'exec') return execSession(core, request, input)
  if (spec.out !== undefined) return iterableOf(core, request, input)
  if (spec.in !== undefined) return openCall(core, request, input).call.result
  return startCall(core, request).result
}

/** The named params, and the bytes that go with them. */
function splitInput(
  { name, spec }: Method,
  args: readonly unknown[],
): { params: Record<string, unknown>; input?: Bytes | undefined } {
  if (name === 'copyIn') {
    const { path, tar } = args[1] as { path: string; tar: Bytes }
    return { params: { target: args[0], path }, input: tar }
  }
  if (name === 'forward') {
    const { port, input } = args[1] as { port: number; input: Bytes }
    return { params: { target: args[0], port }, input }
  }
  if (name === 'exec') {
    const { input, ...command } = args[1] as ExecInput
    return { params: { target: args[0], command }, input }
  }
  return { params: Object.fromEntries(spec.args.map((one, index) => [one, args[index]])) }
}

interface Opened {
  call: HostCall
  /** Absent when the call was refused before it was sent. */
  out: Receiver | undefined
}

/** Starts a call with streams; its input flows from then on. */
function openCall(core: ClientCore, request: CallRequest, input: Bytes | undefined): Opened {
  const { name, spec } = request
  const { streams } = core.peer
  let out: Receiver | undefined
  let sender: Sender | undefined
  const call = startCall(core, {
    ...request,
    open() {
      const ids: Record<string, number> = {}
      if (spec.out !== undefined) {
        ids['out'] = streams.next()
        out = streams.openReceiver(ids['out'], spec.out === 'bytes' ? maxChunkBytes : maxItemBytes)
      }
      if (input !== undefined) {
        ids['in'] = streams.next()
        sender = streams.openSender(ids['in'])
      }
      return ids
    },
    onSent() {
      if (input !== undefined && sender !== undefined) void pumpInput(input, sender)
    },
    answered() {
      if (out?.endSeen === false) throw new WireViolation('missing-end', `${name}: answered before its stream ended`)
      core.expect(`${name}: the rest of its stream`, () => out?.complete !== false)
    },
    settled(unsent) {
      if (unsent) for (const one of [out, sender]) if (one !== undefined) streams.forget(one.stream)
      // The plugin reads no more once it has answered.
      sender?.end()
    },
  })
  return { call, out }
}

async function pumpInput(input: Bytes, sender: Sender): Promise<void> {
  try {
    await pump(input, sender, encodeBytes)
    sender.end()
  } catch (error) {
    sender.end(toProviderError(error, 'the input failed'))
  }
}

interface Decoder {
  name: string
  decode(frame: Buffer): unknown
}

/** Reads a stream to its end, then hears how the call went. */
function read(core: ClientCore, { call, out }: Opened, decoder: Decoder): () => Promise<IteratorResult<unknown, undefined>> {
  // A call that settles alone has no `$/end` to wait for. What came before stays readable when the plugin itself has ended it.
  call.result.catch((error: ProviderError) => {
    if (out?.endSeen === false) out.fail(error)
  })
  return async () => {
    const payload = await out?.next()
    if (payload === undefined) {
      await call.result
      return { done: true, value: undefined }
    }
    try {
      return { done: false, value: decoder.decode(payload) }
    } catch (error) {
      if (!(error instanceof ItemFault)) throw error
      throw core.violated(new WireViolation('bad-item', `${decoder.name}: ${error.message}`))
    }
  }
}

const done = { done: true, value: undefined } as const

function iterableOf(core: ClientCore, request: CallRequest, input: Bytes | undefined): AsyncIterableIterator<unknown> {
  let opened: Opened | undefined
  let next: (() => Promise<IteratorResult<unknown, undefined>>) | undefined
  let over = false
  return {
    [Symbol.asyncIterator]() {
      return this
    },
    async next() {
      if (over) return done
      if (next === undefined) {
        opened = openCall(core, request, input)
        next = read(core, opened, { name: request.name, decode: decoderOf(request) })
      }
      try {
        const step = await next()
        return over ? done : step
      } catch (error) {
        // After `return()` nobody asks why.
        if (over) return done
        over = true
        throw error
      }
    },
    async return() {
      over = true
      // The call first: when the plugin never heard of it, there is no stream to speak of.
      opened?.call.cancel()
      opened?.out?.cancel()
      return done
    },
  }
}

async function execSession(core: ClientCore, request: CallRequest, input: Bytes | undefined): Promise<ExecSession> {
  const opened = openCall(core, request, input)
  const next = read(core, opened, { name: 'exec', decode: execCodec((request.args['command'] as ExecInput).from).decode })
  await opened.call.started
  const output = {
    [Symbol.asyncIterator]: () => output,
    next,
    async return() {
      opened.out?.cancel()
      return done
    },
  }
  return { output: output as ExecSession['output'], exit: opened.call.result as Promise<WorkerExit> }
}

function decoderOf({ spec }: CallRequest): (frame: Buffer) => unknown {
  if (spec.out === 'watch') return watchCodec().decode
  if (spec.out === 'stats') return statsCodec().decode
  if (spec.out === 'logs') return logsCodec().decode
  return (frame) => frame
}
