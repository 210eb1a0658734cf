import { once } from 'node:events'
import { type ClientRequest, type IncomingMessage, request } from 'node:http'
import { text } from 'node:stream/consumers'
import { expect, test } from 'vitest'
import { type Answer, startTestDaemon, type TestDaemon } from './testing/daemon.ts'

/** A request that has sent its head, and of its body no more than this. */
function begin(
  daemon: TestDaemon,
  path: string,
  given: { method: string; type: string; part: string; token?: string },
): ClientRequest {
  const { token = daemon.token } = given
  const asked = request(`${daemon.api.url}${path}`, {
    method: given.method,
    headers: { authorization: `Bearer ${token}`, 'content-type': given.type },
    agent: false,
  })
  asked.write(given.part)
  return asked
}

async function answerTo(asked: ClientRequest): Promise<IncomingMessage> {
  const [answer] = (await once(asked, 'response')) as [IncomingMessage]
  return answer
}

test('a body that is held in memory must come in time; a stream may last', async () => {
  await using daemon = await startTestDaemon({ realRuns: true, limits: { bodyMs: 50 } })
  const run = { pool: 'ci', command: ['true'], inputs: [{ name: 'in', path: '.' }] }
  const made = await daemon.ask('POST', '/v1/runs', { body: run })
  const upload = begin(daemon, `/v1/runs/${made.json['id'] as string}/inputs/in`, {
    method: 'PUT',
    type: 'application/x-tar',
    part: 'a ',
  })
  for (const type of ['application/json', 'application/octet-stream']) {
    const slow = begin(daemon, '/v1/runs', { method: 'POST', type, part: '{"pool":' })
    const answer = await answerTo(slow)
    expect([answer.statusCode, answer.headers['retry-after'], answer.headers.connection]).toEqual([408, '1', 'close'])
    expect(JSON.parse(await text(answer))).toMatchObject({ code: 'too-slow' })
    slow.destroy()
  }
  upload.end('tar')
  const stored = await answerTo(upload)
  expect([stored.statusCode, JSON.parse(await text(stored))]).toMatchObject([200, { state: 'stored', bytes: 5 }])
  // What came in time is not looked at again, however long its answer takes.
  expect(daemon.log.filter((line) => Number(line['level']) >= 40)).toEqual([])
})

test('whoever goes in the middle of a body leaves nothing behind', async () => {
  await using daemon = await startTestDaemon({ limits: { bodyMs: 50 } })
  const gone = begin(daemon, '/v1/runs', { method: 'POST', type: 'application/json', part: '{' })
  gone.on('error', () => undefined)
  await once(gone, 'socket')
  gone.destroy()
  const slow = begin(daemon, '/v1/runs', { method: 'POST', type: 'application/json', part: '{' })
  expect((await answerTo(slow)).statusCode).toBe(408)
  slow.destroy()
  expect(daemon.log.filter((line) => Number(line['level']) >= 40)).toEqual([])
})

test('where there is nothing, no body is read', async () => {
  await using daemon = await startTestDaemon()
  for (const type of ['application/json', 'application/octet-stream', 'image/png']) {
    const asked = begin(daemon, '/v1/nothing', { method: 'POST', type, part: '{', token: 'x' })
    const answer = await answerTo(asked)
    expect([answer.statusCode, answer.headers.connection]).toEqual([404, 'close'])
    expect(JSON.parse(await text(answer))).toMatchObject({ code: 'not-found', detail: 'there is no POST /v1/nothing' })
    asked.destroy()
  }
})

test('with a ticket comes next to nothing of a body', async () => {
  await using daemon = await startTestDaemon({ agents: true })
  const [ticket = ''] = daemon.tickets().values()
  const ask = (bytes: number): Promise<Answer> =>
    daemon.ask('POST', '/v1/self/ready', {
      token: ticket,
      body: Buffer.alloc(bytes, ' '),
      headers: { 'content-type': 'application/octet-stream' },
    })
  expect((await ask(1025)).json['code']).toBe('too-large')
  expect((await ask(1024)).status).toBe(200)
})

test('without a ticket that is good no body is read', async () => {
  await using daemon = await startTestDaemon({ agents: true })
  const [ticket = ''] = daemon.tickets().values()
  const ready = { method: 'POST', type: 'application/json', part: '{' }
  const refusal = async (token: string): Promise<unknown> => {
    const asked = begin(daemon, '/v1/self/ready', { ...ready, token })
    const answer = await answerTo(asked)
    const { code } = JSON.parse(await text(answer)) as { code: string }
    asked.destroy()
    return code
  }
  expect(await refusal('x')).toBe('unauthorized')
  const good = begin(daemon, '/v1/self/ready', { ...ready, token: ticket })
  good.end('}')
  expect((await answerTo(good)).statusCode).toBe(200)
  expect(await refusal(ticket)).toBe('ticket-used')
})
