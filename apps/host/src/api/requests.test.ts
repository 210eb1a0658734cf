import { ProviderError } from '@muster/core'
import { expect, test } from 'vitest'
import { EngineError } from '../engine/api.ts'
import { RunError } from '../engine/runs-api.ts'
import { StoreError } from '../store/store.ts'
import { toProblem } from './errors.ts'
import { problemBody, problemCodes, problemKinds } from './problems.ts'
import { startTestDaemon } from './testing/daemon.ts'

test('what fails its schema is named part by part', async () => {
  await using daemon = await startTestDaemon()
  const bad = await daemon.ask('POST', '/v1/runs', {
    body: { pool: 'ci', command: [], inputs: [{ name: 'BAD', path: 'x' }], imgae: 'x' },
  })
  expect(bad.status).toBe(400)
  const { errors } = bad.json as { errors: { path: string; message: string }[] }
  expect(errors.map((error) => error.path)).toEqual(expect.arrayContaining(['body.command', 'body.inputs.0.name', 'body']))
  expect(JSON.stringify(errors)).toContain('imgae')
  expect((await daemon.ask('GET', '/v1/runs?limit=9999')).json).toMatchObject({
    code: 'invalid-request',
    errors: [{ path: 'query.limit' }],
  })
  expect((await daemon.ask('POST', '/v1/runs', { body: { command: ['true'] } })).json).toMatchObject({
    errors: [{ message: 'give exactly one of pool and lease' }],
  })
})

test('two inputs or two outputs of one name would be stored in one place: they are refused', async () => {
  await using daemon = await startTestDaemon()
  const twice = [
    { name: 'a', path: 'b' },
    { name: 'a', path: 'c' },
  ]
  for (const part of ['inputs', 'outputs']) {
    const { status, json } = await daemon.ask('POST', '/v1/runs', { body: { pool: 'ci', command: ['true'], [part]: twice } })
    expect(status).toBe(400)
    expect(json).toMatchObject({ errors: [{ path: `body.${part}`, message: 'two have the same name' }] })
  }
})

test('bodies are bounded, and of the right kind', async () => {
  await using daemon = await startTestDaemon()
  const run = { pool: 'ci', command: ['true'] }
  const inline = await daemon.ask('POST', '/v1/runs', { body: { ...run, env: { A: 'x'.repeat(300_000) } } })
  expect([inline.status, inline.json['code']]).toEqual([413, 'too-large'])
  const body = await daemon.ask('POST', '/v1/runs', { body: { ...run, env: { A: 'x'.repeat(2_000_000) } } })
  expect([body.status, body.json['code']]).toEqual([413, 'too-large'])
  const many = Object.fromEntries(Array.from({ length: 65 }, (_, n) => [`label-${n}`, 'x']))
  const wide = Object.fromEntries(Array.from({ length: 64 }, (_, n) => [`label-${n}`, 'x'.repeat(255)]))
  const long = 'x'.repeat(4097)
  const deep = Array.from({ length: 20 }, (_, n) => ({ name: `i${n}`, path: 'x'.repeat(4096) }))
  for (const [wrong, path] of [
    [{ labels: many }, 'body.labels'],
    [{ labels: wide }, 'body.labels'],
    [{ image: long }, 'body.image'],
    [{ profile: long }, 'body.profile'],
    [{ workdir: long }, 'body.workdir'],
    [{ inputs: [{ name: 'a', path: long }] }, 'body.inputs.0.path'],
  ] as const)
    expect((await daemon.ask('POST', '/v1/runs', { body: { ...run, ...wrong } })).json).toMatchObject({
      code: 'invalid-request',
      errors: [{ path }],
    })
  const wrongName = `1${'ü'.repeat(80)}`
  for (const [key, message] of [
    ['labels', 'the name of a label has 1 to 63 characters'],
    ['env', 'the name of a variable has A-Z, a-z, 0-9 and _, and does not begin with a digit'],
  ] as const)
    expect((await daemon.ask('POST', '/v1/runs', { body: { ...run, [key]: { [wrongName]: 'x' } } })).json).toMatchObject({
      code: 'invalid-request',
      errors: [{ path: `body.${key}.1${'ü'.repeat(62)}…`, message }],
    })
  expect((await daemon.ask('POST', '/v1/runs', { body: { ...run, labels: { ü: 'x' } } })).status).toBe(201)
  const user = await daemon.ask('POST', '/v1/workers/w1/exec', { body: { command: ['id'], user: long } })
  expect(user.json).toMatchObject({ code: 'invalid-request', errors: [{ path: 'body.user' }] })
  const most = { ...run, labels: Object.fromEntries(Object.entries(wide).slice(0, 60)) }
  expect((await daemon.ask('POST', '/v1/runs', { body: most })).status).toBe(201)
  // Every word counts, not only those of the command.
  const paths = { ...run, command: ['x'.repeat(150_000)], inputs: deep, outputs: deep }
  expect((await daemon.ask('POST', '/v1/runs', { body: paths })).json['code']).toBe('too-large')
  const text = await daemon.ask('POST', '/v1/runs', {
    body: Buffer.from('pool: ci'),
    headers: { 'content-type': 'application/yaml' },
  })
  expect([text.status, text.json['code']]).toEqual([415, 'unsupported-media'])
  for (const [header, value, detail] of [
    ['content-encoding', 'gzip', "a body with the Content-Encoding 'gzip' is not taken"],
    ['content-encoding', 'identity, br', "a body with the Content-Encoding 'identity, br' is not taken"],
    ['content-type', 'application/json; charset=utf-16', "a body in the charset 'utf-16' is not taken"],
    ['content-type', 'application/json;x=1; charset="ISO-8859-1"', "a body in the charset 'ISO-8859-1' is not taken"],
  ] as const) {
    const headers = { 'content-type': 'application/json', [header]: value }
    const other = await daemon.ask('POST', '/v1/runs', { body: Buffer.from(JSON.stringify(run)), headers })
    expect(other.json, `${header}: ${value}`).toMatchObject({ status: 415, code: 'unsupported-media', detail })
  }
  for (const type of ['application/json; charset=UTF-8', 'application/json; charset="utf8"']) {
    const headers = { 'content-type': type, 'content-encoding': 'Identity' }
    expect((await daemon.ask('POST', '/v1/runs', { body: Buffer.from(JSON.stringify(run)), headers })).status).toBe(201)
  }
  const broken = await daemon.ask('POST', '/v1/runs', {
    body: Buffer.from('{"pool"'),
    headers: { 'content-type': 'application/json' },
  })
  expect([broken.status, broken.json['code']]).toEqual([400, 'invalid-request'])
  expect((await daemon.ask('GET', '/v1/nothing')).json).toMatchObject({
    code: 'not-found',
    detail: 'there is no GET /v1/nothing',
  })
})

test('a name that no object may have is told by its place, in a body that is JSON all the same', async () => {
  await using daemon = await startTestDaemon()
  for (const [body, path, name] of [
    ['{"pool":"ci","command":["true"],"env":{"__proto__":"x"}}', 'body.env', '__proto__'],
    ['{"pool":"ci","command":["true"],"labels":{"__proto__":"x"}}', 'body.labels', '__proto__'],
    ['{"pool":"ci","command":["true"],"inputs":[{"constructor":{"prototype":1}}]}', 'body.inputs.0', 'constructor'],
  ] as const) {
    const told = await daemon.ask('POST', '/v1/runs', {
      body: Buffer.from(body),
      headers: { 'content-type': 'application/json' },
    })
    expect([told.status, told.json]).toEqual([
      400,
      expect.objectContaining({ code: 'invalid-request', errors: [{ path, message: `the name ${name} cannot be used` }] }),
    ])
    expect(JSON.stringify(told.json)).not.toContain('not valid JSON')
  }
})

test('a name that stands twice in one object is refused with its place: the last would count in silence', async () => {
  await using daemon = await startTestDaemon()
  const headers = { 'content-type': 'application/json' }
  for (const [body, path] of [
    ['{"pool":"other","command":["true"],"pool":"ci"}', 'body.pool'],
    ['{"pool":"ci","command":["true"],"env":{"A":"1","\\u0041":"2"}}', 'body.env.A'],
    [
      '{"pool":"ci","command":["true"],"inputs":[{"name":"a","path":"b"},{"name":"a","name":"c","path":"b"}]}',
      'body.inputs.1.name',
    ],
    [
      `{"pool":"ci","command":["true"],"labels":{"${'x'.repeat(100)}":"","${'x'.repeat(100)}":""}}`,
      `body.labels.${'x'.repeat(63)}…`,
    ],
  ] as const) {
    const told = await daemon.ask('POST', '/v1/runs', { body: Buffer.from(body), headers })
    expect([told.status, told.json]).toEqual([
      400,
      expect.objectContaining({ code: 'invalid-request', errors: [{ path, message: 'stands twice: keep one of the two' }] }),
    ])
  }
  expect(daemon.runs.requests).toEqual([])
  // Deeper than anything that is taken: told, and short.
  const deep = await daemon.ask('POST', '/v1/runs', {
    body: Buffer.from(`${'{"a":'.repeat(50_000)}{"b":1,"b":2}${'}'.repeat(50_000)}`),
    headers,
  })
  expect([deep.status, JSON.stringify(deep.json).length < 1000]).toEqual([400, true])
})

test('a key makes a repeated creation one, also at the same time, and is bound to its request', async () => {
  await using daemon = await startTestDaemon()
  const body = { pool: 'ci', command: ['true'], env: { A: '1' } }
  const ask = (key: string, other: object = body): ReturnType<typeof daemon.ask> =>
    daemon.ask('POST', '/v1/runs', { body: other, headers: { 'idempotency-key': key } })
  const answers = await Promise.all(Array.from({ length: 8 }, () => ask('one')))
  expect(new Set(answers.map((answer) => answer.json['id'])).size).toBe(1)
  expect(daemon.runs.requests).toHaveLength(1)
  expect((await ask('one')).json).toEqual(answers[0]?.json)
  const other = await ask('one', { ...body, env: { A: '2' } })
  expect([other.status, other.json['code']]).toEqual([422, 'idempotency-mismatch'])
  expect((await ask('two')).json['id']).not.toBe(answers[0]?.json['id'])
  // Of another principal it is another key.
  const { json } = await daemon.ask('POST', '/v1/tokens', { body: { name: 'other', role: 'operator' } })
  const theirs = await daemon.ask('POST', '/v1/runs', {
    body,
    headers: { 'idempotency-key': 'one' },
    token: json['token'] as string,
  })
  expect(theirs.json['id']).not.toBe(answers[0]?.json['id'])
  await daemon.restart()
  expect((await ask('one')).json['id']).toBe(answers[0]?.json['id'])
  const lease = { body: { pool: 'ci' }, headers: { 'idempotency-key': 'lease' } }
  expect((await daemon.ask('POST', '/v1/leases', lease)).json['id']).toBe(
    (await daemon.ask('POST', '/v1/leases', lease)).json['id'],
  )
})

test('a refusal names the nearest pool; nothing is kept of it, nor of its key', async () => {
  await using daemon = await startTestDaemon()
  const headers = { 'idempotency-key': 'refused' }
  const refused = await daemon.ask('POST', '/v1/leases', { body: { pool: 'cii' }, headers })
  expect(refused.status).toBe(422)
  expect(refused.json).toMatchObject({
    code: 'refused',
    reason: 'unknown-pool',
    nearest: { pool: 'ci', field: 'pool', asked: 'cii' },
  })
  expect((await daemon.ask('POST', '/v1/leases', { body: { pool: 'ci' }, headers })).status).toBe(201)
})

test('every code has its own status and meaning, and every failure of a room its code', () => {
  for (const code of problemCodes) {
    const { status, title, meaning, retry } = problemKinds[code]
    expect(status >= 400 && status < 600 && title !== '' && meaning.endsWith('.')).toBe(true)
    // What may pass by itself is said by 408 (too slow), 409 (not yet), 429 or 5xx.
    if (retry === true) expect([408, 409, 429, 502, 503, 507]).toContain(status)
  }
  const given: [unknown, string][] = [
    [new EngineError('busy', 'x'), 'busy'],
    [new EngineError('stopping', 'x'), 'stopping'],
    [new RunError('gap', 'x', 7), 'gap'],
    [new RunError('digest', 'x'), 'digest-mismatch'],
    [new StoreError('full', 'x', { hint: 'make room' }), 'disk-full'],
    [new StoreError('closed', 'x'), 'stopping'],
    [new StoreError('overloaded', 'x'), 'busy'],
    [new StoreError('io', 'x'), 'store-unavailable'],
    [new ProviderError('not-found', 'x'), 'not-found'],
    [new ProviderError('invalid-spec', 'x'), 'invalid-request'],
    [new ProviderError('unsupported', 'x'), 'unsupported'],
    [new ProviderError('transient', 'x'), 'provider-failed'],
    [Object.assign(new Error('x'), { code: 'EMFILE' }), 'busy'],
    [new Error('secret inside'), 'internal'],
    ['text', 'internal'],
    [undefined, 'internal'],
  ]
  for (const [error, code] of given) expect(toProblem(error).code).toBe(code)
  expect(problemBody(toProblem(new RunError('gap', 'x', 7)))).toMatchObject({ status: 409, at: 7 })
  expect(problemBody(toProblem(new Error('secret inside')), 'id1')).toMatchObject({
    id: 'id1',
    detail: expect.not.stringContaining('secret'),
  })
})

test('a fault inside is told by its id only; the log has the rest', async () => {
  await using daemon = await startTestDaemon()
  daemon.harness.engine.conditions.list = () => {
    throw new Error('inside story')
  }
  const answer = await daemon.ask('GET', '/v1/conditions')
  expect(answer.status).toBe(500)
  expect(answer.text).not.toContain('inside story')
  const line = daemon.log.find((entry) => entry['id'] === answer.json['id'])
  expect(JSON.stringify(line)).toContain('inside story')
})

test('a store that cannot be written is said, with what to do, and not ready', async () => {
  await using daemon = await startTestDaemon()
  const { store } = daemon.harness.engine
  const health = store.health()
  store.health = () => ({ ...health, state: 'full', message: 'no room on the disk', hint: 'Make room.' })
  const ready = await daemon.ask('GET', '/readyz', { token: null })
  expect(ready.status).toBe(503)
  expect(ready.json).toEqual({ status: 'failing' })
  expect((await daemon.ask('GET', '/readyz')).json['parts']).toContainEqual({
    name: 'store',
    state: 'failed',
    reason: 'no room on the disk',
    hint: 'Make room.',
  })
  store.health = () => ({ ...health, state: 'busy', message: 'locked', hint: '' })
  expect((await daemon.ask('GET', '/readyz', { token: null })).status).toBe(503)
  expect((await daemon.ask('GET', '/healthz', { token: null })).status).toBe(200)
})

test('keys are forgotten after a day', async () => {
  await using daemon = await startTestDaemon()
  const { idempotency, KEEP_MS } = await import('./idempotency.ts')
  const { store, sealer, clock } = daemon.harness.engine
  const now = clock.now()
  const sweepAt = (at: number): Promise<void> => idempotency(store, sealer, { now: () => at }).sweep()
  await daemon.ask('POST', '/v1/runs', { body: { pool: 'ci', command: ['true'] }, headers: { 'idempotency-key': 'k' } })
  const count = async (): Promise<number> => (await store.read.selectFrom('idempotency').selectAll().execute()).length
  await sweepAt(now + KEEP_MS - 60_000)
  expect(await count()).toBe(1)
  await sweepAt(now + KEEP_MS + 60_000)
  expect(await count()).toBe(0)
  // Many of them go slice by slice, and none that is young.
  const old = (n: number): number => now - KEEP_MS - 10_000 + Math.floor(n / 2)
  const row = { principal: 'p', request_digest: '', status: 201, response: '{}' }
  for (let from = 0; from < 5000; from += 1000)
    await store.write((tx) =>
      tx
        .insertInto('idempotency')
        .values(Array.from({ length: 1000 }, (_, n) => ({ ...row, key: `k${from + n}`, created_at: old(from + n) })))
        .execute(),
    )
  await store.write((tx) =>
    tx
      .insertInto('idempotency')
      .values({ ...row, key: 'young', created_at: now })
      .execute(),
  )
  await sweepAt(now)
  expect(await count()).toBe(1)
})
