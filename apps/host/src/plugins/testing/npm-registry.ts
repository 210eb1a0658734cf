/** An npm registry in this process, on loopback, that misbehaves when asked to. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface TestRegistry extends AsyncDisposable {
  url: string
  publish(
    name: string,
    version: string,
    more: { tarball: Buffer; published?: string; deprecated?: string; attestations?: unknown },
  ): void
  /** Other bytes under the same version. */
  tamper(name: string, version: string, tarball: Buffer): void
  unpublish(name: string): void
  /** From now on only whoever has this token is answered. */
  demand(token: string): void
  /** The next requests are answered so, one each. */
  fail(...statuses: number[]): void
  /** Paths that were asked for. */
  asked: string[]
}

interface Version {
  tarball: Buffer
  published: string | undefined
  deprecated: string | undefined
  attestations: unknown
}

export async function startTestRegistry(): Promise<TestRegistry> {
  const packages = new Map<string, Map<string, Version>>()
  const asked: string[] = []
  const failures: number[] = []
  let token: string | undefined
  let url = ''

  function answer(request: IncomingMessage, reply: ServerResponse): void {
    const path = decodeURIComponent((request.url ?? '').slice(1))
    asked.push(path)
    const status = failures.shift()
    if (status !== undefined) return end(reply, status, {})
    if (token !== undefined && request.headers.authorization !== `Bearer ${token}`) return end(reply, 401, {})
    const [, attested, of = ''] = /^-\/npm\/v1\/attestations\/(.+)@([^@]+)$/.exec(path) ?? []
    if (attested !== undefined) {
      const known = packages.get(attested)?.get(of)?.attestations
      return end(reply, known === undefined ? 404 : 200, known ?? {})
    }
    const [name = '', file] = path.split('/-/')
    const found = packages.get(name)
    if (found === undefined) return end(reply, 404, { error: 'not found' })
    if (file === undefined) return end(reply, 200, packument(name, found))
    const version = found.get(file.replace(/\.tgz$/, ''))
    if (version === undefined) return end(reply, 404, {})
    reply.writeHead(200, { 'content-type': 'application/octet-stream' }).end(version.tarball)
  }

  function packument(name: string, found: ReadonlyMap<string, Version>): object {
    const all = [...found]
    return {
      name,
      versions: Object.fromEntries(
        all.map(([version, { deprecated }]) => [
          version,
          {
            name,
            version,
            ...(deprecated === undefined ? {} : { deprecated }),
            dist: { tarball: `${url}${name}/-/${version}.tgz` },
          },
        ]),
      ),
      time: Object.fromEntries(
        all.flatMap(([version, { published }]) => (published === undefined ? [] : [[version, published]])),
      ),
    }
  }

  const server = createServer(answer).listen(0, '127.0.0.1')
  await new Promise((done) => server.once('listening', done))
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
  return {
    url,
    asked,
    publish(name, version, { tarball, published, deprecated, attestations }) {
      packages.set(name, (packages.get(name) ?? new Map()).set(version, { tarball, published, deprecated, attestations }))
    },
    tamper(name, version, tarball) {
      const known = packages.get(name)?.get(version)
      if (known !== undefined) known.tarball = tarball
    },
    unpublish: (name) => void packages.delete(name),
    demand: (wanted) => {
      token = wanted
    },
    fail: (...statuses) => void failures.push(...statuses),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      await new Promise((done) => server.close(done))
    },
  }
}

function end(reply: ServerResponse, status: number, body: object): void {
  reply.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}
