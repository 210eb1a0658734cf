import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { tempFolder, type TempFolder } from '@muster/test/systems/temp'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { compareVersions, createEngine, type Engine, smaller, spanName } from './client.ts'
import type { EngineFailure } from './errors.ts'
import { callOf } from './testing/harness.test.helper.ts'
import { dockerProvider } from './provider.ts'

type Answer = (request: IncomingMessage, reply: ServerResponse) => void | Promise<void>

let folder: TempFolder
let server: Server
let socketPath: string
let engine: Engine
let asked: string[] = []
let version: object = {}
let answer: Answer = (_request, reply) => void reply.end('{}')

beforeEach(async () => {
  folder = await tempFolder('client')
  socketPath = join(folder.path, 'engine.sock')
  asked = []
  version = { ApiVersion: '1.41', MinAPIVersion: '1.12', Version: '20.10.24' }
  answer = (_request, reply) => void reply.end('{}')
  server = createServer((request, reply) => {
    asked.push(`${request.method} ${request.url}`)
    if (request.url === '/version') reply.end(JSON.stringify(version))
    else void answer(request, reply)
  })
  await new Promise<void>((resolve) => server.listen(socketPath, resolve))
  engine = createEngine({ socketPath })
})

afterEach(async () => {
  engine.close()
  server.closeAllConnections()
  server.close()
  await folder.remove()
})

const signal = new AbortController().signal
const get = (path: string, query?: Record<string, unknown>) => ({
  method: 'GET' as const,
  path,
  signal,
  ...(query === undefined ? {} : { query }),
})
const fails = (work: Promise<unknown>): Promise<EngineFailure> =>
  work.then(
    () => expect.unreachable(),
    (error: EngineFailure) => error,
  )

test('a request carries the trace of the call that it serves, that of a stream too', async () => {
  const traceparent = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`
  const seen: [string | undefined, unknown][] = []
  answer = (request, reply) => {
    seen.push([request.url?.split('?')[0], request.headers['traceparent']])
    reply.end(request.url?.includes('/events') === true ? '' : '{}')
  }
  const provider = dockerProvider({
    endpoint: { socketPath },
    context: { owner: 'o', provider: 'docker', now: () => Date.now() },
    fields: [],
  })
  const call = { ...callOf(), trace: { traceparent } }
  await provider.probe(call)
  const tags = { 'muster-owner': 'o', 'muster-provider': 'docker' }
  const watching = provider.watch?.({ tags, limit: 1 }, call)[Symbol.asyncIterator]()
  void watching?.next().catch(() => undefined)
  await expect.poll(() => seen.some(([path]) => path?.endsWith('/events'))).toBe(true)
  await watching?.return?.().catch(() => undefined)
  expect(seen.length).toBeGreaterThan(1)
  expect(seen.filter(([, header]) => header !== traceparent)).toEqual([])
  // Outside of any call there is none.
  await engine.json(get('/info'))
  expect(seen.at(-1)).toEqual(['/v1.41/info', undefined])
})

describe('the version', () => {
  test.each([
    ['1.41', '1.41'],
    ['1.47', '1.47'],
    ['1.52', '1.47'],
    ['1.9', '1.9'],
  ])('of an engine that speaks up to %s is %s, asked for once', async (theirs, agreed) => {
    version = { ApiVersion: theirs }
    await Promise.all([engine.json(get('/info')), engine.json(get('/info')), engine.json(get('/info'))])
    expect(asked.toSorted()).toEqual(
      [`GET /v${agreed}/info`, `GET /v${agreed}/info`, `GET /v${agreed}/info`, 'GET /version'].toSorted(),
    )
  })

  test('is agreed on again after the engine was away or another one is there', async () => {
    await engine.json(get('/info'))
    version = { ApiVersion: '1.44' }
    answer = (request, reply) => {
      if (request.url?.startsWith('/v1.44') === true) return void reply.end('{}')
      reply.writeHead(400).end('{"message":"client version 1.41 is too old. Minimum supported API version is 1.44"}')
    }
    expect((await fails(engine.json(get('/info')))).status).toBe(400)
    expect(await engine.json(get('/info'))).toEqual({})
    expect(asked.at(-1)).toBe('GET /v1.44/info')
    answer = (request) => void request.socket.destroy()
    await fails(engine.json({ ...get('/info'), method: 'POST' }))
    answer = (_request, reply) => void reply.end('{}')
    await engine.json(get('/info'))
    expect(asked.filter((line) => line === 'GET /version')).toHaveLength(3)
  })

  test('is agreed on again after the engine has ended what was idle, and what it is capable of is asked anew', async () => {
    const provider = dockerProvider({
      endpoint: { socketPath },
      context: { owner: 'o', provider: 'docker', now: () => Date.now() },
      fields: [],
      engine,
    })
    let cpus = 2
    answer = (request, reply) => {
      const list = request.url?.includes('/containers/json') === true
      reply.end(JSON.stringify(list ? [] : { OSType: 'linux', NCPU: cpus, MemTotal: 1, Driver: 'd' }))
    }
    const seen = async (): Promise<number | undefined> => (await provider.headroom(callOf())).cpu?.total
    expect([await seen(), await seen()]).toEqual([2, 2])
    expect(asked.filter((line) => line.endsWith('/info'))).toHaveLength(1)
    // Another engine comes to the same place while nobody asks for anything.
    cpus = 4
    version = { ApiVersion: '1.41', Version: '25' }
    server.closeIdleConnections()
    await expect.poll(async () => (await engine.agreed(signal)).theirs.Version).toBe('25')
    expect(await seen()).toBe(4)
    // Or while somebody listens to its events: they end.
    cpus = 8
    const plain = answer
    let end: (() => void) | undefined
    answer = (request, reply) => {
      if (request.url?.includes('/events') !== true) return plain(request, reply)
      reply.writeHead(200).flushHeaders()
      end = () => void request.socket.destroy()
    }
    const tags = { 'muster-owner': 'o', 'muster-provider': 'docker' }
    const watching = fails(provider.watch({ tags, limit: 1 }, callOf())[Symbol.asyncIterator]().next())
    await expect.poll(() => end).toBeDefined()
    end?.()
    expect(await watching).toMatchObject({ code: 'transient' })
    expect(await seen()).toBe(8)
  })

  test('is compared as numbers', () => {
    expect(compareVersions('1.9', '1.41')).toBeLessThan(0)
    expect(compareVersions('2.0', '1.99')).toBeGreaterThan(0)
    expect(smaller('1.9', '1.41')).toBe('1.9')
  })
})

test('the environment does not choose the engine', async () => {
  process.env['DOCKER_HOST'] = 'tcp://192.0.2.1:1'
  try {
    expect(await engine.json(get('/info'))).toEqual({})
  } finally {
    delete process.env['DOCKER_HOST']
  }
})

test('over TCP on loopback too', async () => {
  const tcp = createServer(
    (request, reply) => void reply.end(request.url === '/version' ? '{"ApiVersion":"1.41"}' : `{"url":"${request.url}"}`),
  )
  await new Promise<void>((resolve) => tcp.listen(0, '127.0.0.1', resolve))
  const other = createEngine({ host: '127.0.0.1', port: (tcp.address() as AddressInfo).port })
  expect(await other.json(get('/info'))).toEqual({ url: '/v1.41/info' })
  other.close()
  tcp.closeAllConnections()
  tcp.close()
})

test('queries, bodies and uploads as the engine wants them', async () => {
  let seen: { type?: string | undefined; body: string } = { body: '' }
  answer = async (request, reply) => {
    const body = Buffer.concat(await request.toArray()).toString()
    seen = { type: request.headers['content-type'], body }
    reply.writeHead(204).end()
  }
  await engine.json({
    ...get('/a', { all: true, filters: { label: ['x=y'] }, none: undefined, many: ['1', '2'] }),
    method: 'POST',
    body: { a: 1 },
  })
  expect(asked.at(-1)).toBe(`POST /v1.41/a?all=true&filters=${encodeURIComponent('{"label":["x=y"]}')}&many=1&many=2`)
  expect(seen).toEqual({ type: 'application/json', body: '{"a":1}' })
  await engine.json({ method: 'POST', path: '/b', signal })
  expect(asked.at(-1)).toBe('POST /v1.41/b')
  expect(seen.body).toBe('')
  await engine.json({ method: 'PUT', path: '/c', query: { path: '/x y' }, upload: Readable.from([Buffer.from('tar')]), signal })
  expect(asked.at(-1)).toBe('PUT /v1.41/c?path=%2Fx%20y')
  expect(seen).toEqual({ type: 'application/tar', body: 'tar' })
})

test('what only reads is asked once more when the engine hangs up before it answers; nothing else is', async () => {
  let left = 1
  answer = (request, reply) => (left-- > 0 ? void request.socket.destroy() : void reply.end('{"well":true}'))
  expect(await engine.json(get('/x'))).toEqual({ well: true })
  left = 1
  expect(await fails(engine.json({ ...get('/x'), method: 'POST' }))).toMatchObject({ code: 'ECONNRESET' })
  left = 3
  expect(await fails(engine.json(get('/x')))).toMatchObject({ code: 'ECONNRESET' })
})

test('what begins on a kept connection is not lost with one that the engine leaves after an upload, unannounced', async () => {
  const left = new WeakSet<object>()
  const answers: Answer = (request, reply) => {
    if (left.has(request.socket)) return void request.socket.destroy()
    if (request.method === 'PUT') left.add(request.socket)
    reply.end('{}')
  }
  answer = answers
  server.on('upgrade', ({ socket }: IncomingMessage) => {
    if (left.has(socket)) socket.destroy()
    else socket.end('HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n')
  })
  await engine.json({ ...get('/x'), method: 'PUT', upload: Readable.from([Buffer.from('tar')]) })
  expect(await engine.json({ ...get('/x'), method: 'POST' })).toEqual({})
  await engine.json({ ...get('/x'), method: 'PUT', upload: Readable.from([Buffer.from('tar')]) })
  const raw = await engine.hijack({ method: 'POST', path: '/exec/x/start', body: { Tty: false }, signal })
  raw.destroy()
  server.removeAllListeners('upgrade')
})

describe('a failure', () => {
  test('has the status and the words of the engine', async () => {
    answer = (_request, reply) => void reply.writeHead(409).end('{"message":"Container x is not running"}')
    expect(await fails(engine.json(get('/x')))).toMatchObject({ status: 409, message: 'Container x is not running', sent: true })
    answer = (_request, reply) => void reply.writeHead(500).end('plain words')
    expect(await fails(engine.stream(get('/x')))).toMatchObject({ status: 500, message: 'plain words' })
    answer = (_request, reply) => void reply.writeHead(304).end()
    expect(await fails(engine.json(get('/x')))).toMatchObject({ status: 304 })
    expect(await fails(engine.stream({ ...get('/x'), method: 'HEAD' }))).toMatchObject({ status: 304 })
  })

  test('without a connection has sent nothing', async () => {
    const nobody = createEngine({ socketPath: join(folder.path, 'nobody.sock') })
    expect(await fails(nobody.json(get('/x')))).toMatchObject({ code: 'ENOENT', sent: false, status: undefined })
    await engine.json(get('/x'))
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
    const failure = await fails(engine.json({ ...get('/x'), method: 'POST' }))
    expect(['ENOENT', 'ECONNREFUSED', 'ECONNRESET', 'EPIPE']).toContain(failure.code)
  })

  test.each<[string, Answer]>([
    ['before the answer', (request) => void request.socket.destroy()],
    [
      'in the middle of the answer',
      (_request, reply) =>
        void (
          reply.writeHead(200, { 'content-length': 100 }),
          reply.write('{"half":'),
          setImmediate(() => reply.socket?.destroy())
        ),
    ],
    [
      'in the middle of a refusal',
      (_request, reply) =>
        void (
          reply.writeHead(500, { 'content-length': 100 }),
          reply.write('{"half":'),
          setImmediate(() => reply.socket?.destroy())
        ),
    ],
  ])('of a connection that breaks %s settles, with an effect possible', async (_name, breaks) => {
    await engine.json(get('/x'))
    answer = breaks
    expect(await fails(engine.json({ ...get('/x'), method: 'POST' }))).toMatchObject({ name: 'EngineFailure', sent: true })
  })

  test('of an answer that is not JSON', async () => {
    answer = (_request, reply) => void reply.end('<html>')
    expect(await fails(engine.json(get('/x')))).toMatchObject({ status: 200, message: 'the answer is not JSON' })
  })

  test("of an upload's source comes through", async () => {
    answer = () => {}
    const upload = Readable.from(
      (async function* () {
        yield Buffer.from('x')
        throw new Error('the disk is gone')
      })(),
    )
    expect((await fails(engine.json({ ...get('/x'), method: 'PUT', upload }))).message).toBe('the disk is gone')
  })
})

describe('a redirect is never followed, whatever place it names', () => {
  test.each(['/elsewhere', 'http://127.0.0.1:1/elsewhere', 'ftp://127.0.0.1/', 'http://[', ''])('%j', async (location) => {
    answer = (_request, reply) => void reply.writeHead(301, { location }).end('{"message":"moved"}')
    for (const ask of [engine.json, engine.stream, engine.hijack])
      expect(await fails(ask(get('/images/a//b/json')))).toMatchObject({ status: 301, message: 'moved' })
    expect(new Set(asked)).toEqual(new Set(['GET /version', 'GET /v1.41/images/a//b/json']))
  })
})

describe('an abort', () => {
  test('ends a request that nobody answers, and one whose answer stands still', async () => {
    for (const silent of [() => {}, (_request, reply) => void (reply.writeHead(200), reply.write('{'))] as Answer[]) {
      answer = silent
      expect(await fails(engine.json({ ...get('/x'), signal: AbortSignal.timeout(50) }))).toMatchObject({
        name: expect.stringMatching(/AbortError|TimeoutError|EngineFailure/) as string,
      })
    }
    expect(await fails(engine.json({ ...get('/x'), signal: AbortSignal.abort() }))).toMatchObject({ name: 'AbortError' })
  })

  test('of one who waits for the version does not end it for others', async () => {
    let release = (): void => {}
    server.removeAllListeners('request')
    server.on('request', (_request: IncomingMessage, reply: ServerResponse) => {
      release = () => void reply.end(JSON.stringify(version))
    })
    const hasty = fails(engine.agreed(AbortSignal.timeout(30)))
    const patient = engine.agreed(signal)
    expect(await hasty).toMatchObject({ name: 'TimeoutError' })
    release()
    expect(await patient).toMatchObject({ api: '1.41' })
  })
})

test('a raw connection goes both ways, and ends with the signal', async () => {
  server.on('upgrade', (_request: IncomingMessage, socket: Readable & NodeJS.WritableStream) => {
    socket.write('HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nhello ')
    socket.on('data', (data: Buffer) => socket.write(data))
  })
  const abort = new AbortController()
  const connection = await engine.hijack({ method: 'POST', path: '/exec/x/start', body: { Tty: false }, signal: abort.signal })
  connection.write('there')
  let text = ''
  connection.on('data', (data: Buffer) => {
    text += data.toString()
    if (text.includes('there')) abort.abort()
  })
  await once(connection, 'error')
  expect(text).toContain('hello ')
  expect(connection.destroyed).toBe(true)
  server.removeAllListeners('upgrade')
})

test.each([
  ['/v1.41/containers/json', '/containers/json'],
  ['/v1.41/containers/create', '/containers/create'],
  ['/v1.41/containers/w01secret/json', '/containers/{id}/json'],
  ['/v1.41/containers/w01secret', '/containers/{id}'],
  ['/v1.41/images/registry%2Fsecret%3A1/json', '/images/{id}/json'],
  ['/v1.41/exec/0123/start', '/exec/{id}/start'],
  ['/version', '/version'],
])('a request for %s is a span without names: %s', (path, shown) => {
  expect(spanName({ method: 'GET', path })).toBe(`engine GET ${shown}`)
})
