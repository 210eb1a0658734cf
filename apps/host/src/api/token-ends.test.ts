import { type ClientRequest, get, type IncomingMessage, request } from 'node:http'
import { waitFor } from '@muster/test/systems/wait'
import { afterEach, expect, test, vi } from 'vitest'
import { startTestDaemon, type TestDaemon } from './testing/daemon.ts'
import { tokenEnds } from './token-ends.ts'

const sent: ClientRequest[] = []
afterEach(() => {
  vi.useRealTimers()
  for (const one of sent.splice(0)) one.destroy()
})

interface Made {
  id: string
  token: string
}

async function makeToken(daemon: TestDaemon, body: { name: string; role: string; ttlMs?: number }): Promise<Made> {
  const { json } = await daemon.ask('POST', '/v1/tokens', { body })
  return { id: (json['details'] as { id: string }).id, token: json['token'] as string }
}

/** A stream whose beginning has come. */
function follow(daemon: TestDaemon, token: string): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const asked = get(`${daemon.api.url}/v1/events`, { agent: false, headers: { authorization: `Bearer ${token}` } }, resolve)
    sent.push(asked.on('error', reject))
  })
}

/** A body whose end does not come by itself; the answer, once there is one. */
function send(
  daemon: TestDaemon,
  { method, path, type, token }: { method: string; path: string; type: string; token: string },
): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const headers = { authorization: `Bearer ${token}`, 'content-type': type }
    const asked = request(`${daemon.api.url}${path}`, { method, agent: false, headers }, resolve)
    sent.push(asked.on('error', reject))
    asked.write('{')
  })
}

const codeOf = async (answer: IncomingMessage): Promise<unknown> => {
  const { code } = JSON.parse(Buffer.concat(await answer.toArray()).toString()) as { code: unknown }
  return [answer.statusCode, code]
}
const refused = [401, 'unauthorized']

test('with a token that is revoked ends all that lasts by it; the rest goes on', async () => {
  await using daemon = await startTestDaemon()
  const { id, token } = await makeToken(daemon, { name: 'leaked', role: 'operator' })
  const other = await makeToken(daemon, { name: 'other', role: 'viewer' })
  const run = await daemon.ask('POST', '/v1/runs', {
    body: { pool: 'ci', command: ['true'], inputs: [{ name: 'src', path: '.' }] },
  })
  const lease = await daemon.ask('POST', '/v1/leases', { body: { pool: 'ci' } })
  const held = await daemon.ask('GET', `/v1/leases/${String(lease.json['id'])}/wait`)
  const worker = (held.json['worker'] as { id: string }).id

  const stream = await follow(daemon, token)
  const kept = await follow(daemon, other.token)
  const tunnel = await send(daemon, {
    method: 'POST',
    path: `/v1/workers/${worker}/forward/80`,
    type: 'application/vnd.muster.tcp',
    token,
  })
  const upload = send(daemon, {
    method: 'PUT',
    path: `/v1/runs/${String(run.json['id'])}/inputs/src`,
    type: 'application/x-tar',
    token,
  })
  const files = send(daemon, { method: 'PUT', path: `/v1/workers/${worker}/files?path=x`, type: 'application/x-tar', token })
  const body = send(daemon, { method: 'POST', path: '/v1/leases', type: 'application/json', token })
  const waiting = daemon.ask('GET', `/v1/runs/${String(run.json['id'])}/wait`, { token })
  await waitFor('all to be under way', () => daemon.runs.given.clients === 1 && daemon.api.streams() === 3)
  const reached = async (): Promise<number> =>
    (await daemon.ask('GET', `/v1/why/worker/${worker}`)).text.split('worker-reached').length
  await waitFor('both ways into the worker to be written down', async () => (await reached()) === 3)

  expect((await daemon.ask('DELETE', `/v1/tokens/${id}`)).status).toBe(204)
  await expect(stream.toArray()).rejects.toThrow('aborted')
  await expect(tunnel.toArray()).rejects.toThrow('aborted')
  const waited = await waiting
  expect([waited.status, waited.json['code']]).toEqual(refused)
  expect(await codeOf(await upload)).toEqual(refused)
  expect((await files).statusCode).toBe(401)
  await waitFor('their places to be given back', () => daemon.api.streams() === 1)
  expect(kept.destroyed).toBe(false)
  // What was let in before, and whose body comes after.
  sent.find((one) => one.path === '/v1/leases')?.end('"pool":"ci"}')
  expect(await codeOf(await body)).toEqual(refused)
})

test('with a token whose time is over ends its stream', async () => {
  await using daemon = await startTestDaemon()
  // paced: the end of its time is under test.
  const { token } = await makeToken(daemon, { name: 'short', role: 'viewer', ttlMs: 5000 })
  const stream = await follow(daemon, token)
  await expect(stream.toArray()).rejects.toThrow('aborted')
  await waitFor('its place to be given back', () => daemon.api.streams() === 0)
})

test('a term may be longer than any timer; who has left is not told; who comes too late is told at once', () => {
  vi.useFakeTimers()
  const ends = tokenEnds(Date.now)
  const told: string[] = []
  const year = 365 * 86_400_000
  ends.follow({ id: 'far', expiresAt: Date.now() + year }, () => told.push('far'))
  ends.follow({ id: 'left', expiresAt: Date.now() + 1000 }, () => told.push('left'))()
  ends.follow({ id: 'endless' }, () => told.push('endless'))
  vi.advanceTimersByTime(year - 1)
  expect(told).toEqual([])
  vi.advanceTimersByTime(1)
  expect(told).toEqual(['far'])
  expect(vi.getTimerCount()).toBe(0)
  ends.revoked('endless')
  ends.revoked('endless')
  expect(told).toEqual(['far', 'endless'])
  expect(ends.isOver({ id: 'endless' })).toBe(true)
  ends.follow({ id: 'endless' }, () => told.push('late'))
  expect(told).toEqual(['far', 'endless', 'late'])
})
