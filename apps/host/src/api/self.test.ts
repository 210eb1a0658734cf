/** `/v1/self`: tickets, sessions and what they open, over HTTP. */
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { waitFor } from '@muster/test/systems/wait'
import { expect, test } from 'vitest'
import { type Answer, type AskOptions, startTestDaemon, type TestDaemon } from './testing/daemon.ts'

interface Agent {
  worker: string
  session: string
  ask(method: string, path: string, options?: AskOptions): Promise<Answer>
}

const open = (): Promise<TestDaemon> => startTestDaemon({ realRuns: true, agents: true })

/** Exchanges the ticket of one worker. */
async function enter(daemon: TestDaemon, worker?: string): Promise<Agent> {
  const id = worker ?? [...daemon.tickets().keys()][0] ?? ''
  const made = await daemon.ask('POST', '/v1/self/ready', { token: daemon.tickets().get(id) ?? '' })
  expect(made.status).toBe(200)
  expect(made.json).toMatchObject({ worker: id, heartbeatMs: 15_000 })
  expect(made.headers['cache-control']).toBe('no-store')
  const session = made.json['session'] as string
  return { worker: id, session, ask: (method, path, options) => daemon.ask(method, path, { token: session, ...options }) }
}

async function makeRun(daemon: TestDaemon, more: object = {}): Promise<string> {
  const made = await daemon.ask('POST', '/v1/runs', { body: { pool: 'agents', command: ['make', "it's"], ...more } })
  expect(made.status).toBe(201)
  return made.json['id'] as string
}

const tar = { 'content-type': 'application/x-tar' }
const octets = { 'content-type': 'application/octet-stream' }

test('from the ticket to the exit code, as an agent does it', async () => {
  await using daemon = await open()
  const agent = await enter(daemon)
  expect((await agent.ask('GET', '/v1/self/next?timeoutMs=1')).json).toEqual({})
  const soon = agent.ask('GET', '/v1/self/next')
  const id = await makeRun(daemon, {
    env: { SECRET: 'for-the-command' },
    inputs: [{ name: 'in', path: '.' }],
    outputs: [{ name: 'out', path: 'dist' }],
  })
  await daemon.ask('PUT', `/v1/runs/${id}/inputs/in`, { body: Buffer.from('a tar'), headers: tar })
  const order = await soon
  expect(order.json).toMatchObject({ order: { run: id, command: ['make', "it's"], env: { SECRET: 'for-the-command' } } })
  const script = await agent.ask('GET', '/v1/self/next', { headers: { accept: 'application/x-sh' } })
  expect(script.headers['content-type']).toContain('application/x-sh')
  expect(script.text).toContain("muster_command 'make' 'it'\\''s'\n")
  expect((await agent.ask('GET', '/v1/self/next', { headers: { accept: 'image/png' } })).status).toBe(406)
  const input = await agent.ask('GET', `/v1/self/inputs/in?run=${id}`)
  expect([input.text, input.headers['content-length']]).toEqual(['a tar', '5'])
  const log = (offset: number, body: string): Promise<Answer> =>
    agent.ask('POST', `/v1/self/logs?run=${id}&offset=${offset}`, { body: Buffer.from(body), headers: octets })
  expect((await log(0, 'hello')).json).toEqual({ offset: 5 })
  expect((await log(0, 'hello')).json).toEqual({ offset: 5 })
  const gap = await log(9, 'x')
  expect([gap.status, gap.json['code'], gap.json['at']]).toEqual([409, 'gap', 5])
  expect((await agent.ask('POST', `/v1/self/heartbeat?run=${id}`)).json).toEqual({ wants: 'nothing' })
  const wrong = { ...tar, 'muster-sha256': '0'.repeat(64) }
  const put = (headers: Record<string, string>): Promise<Answer> =>
    agent.ask('PUT', `/v1/self/outputs/out?run=${id}`, { body: Buffer.from('made'), headers })
  expect((await put(wrong)).json['code']).toBe('digest-mismatch')
  expect((await put(octets)).status).toBe(415)
  expect((await put(tar)).json).toMatchObject({ state: 'stored', bytes: 4 })
  expect((await agent.ask('POST', '/v1/self/done', { body: { run: id, code: 1, signal: 'SIGKILL' } })).status).toBe(400)
  const done = { run: id, code: 7 }
  expect((await agent.ask('POST', '/v1/self/done', { body: done })).json).toEqual({ run: id, outcome: 'failed' })
  const run = (await daemon.ask('GET', `/v1/runs/${id}/wait?timeoutMs=5000`)).json
  expect(run).toMatchObject({ state: 'ended', outcome: 'failed', exit: { code: 7 }, worker: agent.worker })
  expect((await daemon.ask('GET', `/v1/runs/${id}/outputs/out`)).text).toBe('made')
})

test('a cancel is told to a heartbeat that waits', async () => {
  await using daemon = await open()
  const agent = await enter(daemon)
  const id = await makeRun(daemon)
  await agent.ask('GET', '/v1/self/next')
  const waiting = agent.ask('POST', `/v1/self/heartbeat?run=${id}&timeoutMs=60000`)
  await daemon.ask('POST', `/v1/runs/${id}/cancel`, { body: { reason: 'no need' } })
  expect((await waiting).json).toEqual({ wants: 'stop', reason: 'no need' })
  const again = await agent.ask('POST', `/v1/self/heartbeat?run=${id}&knows=stop&timeoutMs=1`)
  expect(again.json).toEqual({ wants: 'stop' })
  const done = await agent.ask('POST', '/v1/self/done', { body: { run: id, signal: 'SIGTERM' } })
  expect(done.json).toEqual({ run: id, outcome: 'cancelled' })
})

test('a ticket is good once; the second try is refused, and a decision of the worker names it', async () => {
  await using daemon = await open()
  const { worker, session } = await enter(daemon)
  const again = await daemon.ask('POST', '/v1/self/ready', { token: daemon.tickets().get(worker) ?? '' })
  expect([again.status, again.json['code'], again.json['hint']]).toEqual([409, 'ticket-used', expect.any(String)])
  const why = await daemon.ask('GET', `/v1/why/worker/${worker}`)
  expect(why.text).toContain('ticket-replayed')
  // The one that was first goes on.
  expect((await daemon.ask('POST', '/v1/self/heartbeat', { token: session })).status).toBe(200)
})

test('wrong tickets of others at its address keep no agent from starting; replays are counted', async () => {
  await using daemon = await open()
  const [used, fresh] = [...daemon.tickets().keys()]
  const ready = (token: string): Promise<Answer> => daemon.ask('POST', '/v1/self/ready', { token })
  await enter(daemon, used)
  const replay = daemon.tickets().get(used ?? '') ?? ''
  let tries = 0
  for (let last = 0; last !== 429; tries++) last = (await ready(tries % 2 === 0 ? replay : 'wrong')).status
  expect(tries).toBeGreaterThan(90)
  expect((await ready(replay)).status).toBe(429)
  await enter(daemon, fresh)
})

test('nobody but its own agent has the session of a worker; and that opens nothing else', async () => {
  await using daemon = await open()
  const [one, two] = [...daemon.tickets().keys()]
  const [a, b] = [await enter(daemon, one), await enter(daemon, two)]
  const [first, second] = [await makeRun(daemon), await makeRun(daemon)]
  const runOf = async (agent: Agent): Promise<string> =>
    ((await agent.ask('GET', '/v1/self/next')).json['order'] as { run: string }).run
  const mine = await runOf(a)
  const other = mine === first ? second : first
  const foreign: [string, string, AskOptions][] = [
    ['GET', `/v1/self/inputs/in?run=${other}`, {}],
    ['PUT', `/v1/self/outputs/out?run=${other}`, { body: Buffer.from('x'), headers: tar }],
    ['POST', `/v1/self/logs?run=${other}&offset=0`, { body: Buffer.from('x'), headers: octets }],
    ['POST', `/v1/self/heartbeat?run=${other}`, {}],
    ['POST', '/v1/self/done', { body: { run: other, code: 0 } }],
  ]
  for (const [method, path, options] of foreign) expect([path, (await a.ask(method, path, options)).status]).toEqual([path, 404])
  expect(await runOf(b)).toBe(other)
  const wrong = [daemon.token, null, 'x', a.session.replace(a.worker, b.worker), daemon.tickets().get(a.worker) ?? '']
  for (const token of wrong) expect((await daemon.ask('GET', '/v1/self/next', { token })).status).toBe(401)
  for (const token of [daemon.token, null, a.session, `${daemon.tickets().get(a.worker)?.slice(0, -3)}AAA`])
    expect((await daemon.ask('POST', '/v1/self/ready', { token })).status).toBe(401)
  for (const path of ['/v1/pools', `/v1/runs/${mine}`, '/v1/tokens'])
    for (const token of [a.session, daemon.tickets().get(a.worker) ?? ''])
      expect((await daemon.ask('GET', path, { token })).status).toBe(401)
})

test('with the end of the run the session is over, and with its worker it is nobody’s', async () => {
  await using daemon = await open()
  const agent = await enter(daemon)
  const ticket = daemon.tickets().get(agent.worker) ?? ''
  const id = await makeRun(daemon)
  await agent.ask('GET', '/v1/self/next')
  await agent.ask('POST', '/v1/self/done', { body: { run: id, code: 0 } })
  await daemon.ask('GET', `/v1/runs/${id}/wait?timeoutMs=5000`)
  await waitFor('the worker to be gone', () => daemon.harness.engine.workers.get(agent.worker) === undefined)
  for (const [method, path] of [
    ['GET', '/v1/self/next'],
    ['POST', '/v1/self/heartbeat'],
  ] as const)
    expect((await agent.ask(method, path)).status).toBe(401)
  expect((await daemon.ask('POST', '/v1/self/ready', { token: ticket })).status).toBe(401)
})

test('who guesses is told to wait; an agent at the same address that is right goes on', async () => {
  await using daemon = await startTestDaemon({ agents: true, limits: { failures: { burst: 3, perSecond: 0.001 } } })
  const { ask } = await enter(daemon)
  const guess = (): Promise<Answer> => daemon.ask('POST', '/v1/self/ready', { token: `mtk_w${'0'.repeat(26)}_${'x'.repeat(43)}` })
  expect([(await guess()).status, (await guess()).status, (await guess()).status, (await guess()).status]).toEqual([
    401, 401, 401, 429,
  ])
  expect((await ask('POST', '/v1/self/heartbeat')).status).toBe(200)
})

test('an agent that asks too often is told to wait, and has been heard of', async () => {
  const workers = { burst: 3, perSecond: 0.001, inFlight: 16 }
  await using daemon = await startTestDaemon({ agents: true, limits: { workers } })
  const [one, two] = [...daemon.tickets().keys()]
  const [greedy, other] = [await enter(daemon, one), await enter(daemon, two)]
  const beat = async (agent: Agent): Promise<number> => (await agent.ask('POST', '/v1/self/heartbeat')).status
  expect([await beat(greedy), await beat(greedy), await beat(greedy)]).toEqual([200, 200, 200])
  for (let beats = 0; beats < 2; beats++) {
    await daemon.harness.pass(100_000)
    expect([await beat(greedy), await beat(other)]).toEqual([429, 200])
  }
  expect(daemon.harness.engine.workers.get(greedy.worker)?.phase).toBe('idle')
})

test('an agent that finds the doors full has been heard of: its work goes on', async () => {
  await using daemon = await startTestDaemon({ realRuns: true, agents: true, openFiles: 40 })
  const agent = await enter(daemon)
  const { port } = new URL(daemon.api.url)
  const others: Socket[] = []
  for (let count = 0; count < 11; count++) {
    const socket = connect(Number(port), '127.0.0.1')
    others.push(socket)
    await once(socket, 'connect')
  }
  const beat = (token: string): Promise<Answer> => daemon.ask('POST', '/v1/self/heartbeat', { token })
  for (let beats = 0; beats < 3; beats++) {
    await daemon.harness.pass(100_000)
    for (const token of [agent.session, 'nobody'])
      expect((await beat(token)).json).toMatchObject({
        code: 'rate-limited',
        detail: 'as many connections are open from this address as may be',
      })
  }
  for (const socket of others) socket.destroy()
  await waitFor('the others to be gone', async () => (await beat(agent.session)).status !== 429)
  expect((await beat(agent.session)).json).toEqual({ wants: 'nothing' })
})

test('neither ticket nor session is in the log, the store or an answer', async () => {
  await using daemon = await open()
  const agent = await enter(daemon)
  const id = await makeRun(daemon)
  await agent.ask('GET', '/v1/self/next')
  await daemon.ask('POST', '/v1/self/ready', { token: daemon.tickets().get(agent.worker) ?? '' })
  const secrets = [...daemon.tickets().values(), agent.session].map((text) => text.slice(-43))
  const answers = await Promise.all(
    [`/v1/workers/${agent.worker}`, '/v1/workers', `/v1/runs/${id}`, `/v1/why/worker/${agent.worker}`, '/v1/leases'].map(
      async (path) => (await daemon.ask('GET', path)).text,
    ),
  )
  // The store's own files too, its write-ahead log with them.
  const files = readdirSync(daemon.harness.dir).map((name) => readFileSync(join(daemon.harness.dir, name)))
  for (const secret of secrets) {
    expect(answers.join()).not.toContain(secret)
    expect(JSON.stringify(daemon.log)).not.toContain(secret)
    for (const form of [secret, Buffer.from(secret, 'base64url').toString('hex')])
      expect(files.some((bytes) => bytes.includes(form) || bytes.includes(Buffer.from(secret, 'base64url')))).toBe(false)
  }
})
