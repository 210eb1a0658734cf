/** The plugin's side of a connection: answers the host's requests with an author's provider. See serve.ts for the process around it. */
import type { Duplex } from 'node:stream'
import * as z from 'zod'
import { ProviderError } from '../errors.ts'
import type { Plugin } from '../plugin.ts'
import type { CallLog, SecretValue } from '../provider.ts'
import { type CloseReason, WireViolation } from './close.ts'
import { credentialMethods } from './credential-messages.ts'
import { rpcInvalidParams, rpcMethodNotFound, toWireError } from './error-data.ts'
import { encodeJson } from './json.ts'
import { createLog, type LogTarget } from './log.ts'
import { type CallParams, type ConfigureParams, describeIssues, lifeMethods, type MethodSpec, secretMethod } from './messages.ts'
import { useNetwork } from './network.ts'
import { createPeer, type Peer } from './peer.ts'
import { type OpenCall, openCall } from './serve-call.ts'
import { type Author, invoke } from './serve-invoke.ts'
import { resultText } from './serve-result.ts'
import type { Receiver, Sender } from './streams.ts'
import { inTrail, openTrail } from './trail.ts'
import { workerMethods } from './worker-messages.ts'

export interface Service {
  /** Settles when the connection has ended; open calls are aborted then. */
  readonly closed: Promise<CloseReason>
  /** Settles when no call is open. */
  idle(): Promise<void>
  readonly peer: Peer
}

interface Incoming {
  id: number
  method: string
  params: unknown
}

type MethodTable = Readonly<Record<string, MethodSpec>>

export function createService(socket: Duplex, plugin: Plugin, target: LogTarget): Service {
  const kind = plugin.manifest.kind === 'worker-provider' ? 'worker' : 'credential'
  const table = (kind === 'worker' ? workerMethods : credentialMethods) as MethodTable
  const calls = new Map<number, OpenCall>()
  let idleWaiters: (() => void)[] = []
  let author: Author | undefined
  let configuring = false
  let retiring = false
  let log: CallLog = createLog(target, { plugin: plugin.manifest.name })
  const clean = (text: string): string => target.redactor.clean(text)

  const peer = createPeer(socket, {
    request(message) {
      serve(message).catch((error: unknown) => {
        if (error instanceof WireViolation)
          return peer.close({ kind: 'violation', violation: error.code, message: error.message })
        throw error
      })
    },
    cancelled: (id) => calls.get(id)?.abort('cancelled'),
    started: () => undefined,
  })

  async function serve(message: Incoming): Promise<void> {
    const { id, method, params } = message
    if (Object.hasOwn(lifeMethods, method)) return await serveLife(id, method as keyof typeof lifeMethods, params)
    const name = method.startsWith(`${kind}.`) ? method.slice(kind.length + 1) : ''
    const spec = Object.hasOwn(table, name) ? table[name] : undefined
    if (spec === undefined)
      return refuse(id, new ProviderError('unsupported', `no method ${method}`, { effect: 'none' }), rpcMethodNotFound)
    // First, for a refused call's streams are in use on the other side all the same.
    const streams = openStreams(peer, spec, params)
    const no = (error: ProviderError, code?: number): void => {
      finishStreams(streams)
      refuse(id, error, code)
    }
    if (author === undefined) return no(notNow('the plugin is not configured yet'))
    if (retiring) return no(new ProviderError('transient', 'the plugin retires', { effect: 'none' }))
    if (typeof author[name] !== 'function')
      return no(new ProviderError('unsupported', `${plugin.manifest.name} has no ${name}`, { effect: 'none' }), rpcMethodNotFound)
    const checked = spec.params.safeParse(params)
    if (!checked.success) return no(badParams(name, checked.error), rpcInvalidParams)
    await serveCall(id, { name, spec, params: checked.data as Params, author, streams })
  }

  async function serveCall(id: number, work: Work): Promise<void> {
    const { name, spec, params, streams } = work
    if (kind === 'credential' || name === 'launch') target.redactor.addFrom(params)
    const given = params.call
    const trail = given.spans === true ? openTrail(given.traceparent, name, { clean, now: () => Date.now() }) : undefined
    const told = (failed?: string): void => {
      if (trail !== undefined) peer.notify('$/spans', { call: id, ...trail.finish(failed) })
    }
    const open = openCall(trail === undefined ? given : { ...given, traceparent: trail.traceparent }, {
      method: name,
      log: createLog(target, { plugin: plugin.manifest.name, method: name, call: id, traceparent: given.traceparent }),
      now: () => Date.now(),
      secret: (request) => askSecret(id, request),
    })
    calls.set(id, open)
    // Reading and writing end with the call's signal, so that a pump never waits for a peer that wants nothing more.
    open.call.signal.addEventListener('abort', () => streams.out?.stop(), { once: true })
    try {
      const value = await open.within(
        inTrail(trail, () =>
          invoke(work.author, {
            name,
            spec,
            params,
            open,
            ...streams,
            started: () => open.ended || peer.notify('$/started', { id }),
          }),
        ),
      )
      const text = resultText(work, value)
      finishStreams(streams)
      told()
      peer.answer(id, text)
    } catch (error) {
      const failure = open.failure(error)
      if (failure.code === 'internal') log.error('call failed', { method: name, call: id, error })
      finishStreams(streams)
      told(failure.code)
      refuse(id, failure)
    } finally {
      open.end()
      calls.delete(id)
      if (calls.size === 0) settleIdle()
    }
  }

  async function serveLife(id: number, method: keyof typeof lifeMethods, params: unknown): Promise<void> {
    const checked = lifeMethods[method].params.safeParse(params)
    if (!checked.success) return refuse(id, badParams(method, checked.error), rpcInvalidParams)
    try {
      if (method === 'describe') return peer.answer(id, encodeJson(plugin.manifest))
      if (method === 'configure') {
        await configure(checked.data as ConfigureParams)
        return peer.answer(id, '{}')
      }
      retiring = true
      await idle()
      peer.answer(id, '{}')
      await peer.finish('retired')
    } catch (error) {
      log.error('call failed', { method, error })
      refuse(id, error instanceof ProviderError ? error : new ProviderError('internal', `${method}: ${reasonOf(error)}`))
    }
  }

  async function configure({ contract, config, context }: ConfigureParams): Promise<void> {
    if (configuring) throw notNow('the plugin is configured already')
    const major = contract.split('.')[0]
    if (!plugin.manifest.contract.some((one) => one.split('.')[0] === major))
      throw notNow(`the plugin speaks contract ${plugin.manifest.contract.join(', ')}, not ${contract}`)
    configuring = true
    log = createLog(target, { plugin: plugin.manifest.name, provider: context.provider })
    if (context.network !== undefined) useNetwork(context.network, target.redactor)
    try {
      const made: unknown = await plugin.create(config, { ...context, log, now: () => Date.now() })
      if (typeof made !== 'object' || made === null) throw new ProviderError('internal', 'create: gave no provider')
      author = made as Author
    } catch (error) {
      configuring = false
      throw error
    }
  }

  async function askSecret(id: number, request: { name: string; refused?: string }): Promise<SecretValue> {
    if (!plugin.manifest.secrets.includes(request.name))
      throw new ProviderError('internal', `secret(${request.name}): not among the manifest's secrets`, { effect: 'none' })
    const { result } = await peer.request({ lane: 'other', method: 'secret', params: encodeJson({ call: id, ...request }) })
      .answer
    const value = z.parse(secretMethod.result, result)
    target.redactor.add(value.value)
    return value
  }

  function refuse(id: number, error: ProviderError, code?: number): void {
    const wire = toWireError(error, clean)
    peer.refuse(id, code === undefined ? wire : { ...wire, code })
  }

  function idle(): Promise<void> {
    if (calls.size === 0) return Promise.resolve()
    return new Promise((resolve) => idleWaiters.push(resolve))
  }

  function settleIdle(): void {
    const waiting = idleWaiters
    idleWaiters = []
    for (const done of waiting) done()
  }

  const closed = peer.closed.then((reason) => {
    for (const open of calls.values()) open.abort('cancelled')
    return reason
  })
  return { closed, idle, peer }
}

type Params = { call: CallParams } & Record<string, unknown>

interface Work {
  name: string
  spec: MethodSpec
  params: Params
  author: Author
  streams: Streams
}

interface Streams {
  out?: Sender
  in?: Receiver
}

/** In the order in which the host numbers them. Params are not checked yet. */
function openStreams(peer: Peer, spec: MethodSpec, params: unknown): Streams {
  const { out, in: input } = (params ?? {}) as { out?: unknown; in?: unknown }
  const streams: Streams = {}
  if (spec.out !== undefined && typeof out === 'number') streams.out = peer.streams.openSender(out)
  if (spec.in !== undefined && typeof input === 'number') streams.in = peer.streams.openReceiver(input)
  return streams
}

/** Before the answer: the end of what was written, and that nothing more is read. */
function finishStreams(streams: Streams): void {
  streams.out?.end()
  streams.in?.cancel()
}

function badParams(name: string, error: z.ZodError): ProviderError {
  const { path, message } = describeIssues(error)
  return new ProviderError('invalid-spec', `${name}: ${message}`, { effect: 'none', path: path.replace(/^spec\./, '') })
}

function notNow(message: string): ProviderError {
  return new ProviderError('internal', message, { effect: 'none' })
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
