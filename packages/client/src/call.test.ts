import { expect, test } from 'vitest'
import { waitFor } from '@muster/test/systems/wait'
import { connect } from './client.ts'
import { MusterError } from './errors.ts'
import { bodyOf, json, problem, startServer } from './serve.test.helper.ts'
import { openTransport } from './transport.ts'

test('fills the path, the query and the body; sends the token', async () => {
  await using server = await startServer((request, response) => {
    json(response, request.url?.startsWith('/v1/runs/') === true ? { state: 'ended' } : { items: [] })
  })
  const client = connect({ url: server.url, token: 'mst_x' })
  await client.runs.get('a/b c')
  await client.runs.list({ label: ['a=1', 'b=2'], limit: 3 })
  await client.pools.list()
  await client.providers.list()
  await client.conditions()
  await client.tokens.list()
  await client.why('run', 'r1', 5)
  expect(server.asked).toEqual([
    'GET /v1/runs/a%2Fb%20c',
    'GET /v1/runs?label=a%3D1&label=b%3D2&limit=3',
    'GET /v1/pools',
    'GET /v1/providers',
    'GET /v1/conditions',
    'GET /v1/tokens',
    'GET /v1/why/run/r1?limit=5',
  ])
  expect(server.requests[0]?.headers.authorization).toBe('Bearer mst_x')
})

test('every call goes where its name says', async () => {
  await using server = await startServer(async (request, response) => {
    const text = (await bodyOf(request)).toString()
    if (request.method === 'DELETE') response.writeHead(204).end()
    else json(response, { id: 'x', state: 'ended', lease: { state: 'ended' }, body: text })
  })
  const client = connect({ url: server.url })
  await client.version()
  await client.pools.get('ci')
  await client.providers.get('one')
  await client.providers.orphans('one')
  await client.providers.reconcile('one', { reclaimOrphans: true })
  await client.leases.create({ pool: 'ci' })
  await client.leases.get('l1')
  await client.leases.list()
  await client.leases.wait('l1')
  await client.leases.renew('l1', 5)
  await client.leases.release('l1', { force: true })
  await client.runs.wait('r1', { until: 'running' })
  await client.runs.cancel('r1', { force: true })
  await client.runs.logState('r1')
  await client.workers.get('w1')
  await client.workers.list({ pool: 'ci' })
  await client.workers.terminate('w1')
  await client.workers.exec('w1', { command: ['id'] })
  await client.tokens.create({ name: 'a', role: 'viewer' })
  expect(await client.tokens.revoke('t1')).toBeUndefined()
  expect(server.asked).toEqual([
    'GET /v1/version',
    'GET /v1/pools/ci',
    'GET /v1/providers/one',
    'GET /v1/providers/one/orphans',
    'POST /v1/providers/one/reconcile?reclaimOrphans=true',
    'POST /v1/leases',
    'GET /v1/leases/l1',
    'GET /v1/leases',
    'GET /v1/leases/l1/wait?until=active&timeoutMs=30000',
    'POST /v1/leases/l1/renew',
    'POST /v1/leases/l1/release',
    'GET /v1/runs/r1/wait?until=running&timeoutMs=30000',
    'POST /v1/runs/r1/cancel',
    'GET /v1/runs/r1/log',
    'GET /v1/workers/w1',
    'GET /v1/workers?pool=ci',
    'POST /v1/workers/w1/terminate',
    'POST /v1/workers/w1/exec',
    'POST /v1/tokens',
    'DELETE /v1/tokens/t1',
  ])
  client.close()
})

test('waits over as many polls as it takes', async () => {
  const states = ['queued', 'queued', 'running', 'ended']
  await using server = await startServer((_request, response) => json(response, { state: states.shift() }))
  expect(await connect({ url: server.url }).runs.wait('r1')).toEqual({ state: 'ended' })
  expect(server.asked).toHaveLength(4)
})

test('a problem becomes an error with its code, hint and reasons', async () => {
  await using server = await startServer((_request, response) => {
    response.writeHead(422, { 'content-type': 'application/problem+json' })
    response.end(
      JSON.stringify({
        code: 'refused',
        detail: 'no pool has it.',
        hint: 'Ask without image.',
        errors: [{ path: 'body.image', message: 'is wrong' }],
        nearest: { pool: 'ci', field: 'image', asked: 'x', has: 'y' },
      }),
    )
  })
  const error = await connect({ url: server.url })
    .runs.create({ pool: 'ci', command: ['true'] })
    .catch((thrown: unknown) => thrown)
  expect(error).toBeInstanceOf(MusterError)
  expect(error).toMatchObject({ code: 'refused', status: 422, hint: 'Ask without image.', problem: { nearest: { pool: 'ci' } } })
  expect((error as Error).message).toBe('no pool has it. body.image: is wrong')
})

test('an answer in other words is no daemon', async () => {
  await using server = await startServer((_request, response) => void response.writeHead(502).end('<html>'))
  const client = connect({ url: server.url })
  await expect(client.version()).rejects.toMatchObject({ code: 'protocol', status: 502 })
  server.handle((_request, response) => void response.writeHead(200).end('<html>'))
  await expect(client.version()).rejects.toMatchObject({ code: 'protocol' })
  server.handle((_request, response) => void response.writeHead(500).end('{"code":5}'))
  await expect(client.version()).rejects.toMatchObject({ code: 'protocol' })
})

test('without a daemon the first call fails at once, with what to do', async () => {
  const server = await startServer(() => undefined)
  await server.away()
  await expect(connect({ url: server.url }).version()).rejects.toMatchObject({
    code: 'unreachable',
    hint: expect.stringContaining('muster up'),
  })
  await expect(connect({ socket: '/nowhere/muster.sock' }).version()).rejects.toMatchObject({ code: 'unreachable' })
  expect(() => connect({ url: 'ftp://x' })).toThrow('no URL of a daemon')
})

test.each([
  'http://ann:se-cret@127.0.0.1:1',
  'http://se-cret@127.0.0.1:1',
  'http://127.0.0.1:1/?token=se-cret',
  'http://127.0.0.1:1/#se-cret',
  'mst_se-cret',
])('a secret in an address is refused, and said without it: %s', (url) => {
  const opened = (): unknown => connect({ url })
  expect(opened).toThrow(MusterError)
  expect(opened).not.toThrow('se-cret')
})

test.each(['muster\ntoken', 'muster\r\n', 'mus ter', 'müster'])('%j is no token, and that is said without it', (token) => {
  const opened = (): unknown => connect({ url: 'http://127.0.0.1:1', token })
  expect(opened).toThrow(MusterError)
  expect(opened).toThrow('the token holds')
  expect(opened).not.toThrow(token)
})

test('a call that is under way while the daemon restarts is made again, with the same key', async () => {
  await using server = await startServer((_request, response) => json(response, { items: [] }))
  const client = connect({ url: server.url })
  await client.pools.list()
  const keys: unknown[] = []
  server.handle(async (request) => {
    keys.push(request.headers['idempotency-key'])
    await server.away()
    server.handle((again, response) => {
      keys.push(again.headers['idempotency-key'])
      json(response, { id: 'r1' })
    })
    await server.back()
  })
  expect(await client.runs.create({ pool: 'ci', command: ['true'] })).toEqual({ id: 'r1' })
  expect(keys).toHaveLength(2)
  expect(keys[0]).toBe(keys[1])
  expect(String(keys[0])).toMatch(/^[0-9a-f-]{36}$/)
})

test('an answer that is cut off is asked for again', async () => {
  await using server = await startServer((_request, response) => {
    response.writeHead(200, { 'content-length': '100' })
    response.write('{"items":')
    response.destroy()
    server.handle((_again, answer) => json(answer, { items: [] }))
  })
  expect(await connect({ url: server.url }).pools.list()).toEqual([])
  expect(server.asked).toHaveLength(2)
})

test('a daemon that is stopping or busy is asked again; other problems are not', async () => {
  await using server = await startServer((_request, response) => {
    problem(response, 503, { code: 'stopping' })
    server.handle((_again, answer) => json(answer, { items: [] }))
  })
  const client = connect({ url: server.url })
  expect(await client.pools.list()).toEqual([])
  server.handle((_request, response) => problem(response, 507, { code: 'disk-full' }))
  const before = server.asked.length
  await expect(client.pools.list()).rejects.toMatchObject({ code: 'disk-full' })
  expect(server.asked).toHaveLength(before + 1)
})

test('who asked too much asks again when it was told to', async () => {
  await using server = await startServer((_request, response) => {
    response.setHeader('retry-after', '1')
    problem(response, 429, { code: 'rate-limited' })
    server.handle((_again, answer) => json(answer, { items: [] }))
  })
  const before = performance.now()
  expect(await connect({ url: server.url }).pools.list()).toEqual([])
  // Timers of Node may be a millisecond early.
  expect(performance.now() - before).toBeGreaterThan(990)
  expect(server.asked).toHaveLength(2)
})

test('why: as many pages as it takes, oldest first', async () => {
  await using server = await startServer((request, response) => {
    const older = request.url?.includes('before=9') === true
    json(response, older ? { items: [{ seq: 8 }] } : { items: [{ seq: 9 }], next: '9' })
  })
  expect(await connect({ url: server.url }).why('pool', 'ci', 700)).toEqual([{ seq: 8 }, { seq: 9 }])
  expect(server.asked).toEqual(['GET /v1/why/pool/ci?limit=500', 'GET /v1/why/pool/ci?limit=500&before=9'])
})

test('a story says that there is more of it, and that its beginning was dropped', async () => {
  const at = '2026-01-31T00:00:00.000Z'
  await using server = await startServer((_request, response) => {
    json(response, { items: [{ seq: 9 }], next: '9', droppedBefore: at })
  })
  const client = connect({ url: server.url })
  expect(await client.story('pool', 'ci', 1)).toEqual({ decisions: [{ seq: 9 }], earlier: true, droppedBefore: at })
  server.handle((_request, response) => json(response, { items: [{ seq: 9 }] }))
  expect(await client.story('pool', 'ci', 2)).toEqual({ decisions: [{ seq: 9 }], earlier: false })
})

test('tokens: all pages, and a key for each that is made', async () => {
  await using server = await startServer((request, response) => {
    const { url = '' } = request
    if (request.method === 'POST') json(response, { token: 'x', details: {} })
    else json(response, url.includes('before') ? { items: [{ id: 'a' }] } : { items: [{ id: 'b' }], next: 'b' })
  })
  const client = connect({ url: server.url })
  expect(await client.tokens.list()).toEqual([{ id: 'b' }, { id: 'a' }])
  await client.tokens.create({ name: 'a', role: 'viewer' })
  expect(server.requests.at(-1)?.headers['idempotency-key']).toMatch(/^[0-9a-f-]{36}$/)
})

test('patience ends', async () => {
  await using server = await startServer((_request, response) => json(response, { items: [] }))
  const client = connect({ url: server.url }, { patienceMs: 50 })
  await client.pools.list()
  await server.away()
  await expect(client.pools.list()).rejects.toMatchObject({ code: 'unreachable' })
  await server.back()
})

test('who applies or upgrades is told at once, and once, that the connection ended in the middle; the call goes on', async () => {
  let tries = 0
  await using server = await startServer((_request, response) => {
    if (++tries % 3 === 0) json(response, { applied: true, changes: [] })
    else response.destroy()
  })
  const client = connect({ url: server.url })
  const told: [code: string, message: string, tries: number][] = []
  const onCut = ({ code, message }: MusterError): void => void told.push([code, message, tries])
  expect(await client.apply({}, { onCut })).toEqual({ applied: true, changes: [] })
  await client.plugins.upgrade('cloud', {}, { onCut })
  const message = `the connection to ${server.url} ended before the answer: socket hang up`
  expect(told).toEqual([
    ['unreachable', message, 1],
    ['unreachable', message, 4],
  ])
})

test('so is who is answered in half', async () => {
  let tries = 0
  await using server = await startServer((_request, response) => {
    if (++tries === 2) return json(response, { applied: true, changes: [] })
    response.writeHead(200, { 'content-length': '100' })
    response.write('{', () => response.destroy())
  })
  const told: number[] = []
  expect(await connect({ url: server.url }).apply({}, { onCut: () => told.push(tries) })).toEqual({ applied: true, changes: [] })
  expect(told).toEqual([1])
})

test('where nobody has ever listened there was no connection that could end', async () => {
  await using server = await startServer(() => undefined)
  await server.away()
  const told: unknown[] = []
  const asked = connect({ url: server.url }).apply({}, { onCut: (error) => told.push(error) })
  await expect(asked).rejects.toMatchObject({ code: 'unreachable' })
  expect(told).toEqual([])
  await server.back()
})

test('a daemon that puts a call off for longer than a second is told of, once', async () => {
  const told: string[] = []
  let since = 0
  await using server = await startServer((_request, response) => {
    // Twice more after it was told.
    if (told.length === 0 || ++since <= 2) problem(response, 429, { code: 'rate-limited', detail: 'no room' })
    else json(response, { items: [] })
  })
  // paced: the second until it is told is under test.
  const client = connect({ url: server.url }, { onWait: ({ message }) => told.push(message) })
  const begun = performance.now()
  expect(await client.pools.list()).toEqual([])
  expect(told).toEqual(['no room'])
  expect(performance.now() - begun).toBeGreaterThan(1000)
})

test('a signal ends the call and the waiting between calls, with its reason', async () => {
  await using server = await startServer(() => undefined)
  const client = connect({ url: server.url })
  const reason = new Error('enough')
  const stop = new AbortController()
  const waiting = client.runs.wait('r1', { signal: stop.signal })
  await expect.poll(() => server.asked.length).toBe(1)
  stop.abort(reason)
  await expect(waiting).rejects.toBe(reason)
  await expect(client.runs.wait('r1', { signal: stop.signal })).rejects.toBe(reason)
  expect(server.asked).toHaveLength(1)
})

test('calls carry the trace context that the caller gives, and of a creation its own', async () => {
  await using server = await startServer((_request, response) => json(response, { items: [], id: 'r1' }))
  const context = (span: string): string => `00-${'a'.repeat(32)}-${span.repeat(16)}-01`
  let active: string | undefined
  const client = connect({ url: server.url }, { traceparent: () => active })
  await client.pools.list()
  active = context('b')
  await client.pools.list()
  await client.runs.create({ pool: 'ci', command: ['true'] })
  await client.runs.create({ pool: 'ci', command: ['true'] }, { traceparent: context('c') })
  expect(server.requests.map(({ headers }) => headers['traceparent'])).toEqual([
    undefined,
    context('b'),
    context('b'),
    context('c'),
  ])
})

test('a connection that is refused while bytes go there takes no more of them', async () => {
  await using server = await startServer((request, response) => {
    request.resume()
    problem(response, 404, { code: 'not-found', detail: 'nobody listens there' })
  })
  let over = false
  async function* endless(): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      for (;;) {
        yield Buffer.alloc(65_536)
        await new Promise((resolve) => setImmediate(resolve))
      }
    } finally {
      over = true
    }
  }
  const client = connect({ url: server.url })
  const refused = client.workers.forward('w1', { port: 80, input: endless() })
  await expect(refused).rejects.toMatchObject({ code: 'not-found', message: 'nobody listens there' })
  await waitFor('the sender to stop', async () => over)
})

test('a terminal that is cut off in the middle says so', async () => {
  await using server = await startServer((_, response) => {
    response.writeHead(200, { 'content-type': 'application/vnd.muster.terminal' })
    response.write(Buffer.from([1, 0, 0, 0, 1, 0x24]), () => response.destroy())
  })
  const client = connect({ url: server.url })
  async function* nothing(): AsyncGenerator<Uint8Array> {}
  const terminal = await client.workers.terminal('w1', { command: ['sh'], input: nothing(), rows: 24, columns: 80 })
  const all = (async () => {
    for await (const shown of terminal.output) expect(Buffer.from(shown).toString()).toBe('$')
  })()
  await expect(all).rejects.toMatchObject({
    code: 'unreachable',
    message: 'the connection to the terminal was cut off',
    hint: expect.stringContaining('revoked'),
  })
  client.close()
})

test('a terminal whose daemon takes the call and never answers is given up', async () => {
  await using server = await startServer(() => undefined)
  const transport = openTransport({ url: server.url })
  const asked = { method: 'POST', path: '/', silenceMs: 3_600_000, headMs: 20 }
  await expect(transport.send(asked)).rejects.toThrow('the server was silent for 20 ms')
  server.handle((_, response) => json(response, { answered: true }))
  expect((await transport.send({ ...asked, headMs: 60_000 })).statusCode).toBe(200)
  transport.close()
})
