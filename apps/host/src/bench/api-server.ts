/** An API server asked without a client between, and a way to it that counts the requests which go by. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { Agent, request } from 'node:https'
import { createInterface } from 'node:readline'
import type { KubernetesAddress } from '@muster/test/systems/kubernetes'

/** How a kubeconfig reaches its cluster. */
export interface ApiServer {
  readonly url: string
  /** PEM. */
  readonly ca: string
  readonly cert: string
  readonly key: string
}

interface Kubeconfig {
  clusters: { cluster: { server: string; 'certificate-authority-data': string } }[]
  users: { user: { 'client-certificate-data': string; 'client-key-data': string } }[]
}

export async function apiServerOf(cluster: KubernetesAddress): Promise<ApiServer> {
  const { stdout } = await cluster.kubectl(['config', 'view', '--raw', '--flatten', '--minify', '--output=json'])
  const { clusters, users } = JSON.parse(stdout) as Kubeconfig
  const [{ cluster: at } = { cluster: undefined }, { user } = { user: undefined }] = [clusters[0], users[0]]
  if (at === undefined || user === undefined) throw new Error('a kubeconfig without a cluster or a user')
  const text = (base64: string): string => Buffer.from(base64, 'base64').toString()
  return {
    url: at.server,
    ca: text(at['certificate-authority-data']),
    cert: text(user['client-certificate-data']),
    key: text(user['client-key-data']),
  }
}

export interface WatchEvent {
  type: string
  object: { status: { conditions?: { type: string; status: string }[] } }
}

export interface BareClient {
  /** The parsed answer; rejects for a status of 400 and above. */
  ask<T>(method: string, path: string, body?: object): Promise<T>
  /** Reads a watch until one of its events is enough. */
  until(path: string, enough: (event: WatchEvent) => boolean): Promise<void>
  close(): void
}

export function bareClient({ url, ca, cert, key }: ApiServer): BareClient {
  const agent = new Agent({ keepAlive: true, ca, cert, key })
  const open = async (method: string, path: string, body?: object): Promise<IncomingMessage> => {
    const asked = request(new URL(path, url), { method, agent, headers: { 'content-type': 'application/json' } })
    asked.end(body === undefined ? undefined : JSON.stringify(body))
    const [answer] = (await once(asked, 'response')) as [IncomingMessage]
    if ((answer.statusCode ?? 500) < 400) return answer
    throw new Error(`${method} ${path}: ${answer.statusCode} ${Buffer.concat(await answer.toArray()).toString()}`)
  }
  return {
    ask: async <T>(method: string, path: string, body?: object) =>
      JSON.parse(Buffer.concat(await (await open(method, path, body)).toArray()).toString()) as T,
    async until(path, enough) {
      const answer = await open('GET', path)
      for await (const line of createInterface(answer)) if (enough(JSON.parse(line) as WatchEvent)) break
      answer.destroy()
    },
    close: () => agent.destroy(),
  }
}

/** Requests so far, by method and kind: `POST pods`, `WATCH pods`. */
export type Counts = Readonly<Record<string, number>>

export interface CountingWay {
  /** A kubeconfig that goes by it. */
  readonly kubeconfig: string
  counts(): Promise<Counts>
  stop(): Promise<void>
}

// In a process of its own: its work is nobody's who is measured.
const source = `
const { createServer } = require('node:http')
const { Agent, request } = require('node:https')
process.once('message', ({ url, ca, cert, key }) => {
  const agent = new Agent({ keepAlive: true, ca, cert, key })
  const counts = {}
  const server = createServer((asked, answer) => {
    const { pathname, searchParams } = new URL(asked.url, url)
    const [, of, below] = /\\/namespaces\\/[^/]+\\/([^/]+)(?:\\/[^/]+\\/([^/]+))?/.exec(pathname) ?? []
    const kind = below ?? of ?? pathname.split('/').at(-1)
    const name = (searchParams.get('watch') === 'true' ? 'WATCH' : asked.method) + ' ' + kind
    counts[name] = (counts[name] ?? 0) + 1
    const { host, connection, ...headers } = asked.headers
    const sent = request(new URL(asked.url, url), { method: asked.method, headers, agent }, (got) => {
      answer.writeHead(got.statusCode, got.headers)
      got.on('error', () => answer.destroy()).pipe(answer)
    })
    sent.on('error', () => answer.destroy())
    answer.on('close', () => sent.destroy())
    asked.pipe(sent)
  })
  server.listen(0, '127.0.0.1', () => process.send(server.address().port))
  process.on('message', () => process.send(counts))
})`

/** Plain HTTP on loopback; who asks is whoever the server's certificate says. */
export async function startCounting(server: ApiServer, write: (text: string) => Promise<string>): Promise<CountingWay> {
  const child = spawn(process.execPath, ['-e', source], { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] })
  child.send(server)
  const [port] = (await once(child, 'message')) as [number]
  const name = 'counted'
  const kubeconfig = await write(
    JSON.stringify({
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ name, cluster: { server: `http://127.0.0.1:${port}` } }],
      users: [{ name, user: {} }],
      contexts: [{ name, context: { cluster: name, user: name } }],
      'current-context': name,
    }),
  )
  return {
    kubeconfig,
    async counts() {
      child.send('counts')
      const [counts] = (await once(child, 'message')) as [Counts]
      return counts
    },
    async stop() {
      const ended = once(child, 'exit')
      child.kill('SIGKILL')
      await ended
    },
  }
}
