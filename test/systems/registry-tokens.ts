/** A token server for an image registry. Source: the distribution project, "Token Authentication Specification" and its OAuth 2 part. */
import { sign, X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface TokenServer {
  /** `http://127.0.0.1:PORT/token` */
  readonly realm: string
  readonly service: string
  readonly issuer: string
  /** Who asked, in order: by password or by refresh token, and whether they were let in. */
  readonly asked: readonly { by: 'password' | 'refresh'; ok: boolean }[]
  /** For a registry's users: a login that lasts, without their password. */
  readonly refreshToken: string
  stop(): Promise<void>
}

export interface TokenServerOptions {
  user: string
  password: string
  /** PEM files; tokens are signed with the key, and the registry is told to believe the certificate. */
  cert: string
  key: string
}

export async function startTokenServer({ user, password, cert, key }: TokenServerOptions): Promise<TokenServer> {
  const [privateKey, certificate] = [await readFile(key, 'utf8'), new X509Certificate(await readFile(cert, 'utf8'))]
  const [service, issuer, refreshToken] = ['tests', 'tests', 'a refresh token']
  const asked: { by: 'password' | 'refresh'; ok: boolean }[] = []

  function token(scopes: readonly string[]): string {
    const now = Math.floor(Date.now() / 1000)
    const access = scopes.map((scope) => {
      const [, type, name, actions = ''] = /^([^:]+):(.*):([^:]*)$/.exec(scope) ?? []
      return { type, name, actions: actions.split(',') }
    })
    const header = { typ: 'JWT', alg: 'ES256', x5c: [certificate.raw.toString('base64')] }
    const claims = {
      iss: issuer,
      aud: service,
      sub: user,
      iat: now,
      nbf: now - 10,
      exp: now + 300,
      jti: String(asked.length),
      access,
    }
    const text = [header, claims].map((part) => Buffer.from(JSON.stringify(part)).toString('base64url')).join('.')
    const signature = sign('sha256', Buffer.from(text), { key: privateKey, dsaEncoding: 'ieee-p1363' })
    return `${text}.${signature.toString('base64url')}`
  }

  async function scopesOf(request: IncomingMessage): Promise<string[] | undefined> {
    if (request.method === 'POST') {
      const form = new URLSearchParams(Buffer.concat(await request.toArray()).toString())
      const ok = form.get('refresh_token') === refreshToken
      asked.push({ by: 'refresh', ok })
      return ok ? (form.get('scope') ?? '').split(' ').filter(Boolean) : undefined
    }
    const ok = request.headers.authorization === `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`
    asked.push({ by: 'password', ok })
    return ok ? new URL(request.url ?? '', 'http://x').searchParams.getAll('scope') : undefined
  }

  const server = createServer((request, reply) => {
    scopesOf(request).then(
      (scopes) => {
        if (scopes === undefined) return void reply.writeHead(401).end('{"details":"incorrect username or password"}')
        const issued = token(scopes)
        reply.setHeader('content-type', 'application/json')
        reply.end(JSON.stringify({ token: issued, access_token: issued, expires_in: 300 }))
      },
      () => reply.destroy(),
    )
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    ...{ realm: `http://127.0.0.1:${(server.address() as AddressInfo).port}/token`, service, issuer, asked, refreshToken },
    async stop() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}
