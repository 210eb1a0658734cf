import { once } from 'node:events'
import { connect } from 'node:net'
import { connect as muster } from '@muster/client'
import { waitFor } from '@muster/test/systems/wait'
import { expect, test } from 'vitest'
import { limits } from './limits.ts'
import { ApiProblem } from './problems.ts'
import { startTestDaemon } from './testing/daemon.ts'

function clock(): { now: () => number; pass(ms: number): void } {
  let at = 1000
  return { now: () => at, pass: (ms) => void (at += ms) }
}

/** Milliseconds until the call is allowed; 0: it was. */
function waitOf(call: () => unknown): number {
  try {
    call()
    return 0
  } catch (error) {
    if (!(error instanceof ApiProblem)) throw error
    expect(error).toMatchObject({ code: 'rate-limited' })
    return error.details.retryAfterMs ?? 0
  }
}

test('a burst is free, then requests flow at the rate; each principal has its own', () => {
  const { now, pass } = clock()
  const room = limits({ burst: 3, perSecond: 10, now })
  const ask = (who = 'a'): number => waitOf(() => room.enter(who)())
  expect([ask(), ask(), ask(), ask()]).toEqual([0, 0, 0, 100])
  expect(ask('b')).toBe(0)
  pass(99)
  expect(ask()).toBe(1)
  pass(1)
  expect([ask(), ask()]).toEqual([0, 100])
  pass(3_600_000)
  expect([ask(), ask(), ask(), ask()]).toEqual([0, 0, 0, 100])
})

test('requests without a whole answer are bounded; what is over makes room, once', () => {
  const { now } = clock()
  const room = limits({ inFlight: 2, now })
  const leave = room.enter('a')
  room.enter('a')
  expect(waitOf(() => room.enter('a'))).toBe(1000)
  leave()
  leave()
  expect(waitOf(() => room.enter('a'))).toBe(0)
  expect(waitOf(() => room.enter('a'))).toBe(1000)
  expect(waitOf(() => room.enter('b'))).toBe(0)
})

test('an agent has limits of its own, far below those of clients', () => {
  const { now, pass } = clock()
  const room = limits({ workers: { burst: 3, perSecond: 10, inFlight: 2 }, now })
  const leave = room.enterWorker('w1')
  room.enterWorker('w1')
  expect([waitOf(() => room.enterWorker('w1')), waitOf(() => room.enterWorker('w1'))]).toEqual([1000, 100])
  leave()
  pass(100)
  expect(waitOf(() => room.enterWorker('w1'))).toBe(0)
  for (let i = 0; i < 3; i++) expect(waitOf(() => room.enterWorker('w2')())).toBe(0)
  for (let i = 0; i < 100; i++) expect(waitOf(() => room.enter('w1'))).toBe(0)
})

test('by default the bodies of one agent hold no more than a few MiB', () => {
  const { now } = clock()
  const room = limits({ now })
  for (let i = 0; i < 16; i++) expect(waitOf(() => room.enterWorker('w1'))).toBe(0)
  expect(waitOf(() => room.enterWorker('w1'))).toBe(1000)
})

test('failures are counted by address, by network where that is IPv6', () => {
  const { now, pass } = clock()
  const room = limits({ failures: { burst: 2, perSecond: 0.5 }, now })
  const fail = (address: string): number =>
    waitOf(() => {
      room.checkAddress(address)
      room.failed(address)
    })
  expect([fail('10.0.0.1'), fail('::ffff:10.0.0.1'), fail('10.0.0.1'), fail('10.0.0.2')]).toEqual([0, 0, 2000, 0])
  pass(2000)
  expect([fail('10.0.0.1'), fail('10.0.0.1')]).toEqual([0, 2000])
  expect([fail('2001:db8::1'), fail('2001:db8:0:0:ffff::2'), fail('2001:db8::3')]).toEqual([0, 0, 2000])
  expect([fail('2001:db8:0:1::1'), fail('::1')]).toEqual([0, 0])
})

test('callers that are at rest are forgotten when many come', () => {
  const { now } = clock()
  const room = limits({ failures: { burst: 1, perSecond: 1 }, now })
  room.failed('10.0.0.1')
  expect(waitOf(() => room.checkAddress('10.0.0.1'))).toBe(1000)
  for (let i = 0; i < 10_000; i++) room.failed(`host-${i}`)
  expect(waitOf(() => room.checkAddress('10.0.0.1'))).toBe(0)
})

test('the default is no hindrance to a thousand clients of one token', () => {
  const { now } = clock()
  const room = limits({ now })
  for (let i = 0; i < 1000; i++)
    for (let request = 0; request < 6; request++)
      expect(
        waitOf(() => {
          const leave = room.enter('farm')
          if (request < 4) leave()
        }),
      ).toBe(0)
})

test('the API says when to ask again, and counts an answer until it is over', async () => {
  const { now, pass } = clock()
  await using daemon = await startTestDaemon({ limits: { burst: 3, perSecond: 1, inFlight: 2, now } })
  const made = await daemon.ask('POST', '/v1/runs', { body: { pool: 'ci', command: ['true'] } })
  const waiting = [1, 2].map(() => daemon.ask('GET', `/v1/runs/${made.json['id'] as string}/wait`))
  await expect.poll(() => daemon.runs.given.clients).toBe(2)
  const limited = await daemon.ask('GET', '/v1/pools')
  expect([limited.status, limited.json['code'], limited.headers['retry-after']]).toEqual([429, 'rate-limited', '1'])
  pass(10_000)
  const busy = await daemon.ask('GET', '/v1/pools')
  expect([busy.status, busy.json['detail']]).toEqual([429, 'token:admin waits for 2 answers already'])
  daemon.runs.end(made.json['id'] as string)
  expect((await Promise.all(waiting)).map((one) => one.status)).toEqual([200, 200])
  expect((await daemon.ask('GET', '/v1/pools')).status).toBe(200)
  // Whoever looks after the daemon asks it without a token.
  for (let i = 0; i < 10; i++) expect((await daemon.ask('GET', '/healthz', { token: null })).status).toBe(200)
})

test('who finds the doors full is told why; the unix socket has places, and that the daemon answers is said to all', async () => {
  await using daemon = await startTestDaemon({ limits: { connectionsPerAddress: 2 } })
  const { port } = new URL(daemon.api.url)
  const others = [1, 2].map(() => connect(Number(port), '127.0.0.1'))
  for (const socket of others) await once(socket, 'connect')
  expect(await daemon.ask('GET', '/v1/pools')).toMatchObject({
    status: 429,
    headers: { connection: 'close', 'retry-after': '1' },
    json: {
      code: 'rate-limited',
      detail: 'as many connections are open from this address as may be',
      hint: expect.stringContaining('host.limits.connectionsPerAddress'),
    },
  })
  expect(await daemon.ask('GET', '/healthz', { token: null })).toMatchObject({ status: 200, headers: { connection: 'close' } })
  const local = muster({ socket: daemon.api.socket ?? '' })
  expect((await local.pools.list()).length).toBeGreaterThan(0)
  local.close()
  for (const socket of others) socket.destroy()
  await waitFor('a place to be free', async () => (await daemon.ask('GET', '/v1/pools')).status === 200)
})

test('who guesses tokens is slowed down; nobody who shows a valid one is, whoever else asks from that address', async () => {
  const { now, pass } = clock()
  await using daemon = await startTestDaemon({ limits: { failures: { burst: 2, perSecond: 0.1 }, now } })
  const fresh = (await daemon.ask('POST', '/v1/tokens', { body: { name: 'x', role: 'viewer' } })).json
  const guess = `mst_t${'0'.repeat(26)}_${'x'.repeat(43)}`
  const ask = async (token: string | null): Promise<number> => (await daemon.ask('GET', '/v1/pools', { token })).status
  expect([await ask(guess), await ask(null), await ask(guess), await ask(null)]).toEqual([401, 401, 429, 429])
  const limited = await daemon.ask('GET', '/v1/pools', { token: guess })
  expect(limited.headers['retry-after']).toBe('10')
  expect(await ask(daemon.token)).toBe(200)
  // One that this daemon has never seen before, as each after its start.
  expect(await ask(fresh['token'] as string)).toBe(200)
  pass(10_000)
  expect(await ask(guess)).toBe(401)
  expect(await ask(guess)).toBe(429)
  expect(await ask(fresh['token'] as string)).toBe(200)
  await daemon.ask('DELETE', `/v1/tokens/${(fresh['details'] as { id: string }).id}`)
  expect(await ask(fresh['token'] as string)).toBe(429)
  pass(10_000)
  expect(await ask(fresh['token'] as string)).toBe(401)
})
