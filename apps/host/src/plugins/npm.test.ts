/** What a registry is asked, and how, and what is made of its answers. */
import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { gzipSync } from 'node:zlib'
import { maxTarballBytes } from '@muster/packed/archive'
import { sha512Of } from '@muster/packed/digest'
import { afterEach, expect, test, vi } from 'vitest'
import { npmOrigin } from './npm.ts'
import type { Origin } from './origin.ts'
import { startTestRegistry } from './testing/npm-registry.ts'

afterEach(() => void vi.unstubAllEnvs())

const tarball = Buffer.from('the bytes')

test('versions have their time where it is one, and why nobody should use them', async () => {
  await using registry = await startTestRegistry()
  registry.publish('@a/p', '1.0.0', { tarball, published: '2026-01-01T00:00:00Z' })
  registry.publish('@a/p', '1.1.0', { tarball, published: 'some day', deprecated: 'broken' })
  registry.publish('@a/p', '1.2.0', { tarball, deprecated: '' })
  const origin = await npmOrigin({ url: registry.url }, undefined)
  expect(origin.aged).toBe(true)
  expect(await origin.versions('@a/p')).toEqual([
    { version: '1.0.0', published: '2026-01-01T00:00:00.000Z' },
    { version: '1.1.0', deprecated: 'broken' },
    { version: '1.2.0' },
  ])
  expect(await origin.tarball('@a/p', '1.1.0')).toEqual(tarball)
  // It is asked once what there is of a package.
  expect(registry.asked).toEqual(['@a/p', '@a/p/-/1.1.0.tgz'])
  for (const version of ['9.9.9', 'toString'])
    await expect(origin.tarball('@a/p', version)).rejects.toMatchObject({
      code: 'no-version',
      message: expect.stringMatching(
        /^the registry has no @a\/p@\S+ any more; the nearest that it has is \d+\.\d+\.\d+$/,
      ) as string,
    })
})

test('a registry that has no version at all names no nearest one', async () => {
  const server = createServer((_, reply) => void reply.end('{"versions":{}}')).listen(0, '127.0.0.1')
  await once(server, 'listening')
  try {
    const origin = await npmOrigin({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }, undefined)
    await expect(origin.tarball('p', '1.0.0')).rejects.toMatchObject({
      code: 'no-version',
      message: 'the registry has no p@1.0.0 any more',
    })
  } finally {
    server.close()
  }
})

test('what it attests is given as it is, nothing is no failure, and everything else is', async () => {
  await using registry = await startTestRegistry()
  registry.publish('@a/p', '1.0.0', { tarball, attestations: { attestations: [] } })
  const origin = await npmOrigin({ url: registry.url }, undefined)
  expect(await origin.attestations('@a/p', '1.0.0')).toEqual({ attestations: [] })
  expect(await origin.attestations('@a/p', '2.0.0')).toBeUndefined()
  registry.fail(403)
  await expect(origin.attestations('@a/p', '1.0.0')).rejects.toMatchObject({
    code: 'unauthorized',
    message: `${registry.url} does not give @a/p to this token: 403`,
  })
})

test('an answer that is none of a registry says where', async () => {
  const server = createServer((_, reply) => void reply.end('{"versions":{"1.0.0":{"dist":{}}}}')).listen(0, '127.0.0.1')
  await new Promise((done) => server.once('listening', done))
  try {
    const origin = await npmOrigin({ url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` }, undefined)
    await expect(origin.versions('p')).rejects.toMatchObject({
      code: 'unreachable',
      message: "what the registry says of p cannot be read (at 'versions.1.0.0.dist.tarball')",
    })
  } finally {
    server.close()
  }
})

test('a tarball that is too large is not taken in', async () => {
  await using registry = await startTestRegistry()
  registry.publish('more', '1.0.0', { tarball: Buffer.alloc(maxTarballBytes + 1) })
  const origin = await npmOrigin({ url: registry.url }, undefined)
  await expect(origin.tarball('more', '1.0.0')).rejects.toMatchObject({ code: 'bad-archive' })
})

/** A registry that answers each path as it is told. */
async function answering(answer: (path: string, reply: ServerResponse) => void): Promise<AsyncDisposable & { url: string }> {
  const server = createServer((request, reply) => answer(request.url ?? '', reply)).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections()
      server.close()
      await once(server, 'close')
    },
  }
}

/** Of one version, whose tarball is at this address. */
const packumentOf = (tarballUrl: string, dist: object = {}): string =>
  JSON.stringify({ versions: { '1.0.0': { dist: { tarball: tarballUrl, ...dist } } } })

test('an address that a registry names is one word of the command that looks at it, and runs nothing else', async () => {
  await using registry = await answering((path, reply) => {
    if (path === '/p') reply.end(packumentOf(`${registry.url}p.tgz; reboot #`))
    else reply.writeHead(404).end('{}')
  })
  const origin = await npmOrigin({ url: registry.url }, undefined)
  await expect(origin.tarball('p', '1.0.0')).rejects.toMatchObject({
    code: 'unreachable',
    fix: `run: curl --head '${registry.url}p.tgz; reboot #', which has to answer 200; or take it from a mirror`,
  })
})

test('what never ends is left after a while, whatever of it was asked for', async () => {
  await using registry = await answering((path, reply) => {
    if (path === '/p') reply.end(packumentOf(`${registry.url}p.tgz`))
    else reply.write('{"drop after drop')
  })
  const origin = await npmOrigin({ url: registry.url }, undefined, { patienceMs: 100 })
  const left = { code: 'unreachable', message: expect.stringMatching(/: its answer has not ended within 0\.1 s$/) as string }
  await expect(origin.versions('drips')).rejects.toMatchObject(left)
  await expect(origin.tarball('p', '1.0.0')).rejects.toMatchObject(left)
  await expect(origin.attestations('p', '1.0.0')).rejects.toMatchObject(left)
})

test.each<[string, (origin: Origin) => Promise<unknown>]>([
  ['of a package', (origin) => origin.versions('p')],
  ['of what is attested', (origin) => origin.attestations('p', '1.0.0')],
])('what it says %s without end is not taken in', async (_name, ask) => {
  const mebibyte = gzipSync(Buffer.alloc(2 ** 20, ' '))
  const much = Buffer.concat(Array.from({ length: maxTarballBytes / 2 ** 20 + 1 }, () => mebibyte))
  // Few bytes on their way are many. Whoever waits for more waits in vain.
  await using registry = await answering((_, reply) => {
    reply.setHeader('content-encoding', 'gzip')
    reply.write(much)
  })
  await expect(ask(await npmOrigin({ url: registry.url }, undefined))).rejects.toMatchObject({
    code: 'unreachable',
    message: expect.stringContaining(`more than ${maxTarballBytes} bytes`) as string,
  })
})

test('what it says may be as long as that', async () => {
  await using registry = await answering((_, reply) => void reply.end(Buffer.alloc(maxTarballBytes, ' ')))
  const origin = await npmOrigin({ url: registry.url }, undefined)
  // Which is no answer: nothing but blanks.
  await expect(origin.versions('p')).rejects.toMatchObject({ message: expect.stringContaining('cannot be read') as string })
  expect(await origin.attestations('p', '1.0.0')).toBeUndefined()
})

test('a version whose tarball is gone is told of as that, and not as no package', async () => {
  await using registry = await startTestRegistry()
  registry.publish('a', '1.0.0', { tarball: Buffer.from('x') })
  const origin = await npmOrigin({ url: registry.url }, undefined)
  await origin.versions('a')
  registry.unpublish('a')
  await expect(origin.tarball('a', '1.0.0')).rejects.toMatchObject({
    code: 'unreachable',
    message: 'the registry says that it has a@1.0.0, and has no tarball of it',
    fix: `run: curl --head ${registry.url}a/-/1.0.0.tgz, which has to answer 200; or take it from a mirror`,
  })
})

test('a tarball is what the registry itself says that it is', async () => {
  let integrity = sha512Of(tarball)
  await using registry = await answering((path, reply) => {
    if (path === '/p') reply.end(packumentOf(`${registry.url}p.tgz`, { integrity }))
    else reply.end(tarball)
  })
  expect(await (await npmOrigin({ url: registry.url }, undefined)).tarball('p', '1.0.0')).toEqual(tarball)
  integrity = sha512Of(Buffer.from('other bytes'))
  await expect((await npmOrigin({ url: registry.url }, undefined)).tarball('p', '1.0.0')).rejects.toMatchObject({
    code: 'other-bytes',
    message: expect.stringContaining(`its registry says ${integrity}`) as string,
  })
})

test('what it says by another hash is no word against a tarball', async () => {
  await using registry = await answering((path, reply) => {
    if (path === '/p') reply.end(packumentOf(`${registry.url}p.tgz`, { integrity: 'sha1-2jmj7l5rSw0yVb/vlWAYkK/YBwk=' }))
    else reply.end(tarball)
  })
  expect(await (await npmOrigin({ url: registry.url }, undefined)).tarball('p', '1.0.0')).toEqual(tarball)
})

test('a registry that stumbles is asked again, without a word', async () => {
  await using registry = await startTestRegistry()
  registry.publish('p', '1.0.0', { tarball })
  registry.fail(503)
  const warned = vi.fn()
  process.on('warning', warned)
  expect(await (await npmOrigin({ url: registry.url }, undefined)).versions('p')).toHaveLength(1)
  process.off('warning', warned)
  expect(warned).not.toHaveBeenCalled()
})

test('a token is that of its address alone, whether it ends in a slash or not; one that cannot be read says so', async () => {
  await using registry = await startTestRegistry()
  registry.publish('p', '1.0.0', { tarball })
  registry.demand('good')
  vi.stubEnv('MUSTER_TEST_TOKEN', 'good')
  const token = { env: 'MUSTER_TEST_TOKEN' }
  for (const url of [registry.url, registry.url.replace(/\/$/, '')])
    expect(await (await npmOrigin({ url, token }, undefined)).versions('p')).toEqual([{ version: '1.0.0' }])
  vi.stubEnv('MUSTER_TEST_TOKEN', '')
  await expect(npmOrigin({ url: registry.url, token }, undefined)).rejects.toMatchObject({
    code: 'unauthorized',
    message: `the token of the registry ${registry.url} cannot be read: the secret 'token' cannot be read: the variable MUSTER_TEST_TOKEN is empty`,
    fix: 'run: printenv MUSTER_TEST_TOKEN | wc -c, which has to find it; see token in registries of plugins.json',
  })
})

test('it is reached by the proxy of the host, but for what needs none', async () => {
  await using registry = await startTestRegistry()
  registry.publish('p', '1.0.0', { tarball })
  const proxied: string[] = []
  const proxy = createServer().listen(0, '127.0.0.1')
  proxy.on('request', (request, reply) => {
    proxied.push(request.url ?? '')
    reply.writeHead(400).end()
  })
  proxy.on('connect', (request, socket) => {
    proxied.push(request.url ?? '')
    socket.end('HTTP/1.1 400 no\r\n\r\n')
  })
  await new Promise((done) => proxy.once('listening', done))
  const by = { proxy: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}` }
  try {
    await expect((await npmOrigin({ url: 'http://registry.example/' }, by)).versions('p')).rejects.toMatchObject({
      code: 'unreachable',
    })
    expect(proxied[0]).toContain('registry.example')
    const around = { ...by, noProxy: ['127.0.0.1'] }
    expect(await (await npmOrigin({ url: registry.url }, around)).versions('p')).toEqual([{ version: '1.0.0' }])
  } finally {
    proxy.closeAllConnections()
    proxy.close()
  }
})
