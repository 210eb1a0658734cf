import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, test } from 'vitest'
import { calls, pathOf, rightsOf } from './calls.ts'
import type { ApiFailure } from './failure.ts'
import {
  type Answer,
  drop,
  hang,
  json,
  kubeconfig,
  refuse,
  seen,
  startServer,
  stream,
  type TestServer,
} from './server.test.helper.ts'

const never = new AbortController().signal
const get = (server: TestServer, timeoutMs?: number): Promise<unknown> =>
  server.requests.get(
    calls.getPod,
    { namespace: 'n', name: 'p' },
    { signal: never, ...(timeoutMs === undefined ? {} : { timeoutMs }) },
  )
const create = (server: TestServer): Promise<unknown> =>
  server.requests.create(calls.createPod, { metadata: { namespace: 'n' } }, { signal: never })

test('what was asked for comes, with the token of the context', async () => {
  await using server = await startServer([json({ fine: true })])
  expect(await get(server)).toEqual({ fine: true })
  expect(server.seen).toEqual(['GET /api/v1/namespaces/n/pods/p'])
  expect(server.tokens).toEqual(['Bearer secret'])
  expect(await server.transport.namespace(never)).toBe('team')
})

test.each<[string, Answer, object]>([
  ['dropped before the answer', drop, { code: 'ECONNRESET', sent: true }],
  ['503 that says when', refuse(503, { retryAfter: 7 }), { status: 503, retryAfterMs: 7000, sent: true }],
  [
    'no Status at all',
    (_, response) => void response.writeHead(502).end('<html>gateway</html>'),
    { status: 502, message: '502: <html>gateway</html>' },
  ],
  ['not JSON', (_, response) => void response.end('{"half'), { code: 'BAD_ANSWER', sent: true }],
  ['a redirect', (_, response) => void response.writeHead(307, { Location: 'http://127.0.0.1:1/' }).end(), { status: 307 }],
  ['half of it, then nothing', stream(['{"half'], 'drop'), { code: 'ECONNRESET', sent: true }],
  ['too much', json('x'.repeat(2000)), { code: 'TOO_LARGE' }],
])('an answer that is %s is a failure of that kind', async (_, answer, facts) => {
  await using server = await startServer([answer], { maxBody: 1000 })
  await expect(create(server)).rejects.toMatchObject({ name: 'ApiFailure', ...facts })
  expect(server.seen).toHaveLength(1)
})

test('a server that says nothing is given up after the time, also in the middle of its answer', async () => {
  await using server = await startServer([hang, stream(['{'], 'hang')])
  await expect(get(server, 20)).rejects.toMatchObject({ code: 'ETIMEDOUT', sent: true })
  await expect(get(server, 20)).rejects.toMatchObject({ code: 'ETIMEDOUT', sent: true })
})

test('nobody there: nothing was sent', async () => {
  const server = await startServer([hang])
  await server[Symbol.asyncDispose]()
  await expect(create(server)).rejects.toMatchObject({ code: 'ECONNREFUSED', sent: false })
})

test("whoever gives up gets his own reason, and the server's connection ends", async () => {
  await using server = await startServer([hang])
  const given = new AbortController()
  const asking = server.requests.get(calls.getPod, { namespace: 'n', name: 'p' }, { signal: given.signal })
  await seen(() => expect(server.seen).toHaveLength(1))
  given.abort(new Error('enough'))
  await expect(asking).rejects.toThrow('enough')
})

test('a refused token is read anew and tried once more, not twice', async () => {
  let reads = 0
  const text = async (url: string): Promise<string> => kubeconfig(url, { token: `token-${++reads}` })
  await using server = await startServer([refuse(401), json('in')], { text })
  expect(await get(server)).toBe('in')
  expect(server.tokens).toEqual(['Bearer token-1', 'Bearer token-2'])
  await using closed = await startServer([refuse(401)], { text })
  await expect(get(closed)).rejects.toMatchObject({ status: 401 })
  expect(closed.seen).toHaveLength(2)
})

test('a kept connection that the server closed: reading is done again, making is not', async () => {
  // The second request on a connection is dropped unanswered.
  const answered = new WeakSet<object>()
  const onePerConnection: Answer = (request, response, url) => {
    if (answered.has(request.socket)) return void request.socket.destroy()
    answered.add(request.socket)
    return json(1)(request, response, url)
  }
  await using server = await startServer([onePerConnection])
  expect(await get(server)).toBe(1)
  expect(await get(server)).toBe(1)
  expect(server.seen).toHaveLength(3)
  await expect(create(server)).rejects.toMatchObject({ code: 'ECONNRESET', sent: true })
  expect(server.seen).toHaveLength(4)
})

test('429 holds whoever asks next; one that would be held for too long hears when to come again', async () => {
  await using server = await startServer([refuse(429, { retryAfter: 60 }), json(1)])
  await expect(get(server)).rejects.toMatchObject({ status: 429, retryAfterMs: 60_000 })
  const failure = await get(server).catch((error: unknown) => error)
  expect(failure).toMatchObject({ status: 429, sent: false })
  expect((failure as ApiFailure).retryAfterMs).toBeGreaterThan(50_000)
  expect(server.seen).toHaveLength(1)
})

test('a list is read page by page, and from its begin again when a page was forgotten', async () => {
  const page = (names: string[], next?: string): Answer =>
    json({ metadata: { resourceVersion: '7', ...(next === undefined ? {} : { continue: next }) }, items: names })
  await using server = await startServer([
    page(['a'], 'one'),
    refuse(410, { reason: 'Expired' }),
    page(['b'], 'two'),
    page(['c']),
  ])
  const list = await server.requests.all(calls.listPods, { namespace: 'n' }, { signal: never })
  expect(list.items).toEqual(['b', 'c'])
  expect(server.seen.map((one) => one.split('?')[1])).toEqual([
    'limit=500',
    'limit=500&continue=one',
    'limit=500',
    'limit=500&continue=two',
  ])
})

test('pages that are always forgotten: in the end everything at once', async () => {
  const first = json({ metadata: { resourceVersion: '7', continue: 'one' }, items: ['a'] })
  const gone = refuse(410)
  await using server = await startServer([
    first,
    gone,
    first,
    gone,
    json({ metadata: { resourceVersion: '8' }, items: ['a', 'b'] }),
  ])
  const list = await server.requests.all(calls.listPods, {}, { signal: never })
  expect(list.items).toEqual(['a', 'b'])
  expect(server.seen.at(-1)).toBe('GET /api/v1/pods')
})

test('a page that is too large is asked for again in smaller ones, once', async () => {
  const names = Array.from({ length: 150 }, (_, at) => `${at}`.padStart(1000, '-'))
  const page: Answer = (request, response, url) => {
    const [from, limit] = [Number(url.searchParams.get('continue') ?? '0'), Number(url.searchParams.get('limit'))]
    const next = from + limit < names.length ? { continue: String(from + limit) } : {}
    json({ metadata: { resourceVersion: '7', ...next }, items: names.slice(from, from + limit) })(request, response, url)
  }
  await using server = await startServer([page], { pageBytes: 110_000 })
  const list = await server.requests.all<string>(calls.listPods, {}, { signal: never, pick: (name) => name.replaceAll('-', '') })
  expect(list.items).toEqual(names.map((name) => name.replaceAll('-', '')))
  expect(server.seen.map((one) => one.split('?')[1])).toEqual(['limit=500', 'limit=100', 'limit=100&continue=100'])
  await server.requests.page(calls.listPods, {}, { signal: never, query: { limit: 400 } })
  expect(server.seen.at(-1)).toContain('limit=100')
  // What does not go into a page of its own is told.
  await using small = await startServer([page], { pageBytes: 10 })
  await expect(small.requests.all(calls.listPods, {}, { signal: never })).rejects.toMatchObject({ code: 'TOO_LARGE' })
})

test('what is no list is no empty list', async () => {
  await using server = await startServer([json({ metadata: {} })])
  await expect(server.requests.all(calls.listPods, {}, { signal: never })).rejects.toMatchObject({ code: 'BAD_ANSWER' })
})

test('the way leads through the proxy of the kubeconfig', async () => {
  const through: string[] = []
  const proxy = createServer((request, response) => {
    through.push(request.url ?? '')
    response.end('"by proxy"')
  }).listen(0, '127.0.0.1')
  await once(proxy, 'listening')
  const address = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`
  try {
    await using server = await startServer([json('direct')], {
      text: async (url) => kubeconfig(url, {}, { 'proxy-url': address }),
    })
    expect(await get(server)).toBe('by proxy')
    expect(through).toEqual([`${server.url}/api/v1/namespaces/n/pods/p`])
  } finally {
    proxy.close()
    proxy.closeAllConnections()
  }
})

test('names are escaped, and an object of a namespace needs one', () => {
  expect(pathOf(calls.readLog, { namespace: 'a/b', name: '../c' })).toBe('/api/v1/namespaces/a%2Fb/pods/..%2Fc/log')
  expect(() => pathOf(calls.getPod, { name: 'p' })).toThrow('namespace')
})

test('the rights are those of the calls, each once', () => {
  const rights = rightsOf().map(({ group, resource, verb }) => `${group} ${resource} ${verb}`)
  expect(new Set(rights).size).toBe(rights.length)
  expect(rights).toContain(' pods/exec create')
  expect(rights).toContain(' pods/log get')
  expect(rights.some((right) => right.includes('selfsubjectaccessreviews'))).toBe(false)
})
