/** Asking the API server of a cluster for tests, as its administrator. */
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { type IncomingMessage } from 'node:http'
import { request } from 'node:https'
import { join } from 'node:path'

import { API_PORT, HEALTH } from './addresses.ts'

export interface ApiRequest {
  method?: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'
  /** With its query: `/api/v1/pods?limit=1`. */
  path: string
  body?: object
  /** Default `application/json`; a PATCH says here which kind it is. */
  contentType?: string
}

/** A refusal of the API server: its status code and its `Status` as text. */
export class ApiError extends Error {
  override readonly name = 'ApiError'
  readonly status: number

  constructor({ method = 'GET', path }: ApiRequest, status: number, text: string) {
    super(`${method} ${path}: ${status} ${text}`)
    this.status = status
  }
}

/** 10 s: an answer takes some ms, and one that hangs is asked for again by whoever waits. */
const TIMEOUT_MS = 10_000

/** The answer as text. Rejects with {@link ApiError} for a status of 400 and above, and when nobody answers. */
export async function askApi(cluster: { folder: string; node: string }, what: ApiRequest): Promise<string> {
  const at = (name: string): string => join(cluster.folder, name)
  const [ca, cert, key] = await Promise.all(['ca.crt', 'admin.crt', 'admin.key'].map((file) => readFile(at(`cluster-${file}`))))
  const { method = 'GET', path, body, contentType = 'application/json' } = what
  const sent = request({
    ...{ host: cluster.node, port: API_PORT, path, method, ca, cert, key, agent: false },
    headers: body === undefined ? {} : { 'content-type': contentType },
    signal: AbortSignal.timeout(TIMEOUT_MS),
  })
  sent.end(body === undefined ? undefined : JSON.stringify(body))
  const [answer] = (await once(sent, 'response')) as [IncomingMessage]
  const text = Buffer.concat(await answer.toArray()).toString()
  if ((answer.statusCode ?? 0) >= 400) throw new ApiError(what, answer.statusCode ?? 0, text)
  return text
}

/**
 * Lets etcd forget every version but the last of each object, as it is told to do every five minutes. Two versions that nobody saw are made first:
 * whoever has seen all until now is too late too, since who has seen the last but one may go on.
 */
export async function compact(node: string): Promise<void> {
  const ask = async (path: string, body: object): Promise<{ header: { revision: string } }> => {
    const url = `http://${node}:${HEALTH.etcd.port}/v3/kv/${path}`
    const answer = await fetch(url, { method: 'POST', body: JSON.stringify(body), signal: AbortSignal.timeout(TIMEOUT_MS) })
    if (!answer.ok) throw new Error(`etcd: ${path}: ${answer.status} ${await answer.text()}`)
    return (await answer.json()) as { header: { revision: string } }
  }
  const key = Buffer.from('muster-test-compaction').toString('base64')
  await ask('put', { key, value: key })
  const { header } = await ask('put', { key, value: key })
  await ask('compaction', { revision: header.revision, physical: true })
}
