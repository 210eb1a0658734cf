import { once } from 'node:events'
import { createServer, get, type IncomingMessage, setGlobalProxyFromEnv } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import { expect, test } from 'vitest'
import { toProviderError } from '../errors.ts'
import { pluginNetworkSchema } from '../plugin.ts'
import { proxySecrets, proxyVariables, trusted, useNetwork } from './network.ts'
import { createRedactor } from './redact.ts'

test('a network that says nothing changes nothing', () => {
  expect(() => useNetwork({}, createRedactor())).not.toThrow()
})

test('a proxy is asked for what is elsewhere, and the log shows nothing of its password', async () => {
  const server = createServer((request, reply) => {
    reply.end(`${request.url} ${request.headers['proxy-authorization']}`)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  // What it gives puts back what this process had before.
  const restore = setGlobalProxyFromEnv({ HTTP_PROXY: 'http://127.0.0.1:1' })
  try {
    const redactor = createRedactor()
    useNetwork({ proxy: `http://user:canary7@127.0.0.1:${(server.address() as AddressInfo).port}` }, redactor)
    const [answer] = (await once(get('http://vendor.test/x'), 'response')) as [IncomingMessage]
    const given = await text(answer)
    expect(given).toBe(`http://vendor.test/x Basic ${Buffer.from('user:canary7').toString('base64')}`)
    expect(redactor.clean(given)).toBe('http://vendor.test/x Basic [secret]')
  } finally {
    restore()
    server.closeAllConnections()
    server.close()
  }
})

test('a proxy is one of HTTP, as the contract says: another is no network', () => {
  const taken = (proxy: string): boolean => pluginNetworkSchema.safeParse({ proxy }).success
  expect(['http://proxy.test:3128', 'https://proxy.test', 'socks5://proxy.test', 'file:///proxy'].map(taken)).toEqual([
    true,
    true,
    false,
    false,
  ])
})

test('the password of a proxy is known in each of the forms in which it travels; without one there is no secret', () => {
  expect(proxySecrets('http://us%40er:p%2Bw@proxy.test:3128')).toEqual(['us%40er:p%2Bw', 'us@er:p+w', 'p%2Bw', 'p+w'])
  expect(proxySecrets('http://0123456789abcdef%3D@proxy.test')).toEqual(['0123456789abcdef%3D', '0123456789abcdef='])
  expect(proxySecrets('http://0123456789abcdef@proxy.test')).toEqual(['0123456789abcdef', '0123456789abcdef'])
  for (const open of ['http://proxy.test:3128', 'http://user@proxy.test', 'http://0123456789abcde@proxy.test'])
    expect(proxySecrets(open)).toEqual([])
})

test('loopback is reached without the proxy, whatever else is', () => {
  const proxy = 'http://proxy.test:3128'
  const NO_PROXY = 'localhost,127.0.0.1,[::1],::1'
  expect(proxyVariables({ proxy })).toEqual({ HTTP_PROXY: proxy, HTTPS_PROXY: proxy, NO_PROXY })
  expect(proxyVariables({ proxy, noProxy: ['.in.test', '10.0.0.7'] })['NO_PROXY']).toBe(`${NO_PROXY},.in.test,10.0.0.7`)
  expect(proxyVariables({ ca: 'x' })).toEqual({})
})

test('authorities are trusted beside the usual ones', () => {
  expect(trusted({})).toBeUndefined()
  const all = trusted({ ca: 'mine' }) ?? []
  expect([all.length > 1, all.at(-1)]).toEqual([true, 'mine'])
})

test('a certificate that is not trusted is told as that, however deep it lies', () => {
  const cause = Object.assign(new Error('self-signed certificate'), { code: 'DEPTH_ZERO_SELF_SIGNED_CERT' })
  for (const error of [cause, new TypeError('fetch failed', { cause }), new Error('a', { cause: new Error('b', { cause }) })])
    expect(toProviderError(error, 'launch failed')).toMatchObject({
      code: 'auth',
      message: 'launch failed: the certificate of the server is not trusted (DEPTH_ZERO_SELF_SIGNED_CERT)',
      hint: expect.stringContaining('host.network.ca'),
    })
  const ring: Error & { cause?: unknown } = new Error('round')
  ring.cause = ring
  expect(toProviderError(ring)).toMatchObject({ code: 'internal', message: 'the provider failed: round' })
})
