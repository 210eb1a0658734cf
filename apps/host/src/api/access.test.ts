import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { waitFor } from '@muster/test/systems/wait'
import { expect, test } from 'vitest'
import { startTestDaemon } from './testing/daemon.ts'
import { adminTokenPath, ensureAdminToken, tokens } from './tokens.ts'

/** A request as a browser or a rebinding page would send it: fetch does not let Host be set. */
function raw(where: { socketPath: string } | { port: number }, headers: Record<string, string>): Promise<number> {
  return new Promise((resolve, reject) => {
    const asked = request({ ...where, host: '127.0.0.1', path: '/v1/pools', headers }, (answer) => {
      answer.resume()
      resolve(answer.statusCode ?? 0)
    })
    asked.on('error', reject)
    asked.end()
  })
}

test('TCP needs a token; the answer says where one is', async () => {
  await using daemon = await startTestDaemon()
  const none = await daemon.ask('GET', '/v1/pools', { token: null })
  expect(none.status).toBe(401)
  expect(none.headers['www-authenticate']).toBe('Bearer')
  expect(none.headers['content-type']).toContain('application/problem+json')
  expect(none.json).toMatchObject({
    type: 'urn:muster:problem:unauthorized',
    code: 'unauthorized',
    hint: expect.stringContaining('admin.token'),
  })
  for (const token of [
    'nonsense',
    `mst_t${'0'.repeat(26)}_${'x'.repeat(43)}`,
    `${daemon.token.slice(0, -1)}!`,
    daemon.token.toUpperCase(),
  ])
    expect((await daemon.ask('GET', '/v1/pools', { token })).json['code']).toBe('unauthorized')
  expect((await daemon.ask('GET', '/v1/pools')).status).toBe(200)
  for (const path of ['/healthz', '/readyz', '/v1/openapi.json'])
    expect((await daemon.ask('GET', path, { token: null })).status).toBe(200)
})

test('roles: a viewer reads, an operator works, an admin makes tokens', async () => {
  await using daemon = await startTestDaemon()
  const make = async (role: string): Promise<string> => {
    const made = await daemon.ask('POST', '/v1/tokens', { body: { name: role, role } })
    expect(made.status).toBe(201)
    return made.json['token'] as string
  }
  const [viewer, operator] = [await make('viewer'), await make('operator')]
  const run = { pool: 'ci', command: ['true'] }
  expect((await daemon.ask('GET', '/v1/runs', { token: viewer })).status).toBe(200)
  const refused = await daemon.ask('POST', '/v1/runs', { token: viewer, body: run })
  expect(refused.status).toBe(403)
  expect(refused.json).toMatchObject({ code: 'forbidden', hint: 'Use a token with the role operator.' })
  expect((await daemon.ask('POST', '/v1/runs', { token: operator, body: run })).json).toMatchObject({
    principal: 'token:operator',
  })
  const odd = await daemon.ask('POST', '/v1/tokens', { body: { name: 'My CI', role: 'viewer' } })
  expect([odd.status, JSON.stringify(odd.json)]).toEqual([
    400,
    expect.stringContaining('a name has 1 to 40 characters of a-z, 0-9 and -'),
  ])
  expect((await daemon.ask('GET', '/v1/tokens', { token: operator })).status).toBe(403)
  expect((await daemon.ask('POST', '/v1/tokens', { token: operator, body: { name: 'x', role: 'admin' } })).status).toBe(403)
})

test('a token or a lease that would outlive every date is refused, and the lists go on', async () => {
  await using daemon = await startTestDaemon()
  const lease = await daemon.ask('POST', '/v1/leases', { body: { pool: 'ci' } })
  for (const ttlMs of [Number.MAX_SAFE_INTEGER, 8.64e15, 3651 * 86_400_000]) {
    const far = await daemon.ask('POST', '/v1/tokens', { body: { name: 'far', role: 'viewer', ttlMs } })
    expect([far.status, far.json['code']]).toEqual([400, 'invalid-request'])
    const renewed = await daemon.ask('POST', `/v1/leases/${lease.json['id'] as string}/renew`, { body: { ttlMs } })
    expect([renewed.status, renewed.json['code']]).toEqual([400, 'invalid-request'])
  }
  const long = await daemon.ask('POST', '/v1/tokens', { body: { name: 'long', role: 'viewer', ttlMs: 3650 * 86_400_000 } })
  expect(long.status).toBe(201)
  expect((await daemon.ask('GET', '/v1/tokens')).status).toBe(200)
  expect((await daemon.ask('GET', '/v1/leases')).status).toBe(200)
})

test('a token is worthless once it is revoked or has expired; the list shows no text of any', async () => {
  await using daemon = await startTestDaemon()
  const made = await daemon.ask('POST', '/v1/tokens', { body: { name: 'ci', role: 'viewer', ttlMs: 1 } })
  const kept = await daemon.ask('POST', '/v1/tokens', { body: { name: 'ops', role: 'viewer' } })
  const list = await daemon.ask('GET', '/v1/tokens')
  expect((list.json['items'] as { name: string }[]).map((one) => one.name)).toEqual(['ops', 'ci', 'admin'])
  expect(list.text).not.toContain('mst_')
  const later = tokens(daemon.harness.engine.store, () => Date.now() + 10)
  expect(await later.verify(made.json['token'] as string)).toBeUndefined()
  expect(await later.verify(kept.json['token'] as string)).toMatchObject({ name: 'token:ops', role: 'viewer' })
  const { id } = kept.json['details'] as { id: string }
  expect((await daemon.ask('DELETE', `/v1/tokens/${id}`)).status).toBe(204)
  expect((await daemon.ask('GET', '/v1/pools', { token: kept.json['token'] as string })).status).toBe(401)
  expect((await daemon.ask('DELETE', `/v1/tokens/${id}`)).status).toBe(404)
})

test('no two tokens that are good have one name; one that is revoked or has expired leaves its name', async () => {
  await using daemon = await startTestDaemon()
  const make = (name: string, more: object = {}): ReturnType<typeof daemon.ask> =>
    daemon.ask('POST', '/v1/tokens', { body: { name, role: 'operator', ...more } })
  const admin = await make('admin')
  expect([admin.status, admin.json['code']]).toEqual([409, 'conflict'])
  const both = await Promise.all([make('ci'), make('ci')])
  const [made, second] = both[0].status === 201 ? both : both.toReversed()
  expect([made?.status, second?.status]).toEqual([201, 409])
  const id = (made?.json['details'] as { id: string } | undefined)?.id ?? ''
  expect(second?.json['hint']).toContain(id)
  await daemon.ask('DELETE', `/v1/tokens/${id}`)
  expect((await make('ci')).status).toBe(201)
  expect((await make('short', { ttlMs: 1 })).status).toBe(201)
  await waitFor('its name to be free', async () => (await make('short')).status === 201)
})

test('a token that is made again with its key is the same one; the store holds its text in no form', async () => {
  await using daemon = await startTestDaemon()
  const make = (key: string, body: object = { name: 'ci', role: 'viewer' }): ReturnType<typeof daemon.ask> =>
    daemon.ask('POST', '/v1/tokens', { body, headers: { 'idempotency-key': key } })
  const [first, again, other] = [await make('a'), await make('a'), await make('b')]
  expect([first.status, again.status, again.json]).toEqual([201, 201, first.json])
  expect(other.json['token']).not.toBe(first.json['token'])
  expect((await make('a', { name: 'ci', role: 'admin' })).json['code']).toBe('idempotency-mismatch')
  const text = first.json['token'] as string
  expect((await daemon.ask('GET', '/v1/runs', { token: text })).status).toBe(200)
  // With the key of the request and the id of the token, but without the key file, nobody can make it.
  const { read } = daemon.harness.engine.store
  const kept = JSON.stringify([
    await read.selectFrom('tokens').selectAll().execute(),
    await read.selectFrom('idempotency').selectAll().execute(),
  ])
  for (const secret of [text, text.split('_').slice(2).join('_')]) expect(kept).not.toContain(secret)
  expect(kept).toContain('"key":"a"')
})

test('a token that was revoked or has expired since is not given again with its key: its text is worthless', async () => {
  await using daemon = await startTestDaemon()
  const make = (key: string, body: object): ReturnType<typeof daemon.ask> =>
    daemon.ask('POST', '/v1/tokens', { body: { role: 'viewer', ...body }, headers: { 'idempotency-key': key } })
  const { json } = await make('a', { name: 'ci' })
  const { id } = json['details'] as { id: string }
  await daemon.ask('DELETE', `/v1/tokens/${id}`)
  const short = { name: 'short', ttlMs: 1 }
  await make('b', short)
  await waitFor('its time to be over', async () => (await make('b', short)).status !== 201)
  for (const again of [await make('a', { name: 'ci' }), await make('b', short)])
    expect([again.status, again.json]).toEqual([
      409,
      expect.objectContaining({
        code: 'conflict',
        detail: expect.stringMatching(
          /^the token t[0-9a-z]{26} that this key made is worthless by now: it (was revoked|has expired)$/,
        ),
        hint: 'For another one send another Idempotency-Key.',
      }),
    ])
  expect((await make('c', { name: 'ci' })).status).toBe(201)
})

test('tokens come in pages, newest first', async () => {
  await using daemon = await startTestDaemon()
  for (const name of ['a', 'b', 'c', 'd']) await daemon.ask('POST', '/v1/tokens', { body: { name, role: 'viewer' } })
  const pages: string[][] = []
  for (let before = ''; ;) {
    const { json } = await daemon.ask('GET', `/v1/tokens?limit=2${before}`)
    pages.push((json['items'] as { name: string }[]).map((one) => one.name))
    if (json['next'] === undefined) break
    before = `&before=${json['next'] as string}`
  }
  expect(pages).toEqual([['d', 'c'], ['b', 'a'], ['admin']])
})

test('a token is looked up by its id and compared by its digest: one character more or less right makes no difference', async () => {
  await using daemon = await startTestDaemon()
  const room = tokens(daemon.harness.engine.store)
  const [head, body] = [daemon.token.slice(0, -43), daemon.token.slice(-43)]
  const other = (at: number): string => `${body.slice(0, at)}${body[at] === 'A' ? 'B' : 'A'}${body.slice(at + 1)}`
  for (const at of [0, 21, 41]) expect(await room.verify(head + other(at))).toBeUndefined()
  expect(await room.verify(daemon.token)).toMatchObject({ role: 'admin' })
})

test('the store and the log hold no token', async () => {
  await using daemon = await startTestDaemon()
  await daemon.ask('GET', '/v1/pools')
  const rows = await daemon.harness.engine.store.read.selectFrom('tokens').selectAll().execute()
  expect(JSON.stringify([rows, daemon.log])).not.toContain(daemon.token)
  expect(rows[0]?.hash).toMatch(/^[0-9a-f]{64}$/)
})

test('other hosts and origins are refused on TCP, also with a token', async () => {
  await using daemon = await startTestDaemon()
  const port = Number(new URL(daemon.api.url).port)
  const authorization = `Bearer ${daemon.token}`
  const ask = (headers: Record<string, string>): Promise<number> => raw({ port }, { authorization, ...headers })
  expect(await ask({ host: `127.0.0.1:${port}` })).toBe(200)
  expect(await ask({ host: `localhost:${port}` })).toBe(200)
  expect(await ask({ host: `[::1]:${port}` })).toBe(200)
  for (const host of [
    'evil.example',
    `evil.example:${port}`,
    '127.0.0.1.evil.example',
    '10.0.0.1',
    'evil.example@127.0.0.1',
    '127.0.0.1/evil',
  ])
    expect(await ask({ host })).toBe(403)
  expect(await ask({ host: `localhost:${port}`, origin: `http://localhost:${port}` })).toBe(200)
  for (const origin of ['http://evil.example', 'null', `http://localhost:${port + 1}`])
    expect(await ask({ host: `localhost:${port}`, origin })).toBe(403)
})

test('the unix socket is for its owner: 0600, no token needed, a wrong one still refused', async () => {
  await using daemon = await startTestDaemon()
  const socketPath = daemon.api.socket ?? ''
  expect(statSync(socketPath).mode & 0o777).toBe(0o600)
  expect(await raw({ socketPath }, { host: 'whatever' })).toBe(200)
  expect(await raw({ socketPath }, { host: 'whatever', authorization: 'Bearer wrong' })).toBe(401)
  expect(await raw({ socketPath }, { host: 'whatever', authorization: `Bearer ${daemon.token}` })).toBe(200)
})

test('the first admin token is written once, and taken from its file when the store is new', async () => {
  await using daemon = await startTestDaemon()
  const { store } = daemon.harness.engine
  const path = adminTokenPath(daemon.dir)
  expect(statSync(path).mode & 0o777).toBe(0o600)
  await ensureAdminToken(store, daemon.dir)
  expect(readFileSync(path, 'utf8').trim()).toBe(daemon.token)
  // Killed between file and store: the file's token counts.
  await store.write((tx) => tx.deleteFrom('tokens').execute())
  await ensureAdminToken(store, daemon.dir)
  expect(await tokens(store).verify(daemon.token)).toMatchObject({ name: 'token:admin', role: 'admin' })
  // Removed by hand: it stays away.
  rmSync(path)
  await ensureAdminToken(store, daemon.dir)
  expect(existsSync(path)).toBe(false)
})

test('the file of the first admin token goes with its token, at once or with the next start', async () => {
  await using daemon = await startTestDaemon()
  const { store } = daemon.harness.engine
  const path = adminTokenPath(daemon.dir)
  const [mine] = await tokens(store).list()
  const other = (await daemon.ask('POST', '/v1/tokens', { body: { name: 'other', role: 'admin' } })).json as {
    id: string
    token: string
  }
  await daemon.ask('DELETE', `/v1/tokens/${other.id}`)
  expect(existsSync(path)).toBe(true)
  expect((await daemon.ask('DELETE', `/v1/tokens/${mine?.id}`)).status).toBe(204)
  expect(existsSync(path)).toBe(false)
  writeFileSync(path, `${daemon.token}\n`)
  await ensureAdminToken(store, daemon.dir)
  expect(existsSync(path)).toBe(false)
  expect((await daemon.ask('GET', '/v1/pools')).json).toMatchObject({ hint: expect.stringContaining('muster tokens create') })
})

test('use of a token is noted, at most once a minute', async () => {
  await using daemon = await startTestDaemon()
  const { store } = daemon.harness.engine
  let now = Date.now()
  const room = tokens(store, () => now)
  const used = async (): Promise<number | undefined> => {
    await store.write(async () => undefined)
    return (await room.list())[0]?.lastUsedAt
  }
  await room.verify(daemon.token)
  const first = now
  expect(await used()).toBe(first)
  now += 59_000
  await room.verify(daemon.token)
  expect(await used()).toBe(first)
  now += 2000
  await room.verify(daemon.token)
  expect(await used()).toBe(now)
})

test('who made a token and who revoked it is in the journal, once each, and no text of it', async () => {
  await using daemon = await startTestDaemon()
  const headers = { 'idempotency-key': 'once' }
  const body = { name: 'ci', role: 'operator', ttlMs: 60_000 }
  const made = await daemon.ask('POST', '/v1/tokens', { body, headers })
  expect((await daemon.ask('POST', '/v1/tokens', { body, headers })).json['token']).toBe(made.json['token'])
  const { id } = made.json['details'] as { id: string }
  expect((await daemon.ask('DELETE', `/v1/tokens/${id}`)).status).toBe(204)
  expect((await daemon.ask('DELETE', `/v1/tokens/${id}`)).status).toBe(404)
  const rows = await daemon.harness.engine.store.read.selectFrom('journal').selectAll().where('rule', 'like', 'token-%').execute()
  expect(rows.map((row) => [row.rule, JSON.parse(row.inputs) as unknown])).toEqual([
    ['token-made', { principal: 'token:admin', token: id, ...body }],
    ['token-revoked', { principal: 'token:admin', token: id }],
  ])
})
