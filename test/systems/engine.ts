/** The few calls of a container engine's HTTP API that the tests' systems need, over its unix socket. */
import { once } from 'node:events'
import { request, type IncomingMessage } from 'node:http'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'

export interface EngineRequest {
  method?: 'GET' | 'POST' | 'PUT' | 'DELETE' | 'HEAD'
  /** From the root, without the version: `/containers/json`. */
  path: string
  query?: Record<string, string | readonly string[]>
  /** An object goes as JSON, a stream as it is. */
  body?: object | Readable
  headers?: Record<string, string>
  /** Default 60 s for the whole answer. */
  timeoutMs?: number
}

export interface EngineAnswer {
  status: number
  body: Buffer
}

/** Asks an engine and reads the whole answer, whatever its status. Rejects when nobody answers. */
export async function askEngine(socketPath: string, what: EngineRequest): Promise<EngineAnswer> {
  const { method = 'GET', path, query = {}, body, headers = {}, timeoutMs = 60_000 } = what
  const search = new URLSearchParams()
  for (const [name, value] of Object.entries(query)) for (const one of [value].flat()) search.append(name, one)
  const sent = request({
    socketPath,
    method,
    path: search.size === 0 ? path : `${path}?${search.toString()}`,
    headers: { ...(body instanceof Readable || body === undefined ? {} : JSON_BODY), ...headers, host: 'docker' },
    agent: false,
    signal: AbortSignal.timeout(timeoutMs),
  })
  // Answers come before the end of the body when the engine refuses it.
  const answered = once(sent, 'response') as Promise<[IncomingMessage]>
  if (body instanceof Readable) {
    await Promise.race([pipeline(body, sent), answered])
  } else {
    sent.end(body === undefined ? undefined : JSON.stringify(body))
  }
  const [answer] = await answered
  return { status: answer.statusCode ?? 0, body: Buffer.concat(await answer.toArray()) }
}

const JSON_BODY = { 'content-type': 'application/json' }

/** Asks an engine for JSON; a status of 400 and above is an error with the engine's own message. */
export async function engineJson<T = unknown>(socket: string, what: EngineRequest): Promise<T> {
  const { status, body } = await askEngine(socket, what)
  const text = body.toString()
  if (status >= 400) throw new EngineError(what, status, text)
  return (text === '' ? undefined : JSON.parse(text)) as T
}

/** Asks for something that is reported by a stream of JSON messages; a failure in the stream is an error. */
export async function engineProgress(socket: string, what: EngineRequest): Promise<Record<string, unknown>[]> {
  const { status, body } = await askEngine(socket, { timeoutMs: 180_000, ...what })
  if (status >= 400) throw new EngineError(what, status, body.toString())
  const lines = body
    .toString()
    .split('\n')
    .filter((line) => line.trim() !== '')
  const messages = lines.map((line) => JSON.parse(line) as Record<string, unknown>)
  // A failed pull, push or import has status 200; only its last message says so.
  const failed = messages.find((message) => message['error'] !== undefined)
  if (failed !== undefined) throw new EngineError(what, status, JSON.stringify(failed))
  return messages
}

/** An engine's refusal: its status and words. */
export class EngineError extends Error {
  override readonly name = 'EngineError'
  readonly status: number

  constructor(what: EngineRequest, status: number, text: string) {
    super(`${what.method ?? 'GET'} ${what.path}: ${status} ${text.trim()}`)
    this.status = status
  }
}

export interface EngineVersion {
  /** The engine's own version: `20.10.24+dfsg1`. */
  version: string
  /** The newest version of the API it speaks: `1.41`. */
  apiVersion: string
}

/** Whether an engine answers, and which. Rejects when none does. */
export async function engineVersion(socket: string): Promise<EngineVersion> {
  const ping = await askEngine(socket, { path: '/_ping', timeoutMs: 5_000 })
  if (ping.status !== 200) throw new Error(`/_ping answers ${ping.status} ${ping.body.toString()}`)
  const { Version, ApiVersion } = await engineJson<{ Version: string; ApiVersion: string }>(socket, {
    path: '/version',
    timeoutMs: 5_000,
  })
  return { version: Version, apiVersion: ApiVersion }
}

export interface ContainerRun {
  image: string
  command: readonly string[]
  /** The engine's own `HostConfig`. */
  hostConfig?: object
  user?: string
}

export interface ContainerResult {
  code: number
  oomKilled: boolean
  stdout: string
  stderr: string
}

/** Runs a container to its end (at most 60 s), answers how it ended and what it wrote, and removes it. */
export async function runContainer(socket: string, run: ContainerRun): Promise<ContainerResult> {
  const { Id } = await engineJson<{ Id: string }>(socket, {
    method: 'POST',
    path: '/containers/create',
    body: { Image: run.image, Cmd: run.command, HostConfig: run.hostConfig ?? {}, User: run.user ?? '' },
  })
  try {
    await engineJson(socket, { method: 'POST', path: `/containers/${Id}/start` })
    const ended = await engineJson<{ StatusCode: number }>(socket, { method: 'POST', path: `/containers/${Id}/wait` })
    const { State } = await engineJson<{ State: EndedState }>(socket, { path: `/containers/${Id}/json` })
    const logs = await askEngine(socket, { path: `/containers/${Id}/logs`, query: { stdout: '1', stderr: '1' } })
    const { stdout, stderr } = splitOutput(logs.body)
    return { code: ended.StatusCode, oomKilled: State.OOMKilled || (await sawOom(socket, Id, State)), stdout, stderr }
  } finally {
    await engineJson(socket, { method: 'DELETE', path: `/containers/${Id}`, query: { force: '1', v: '1' } })
  }
}

interface EndedState {
  OOMKilled: boolean
  StartedAt: string
  FinishedAt: string
}

/** An engine that hears of the end before the kill leaves its flag false; its events tell of both, up to a second later. */
async function sawOom(socket: string, id: string, { StartedAt, FinishedAt }: EndedState): Promise<boolean> {
  const [since, until] = [StartedAt, FinishedAt].map((time) => Math.floor(Date.parse(time) / 1000))
  const filters = JSON.stringify({ container: [id], event: ['oom'] })
  const events = await askEngine(socket, { path: '/events', query: { since: `${since}`, until: `${(until ?? 0) + 2}`, filters } })
  return events.body.length > 0
}

/** Takes an engine's multiplexed output apart: u8 stream, 3 bytes, u32 BE length, bytes (its API's "attach" page). */
export function splitOutput(raw: Buffer): { stdout: string; stderr: string } {
  const parts: Record<1 | 2, Buffer[]> = { 1: [], 2: [] }
  for (let at = 0; at + 8 <= raw.length;) {
    const length = raw.readUInt32BE(at + 4)
    parts[raw[at] === 2 ? 2 : 1].push(raw.subarray(at + 8, at + 8 + length))
    at += 8 + length
  }
  return { stdout: Buffer.concat(parts[1]).toString(), stderr: Buffer.concat(parts[2]).toString() }
}
