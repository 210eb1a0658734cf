import { connect, type NetConnectOpts } from 'node:net'
import { expect, test } from 'vitest'
import { startTestDaemon, type TestDaemon } from './testing/daemon.ts'

interface Given {
  status: number
  type: string | undefined
  code: unknown
}

/** Sends bytes as they are, and gives every answer until the server closes. */
async function raw(where: NetConnectOpts, text: string): Promise<Given[]> {
  const socket = connect(where)
  socket.write(text)
  const all = Buffer.concat(await socket.toArray()).toString()
  return [...all.matchAll(/HTTP\/1\.1 (\d{3})(.*?)\r\n\r\n(\{.*?\})(?=HTTP|$)/gs)].map(([, status, head = '', body = '{}']) => ({
    status: Number(status),
    type: /content-type: (\S+)/i.exec(head)?.[1]?.replace(';', ''),
    code: (JSON.parse(body) as { code?: unknown }).code,
  }))
}

function tcp(daemon: TestDaemon): NetConnectOpts {
  return { port: Number(new URL(daemon.api.url).port), host: '127.0.0.1' }
}
const type = 'application/problem+json'

test('what is no request is refused in the words of the API, on both addresses', async () => {
  await using daemon = await startTestDaemon()
  for (const where of [tcp(daemon), { path: daemon.api.socket ?? '' }])
    for (const [text, status, code] of [
      ['\x16\x03\x01\x02', 400, 'invalid-request'],
      ['GET / HTTP/9.9\r\n\r\n', 400, 'invalid-request'],
      [`GET /v1/pools HTTP/1.1\r\nhost: localhost\r\nx: ${'x'.repeat(20_000)}\r\n\r\n`, 431, 'head-too-large'],
      ['GET /v1/pools% HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n', 400, 'invalid-request'],
      [`GET /v1/runs/${'x'.repeat(200)} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n`, 404, 'not-found'],
    ] as const)
      expect([text.slice(0, 20), await raw(where, text)]).toEqual([text.slice(0, 20), [{ status, type, code }]])
})

test('a missing host is a wrong one; an expectation that nobody knows is ignored', async () => {
  await using daemon = await startTestDaemon()
  const ask = (head: string): Promise<Given[]> => raw(tcp(daemon), `GET /v1/pools HTTP/1.1\r\nconnection: close\r\n${head}\r\n`)
  expect(await ask('')).toEqual([{ status: 403, type, code: 'wrong-host' }])
  expect(await ask('host: localhost\r\nexpect: the unexpected\r\n')).toEqual([{ status: 401, type, code: 'unauthorized' }])
})

test('a request whose body is broken has one answer, not two', async () => {
  await using daemon = await startTestDaemon()
  const head = 'host: localhost\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n'
  for (const path of ['/v1/runs%', '/v1/runs']) expect(await raw(tcp(daemon), `POST ${path} HTTP/1.1\r\n${head}`)).toHaveLength(1)
})
