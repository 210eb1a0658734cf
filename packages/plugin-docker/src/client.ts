/**
 * The engine's HTTP API behind the few calls this plugin needs. The only file that knows dockerode.
 *
 * What its modem does not do is done here: the version is agreed on (GET /version, then the smaller of ours and theirs); every body is
 * read as a stream, since a broken answer never settles there otherwise; every failure becomes an {@link EngineFailure} that knows
 * whether the engine can have read the request.
 */
import { once } from 'node:events'
import type { Agent, IncomingMessage } from 'node:http'
import { addAbortSignal, type Duplex, type Readable } from 'node:stream'
import { ProviderError, vendorSpan } from '@muster/core'
import type Docker from 'dockerode'
import type { Endpoint } from './config.ts'
import { wayTo } from './engine/connect.ts'
import type { Connector } from './engine/connector.ts'
import { currentTrace } from './engine/current.ts'
import { EngineFailure } from './errors.ts'
import { raceAbort } from '@muster/provider-parts/waiting'

/** The newest API this plugin was written for, and the oldest it works with (one-shot stats came with 1.41). */
export const apiRange: { readonly oldest: string; readonly newest: string } = { oldest: '1.41', newest: '1.47' }

export interface EngineRequest {
  method: 'GET' | 'POST' | 'PUT' | 'DELETE' | 'HEAD'
  /** Without the version, its parts escaped, as `/containers/json`. */
  path: string
  /** Objects are sent as JSON, arrays as repeated names, undefined is left out. */
  query?: Record<string, unknown>
  body?: object
  /** A tar to upload. */
  upload?: Readable
  /** More headers. */
  headers?: Record<string, string>
  /** Over a connection of its own, as uploads and raw ones always are. An engine that stops takes no new ones, before it ends its containers. */
  afresh?: true
  signal: AbortSignal
}

export interface Engine {
  /** Asks and reads a whole JSON answer; undefined when it is empty. */
  json<T>(request: EngineRequest): Promise<T>
  /** Asks for a body that is read as it comes. Destroy it to hang up. */
  stream(request: EngineRequest): Promise<IncomingMessage>
  /** Asks for a raw connection in both directions. */
  hijack(request: EngineRequest): Promise<Duplex>
  /** The agreed version and what GET /version said: the same object as long as it is surely the same engine that goes on. */
  agreed(signal: AbortSignal): Promise<AgreedVersion>
  /** Another engine may be there next time: it is asked anew what it is. */
  doubt(): void
  /** A TCP stream to an address that the engine's machine reaches; undefined: there is no way to there from here. */
  reach: Connector['reach']
  close(): void
}

export interface AgreedVersion {
  /** As `1.41`. */
  api: string
  theirs: Docker.DockerVersion
}

export type ContainerInspect = Docker.ContainerInspectInfo
export type ContainerRow = Docker.ContainerInfo
export type ContainerStats = Docker.ContainerStats
export type CreateBody = Docker.ContainerCreateOptions

/** Opens nothing: the SDK is loaded and the version agreed on with the first request, and again after the engine was away or may have been. */
export function createEngine(endpoint: Endpoint): Engine {
  const { agent, afresh, reach, close } = wayTo(endpoint, doubt)
  const by = async (way: Agent): Promise<Docker> => {
    const { default: Dockerode } = await import('dockerode')
    // `host` is named in both cases: left out, DOCKER_HOST of the environment would win over the socket.
    return new Dockerode({ host: undefined, port: undefined, protocol: 'http', ...placeOf(endpoint), agent: way } as object)
  }
  const docker = lazy(() => by(agent))
  const dockerAfresh = lazy(() => by(afresh))
  let agreement: Promise<AgreedVersion> | undefined

  function doubt(): void {
    agreement = undefined
  }

  async function agreed(signal: AbortSignal): Promise<AgreedVersion> {
    signal.throwIfAborted()
    // Shared by all callers, so that no caller's end may end it.
    agreement ??= agree().catch((error: unknown) => {
      agreement = undefined
      throw error
    })
    return raceAbort(agreement, signal)
  }

  async function agree(): Promise<AgreedVersion> {
    const signal = AbortSignal.timeout(VERSION_TIMEOUT_MS)
    try {
      const reply = await dial(await docker(), { method: 'GET', path: '/version', signal })
      const theirs = await readJson<Docker.DockerVersion>(reply as IncomingMessage)
      return { api: smaller(theirs.ApiVersion, apiRange.newest), theirs }
    } catch (error) {
      if (!signal.aborted) throw error
      throw new EngineFailure('the engine does not say its version', { code: 'ETIMEDOUT', sent: false, cause: error })
    }
  }

  async function request(wanted: EngineRequest, hijack: boolean): Promise<IncomingMessage | Duplex> {
    try {
      return await once(wanted, hijack)
    } catch (error) {
      // An engine closes connections that were idle, also in the moment in which one is used again (RFC 9112, 9.3.1): what only reads is asked anew.
      if (wanted.method !== 'GET' || hijack || wanted.signal.aborted || !isHungUp(error)) throw error
      return await once(wanted, hijack)
    }
  }

  async function once(wanted: EngineRequest, hijack: boolean): Promise<IncomingMessage | Duplex> {
    const { api } = await agreed(wanted.signal)
    try {
      // An engine that has not read an upload to its end closes its connection after the answer, unannounced.
      const own = wanted.afresh === true || hijack || wanted.upload !== undefined
      const way = await (own ? dockerAfresh() : docker())
      return await dial(way, { ...wanted, path: `/v${api}${wanted.path}` }, hijack)
    } catch (error) {
      // No answer, or a version it does not know: another engine may be there next time.
      if (error instanceof EngineFailure && (error.status === undefined || /client version/.test(error.message)))
        agreement = undefined
      throw error
    }
  }

  return {
    agreed,
    doubt,
    json: async <T>(wanted: EngineRequest): Promise<T> => readJson<T>((await request(wanted, false)) as IncomingMessage),
    stream: async (wanted) => (await request(wanted, false)) as IncomingMessage,
    hijack: async (wanted) => addAbortSignal(wanted.signal, (await request(wanted, true)) as Duplex),
    reach: reach === undefined ? undefined : async (host, port) => reach(host, port),
    close,
  }
}

/** What the modem puts into its requests; where it says no place, the agent has its own. */
function placeOf(endpoint: Endpoint): object {
  if ('ssh' in endpoint) return { host: 'docker' }
  return 'tls' in endpoint ? { host: endpoint.host, port: endpoint.port } : endpoint
}

/** Closed before a word of the answer came. */
function isHungUp(error: unknown): boolean {
  return error instanceof EngineFailure && error.status === undefined && (error.code === 'ECONNRESET' || error.code === 'EPIPE')
}

/** The smaller of two API versions. Pure. */
export function smaller(left: string, right: string): string {
  return compareVersions(left, right) <= 0 ? left : right
}

/** Orders `MAJOR.MINOR` versions. Pure. */
export function compareVersions(left: string, right: string): number {
  const [leftMajor = 0, leftMinor = 0] = left.split('.').map(Number)
  const [rightMajor = 0, rightMinor = 0] = right.split('.').map(Number)
  return leftMajor - rightMajor || leftMinor - rightMinor
}

/** Reads a body of at most `limit` bytes. */
export async function readBody(reply: Readable, limit: number = MAX_JSON_BYTES): Promise<Buffer> {
  const chunks: Buffer[] = []
  let bytes = 0
  try {
    for await (const chunk of reply) {
      chunks.push(chunk as Buffer)
      bytes += (chunk as Buffer).length
      if (bytes > limit) throw new EngineFailure(`the answer is longer than ${limit} bytes`, { sent: true })
    }
  } catch (error) {
    throw toFailure(error)
  }
  return Buffer.concat(chunks)
}

/** An engine answers this in a few milliseconds; on a machine under full load it was seen to take a second. */
const VERSION_TIMEOUT_MS = 10_000

/** 10,000 containers with labels are about 15 MB in one list; ten times that is no answer of an engine. */
const MAX_JSON_BYTES = 160 * 1024 * 1024

async function readJson<T>(reply: IncomingMessage): Promise<T> {
  const text = (await readBody(reply)).toString()
  try {
    return (text.trim() === '' ? undefined : JSON.parse(text)) as T
  } catch (error) {
    throw new EngineFailure('the answer is not JSON', { status: reply.statusCode, sent: true, cause: error })
  }
}

const ok = { 200: true, 201: true, 204: true }

/** As `engine GET /containers/{id}/json`: what stands between is a name or an id, and of no use in a trace. */
export function spanName({ method, path }: Pick<EngineRequest, 'method' | 'path'>): string {
  const [kind = '', what, ...rest] = path
    .replace(/^\/v[\d.]+\//, '/')
    .split('/')
    .filter(Boolean)
  const second = what === undefined ? [] : words.has(what) ? [what] : ['{id}']
  return `engine ${method} /${[kind, ...second, ...rest.slice(-1)].join('/')}`
}

/** Of paths whose second part is no name. */
const words = new Set(['json', 'create', 'prune', 'search'])

/** The engine's answer, as a span of the call that it is asked for. */
async function dial(docker: Docker, wanted: EngineRequest, hijack = false): Promise<IncomingMessage | Duplex> {
  return vendorSpan(spanName(wanted), async (span) => {
    try {
      const reply = await dialled(docker, wanted, { hijack, traceparent: span.traceparent ?? currentTrace() })
      if ('statusCode' in reply && reply.statusCode !== undefined) span.fact('http.response.status_code', reply.statusCode)
      return reply
    } catch (error) {
      if (error instanceof EngineFailure && error.status !== undefined) span.fact('http.response.status_code', error.status)
      throw error
    }
  })
}

async function dialled(
  docker: Docker,
  wanted: EngineRequest,
  { hijack, traceparent }: { hijack: boolean; traceparent: string },
): Promise<IncomingMessage | Duplex> {
  const { method, path, query = {}, body, upload, headers = {}, signal } = wanted
  signal.throwIfAborted()
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage | Duplex>()
  const options = {
    path: Object.keys(query).length === 0 ? path : `${path}?`,
    method,
    // Always as a stream: otherwise an answer that breaks off settles nothing.
    isStream: true,
    hijack,
    statusCodes: ok,
    abortSignal: signal,
    headers: { ...headers, ...(traceparent === '' ? {} : { traceparent }) },
    options: { _query: withoutUndefined(query), _body: body ?? {} },
    ...(upload === undefined ? {} : { file: upload }),
  }
  docker.modem.dial(options, (error: unknown, reply: unknown) => {
    if (error === null || error === undefined) resolve(reply as IncomingMessage | Duplex)
    else reject(toFailure(error))
  })
  // The upload's own failure would only show as a broken request.
  if (upload !== undefined)
    once(upload, 'error').then(
      ([error]) => reject(error as Error),
      () => {},
    )
  return promise
}

function withoutUndefined(query: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(query).filter(([, value]) => value !== undefined))
}

interface ModemError extends Error {
  statusCode?: number
  code?: string
  syscall?: string
}

/** Any error of the modem or of a stream as an EngineFailure; an abort stays an abort. */
export function toFailure(thrown: unknown): Error {
  if (!(thrown instanceof Error)) return new EngineFailure(String(thrown), { sent: true })
  if (
    thrown instanceof EngineFailure ||
    thrown instanceof ProviderError ||
    thrown.name === 'AbortError' ||
    thrown.name === 'TimeoutError'
  )
    return thrown
  const { statusCode, code, syscall, message } = thrown as ModemError
  return new EngineFailure(message.replace(/^\(HTTP code \d+\) \S+(?: \S+)*? - /, '').trim(), {
    status: statusCode,
    code,
    // A connection that never stood carried nothing.
    sent: syscall !== 'connect' && syscall !== 'getaddrinfo',
    cause: thrown,
  })
}

/** Runs `make` once, at the first call; a failure is forgotten. */
function lazy<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined
  return async () => {
    made ??= make()
    try {
      return await made
    } catch (error) {
      made = undefined
      throw error
    }
  }
}
