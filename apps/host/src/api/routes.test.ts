import { ProviderError } from '@muster/core'
import { expect, test } from 'vitest'
import { startTestDaemon } from './testing/daemon.ts'

test('pools, providers and conditions are shown as they are', async () => {
  await using daemon = await startTestDaemon()
  const { items } = (await daemon.ask('GET', '/v1/pools')).json as { items: { name: string }[] }
  expect(items.map((pool) => pool.name)).toEqual(['ci', 'full'])
  expect((await daemon.ask('GET', '/v1/pools/ci')).json).toMatchObject({ name: 'ci', placement: ['one'], queued: 0, waiting: '' })
  expect((await daemon.ask('GET', '/v1/pools/nope')).json).toMatchObject({ code: 'not-found', hint: 'Pools: ci, full.' })
  expect((await daemon.ask('GET', '/v1/providers')).json).toMatchObject({
    items: [{ name: 'one', state: 'ready', breaker: 'closed' }],
  })
  expect((await daemon.ask('GET', '/v1/providers/one')).json).toMatchObject({ capabilities: { work: ['command', 'hold'] } })
  expect((await daemon.ask('GET', '/v1/providers/two')).json).toMatchObject({ code: 'not-found', hint: 'Providers: one.' })
  daemon.harness.engine.conditions.raise({ scope: 'pool', name: 'ci', type: 'stock', message: 'no more vCPU', hint: 'raise it' })
  expect((await daemon.ask('GET', '/v1/conditions')).json).toMatchObject({
    items: [{ scope: 'pool', name: 'ci', type: 'stock' }],
  })
})

test('a provider is looked at when asked', async () => {
  await using daemon = await startTestDaemon()
  const { calls } = daemon.harness.provider().vendor
  const lists = (): number => calls.filter((call) => call.method === 'list').length
  const before = lists()
  expect((await daemon.ask('POST', '/v1/providers/one/reconcile')).json).toEqual({ orphansReclaimed: 0 })
  expect(lists()).toBe(before + 1)
  expect((await daemon.ask('POST', '/v1/providers/one/reconcile?reclaimOrphans=true')).status).toBe(200)
  expect((await daemon.ask('POST', '/v1/providers/two/reconcile')).status).toBe(404)
})

test('a look that fails is no look', async () => {
  await using daemon = await startTestDaemon()
  const provider = daemon.harness.provider()
  const { list } = provider
  Object.assign(provider, { list: () => Promise.reject(new ProviderError('transient', 'nobody answers')) })
  const path = '/v1/providers/one/reconcile'
  const problem = { code: 'provider-failed', detail: 'one could not be listed: transient: nobody answers' }
  expect((await daemon.ask('POST', path)).json).toMatchObject(problem)
  expect((await daemon.ask('POST', `${path}?reclaimOrphans=true`)).json).toMatchObject(problem)
  Object.assign(provider, { list })
  expect((await daemon.ask('POST', path)).status).toBe(200)
})

test('who ends or changes the lease of another is written down, in words that nobody can put into their mouth', async () => {
  await using daemon = await startTestDaemon()
  const { id: held } = (await daemon.ask('POST', '/v1/leases', { body: { pool: 'ci', ttlMs: 60_000 } })).json as { id: string }
  await daemon.harness.pass(1000)
  const made = await daemon.ask('POST', '/v1/tokens', { body: { name: 'mallory', role: 'operator' } })
  const other = made.json['token'] as string
  const expiry = async (): Promise<string> =>
    ((await daemon.ask('GET', `/v1/leases/${held}`)).json['lease'] as { expiresAt: string }).expiresAt
  const before = await expiry()
  // A renewal does not shorten.
  expect((await daemon.ask('POST', `/v1/leases/${held}/renew`, { body: { ttlMs: 1000 }, token: other })).status).toBe(200)
  expect(await expiry()).toBe(before)
  const body = { reason: 'released by token:admin' }
  await daemon.ask('POST', `/v1/leases/${held}/release`, { body, token: other })
  const rows = await daemon.harness.engine.journal.why('lease', held)
  expect(rows.find(({ rule }) => rule === 'lease-renewed')?.inputs).toContain('"principal":"token:mallory"')
  expect(rows.find(({ rule }) => rule === 'lease-released')?.inputs).toContain(
    'released by token:mallory: released by token:admin',
  )
})

test('the lease of a run is ended by ending the run', async () => {
  await using daemon = await startTestDaemon({ realRuns: true })
  const { id } = (await daemon.ask('POST', '/v1/runs', { body: { pool: 'ci', command: ['sleep'] } })).json as { id: string }
  const lease = daemon.harness.engine.leases.ofRun(id)
  expect((await daemon.ask('POST', `/v1/leases/${lease?.id}/release`)).json).toMatchObject({
    code: 'conflict',
    detail: `lease ${lease?.id} is that of run ${id}, and ends with it`,
    hint: `\`muster runs cancel ${id}\` ends both.`,
  })
  expect(daemon.harness.engine.leases.ofRun(id)?.id).toBe(lease?.id)
})

test('a lease from request to release, its worker with it', async () => {
  await using daemon = await startTestDaemon()
  const { harness } = daemon
  const made = await daemon.ask('POST', '/v1/leases', { body: { pool: 'ci', ttlMs: 60_000, env: { SECRET: 'lease-canary' } } })
  expect(made.status).toBe(201)
  const id = made.json['id'] as string
  const waiting = daemon.ask('GET', `/v1/leases/${id}/wait?until=active&timeoutMs=5000`)
  await harness.pass(100)
  const { lease, worker } = (await waiting).json as { lease: Record<string, unknown>; worker: Record<string, unknown> }
  expect(lease).toMatchObject({ id, state: 'active', pool: 'ci', principal: 'token:admin', worker: worker['id'] })
  expect(worker).toMatchObject({ phase: 'leased', provider: 'one' })
  expect((await daemon.ask('GET', `/v1/leases/${id}/wait?until=assigned`)).json).toMatchObject({ lease: { state: 'active' } })
  expect((await daemon.ask('GET', `/v1/workers/${worker['id'] as string}`)).json).toMatchObject({ lease: id })
  expect((await daemon.ask('GET', '/v1/leases?pool=ci')).json).toMatchObject({ items: [{ id }] })
  const leased = await daemon.ask('POST', `/v1/workers/${worker['id'] as string}/terminate`)
  expect([leased.status, leased.json['code']]).toEqual([409, 'leased'])
  const renewed = await daemon.ask('POST', `/v1/leases/${id}/renew`, { body: { ttlMs: 120_000 } })
  expect(Date.parse(renewed.json['expiresAt'] as string)).toBe(harness.clock.now() + 120_000)
  const released = await daemon.ask('POST', `/v1/leases/${id}/release`, { body: { reason: 'done' } })
  expect(released.json).toMatchObject({ state: 'ended', end: 'released', endReason: 'released by token:admin: done' })
  expect((await daemon.ask('POST', `/v1/leases/${id}/renew`)).json['code']).toBe('ended')
  expect((await daemon.ask('GET', `/v1/leases/${id}/wait`)).json).toMatchObject({ lease: { state: 'ended' } })
  await harness.pass(5000)
  expect((await daemon.ask('GET', '/v1/workers')).json).toEqual({ items: [] })
  expect((await daemon.ask('GET', '/v1/workers?ended=true')).json).toMatchObject({ items: [{ phase: 'terminated' }] })
  expect((await daemon.ask('GET', `/v1/workers/${worker['id'] as string}`)).json).toMatchObject({ phase: 'terminated' })
  const why = (await daemon.ask('GET', `/v1/why/lease/${id}`)).json as { items: { rule: string; lease: string }[] }
  expect(why.items[0]).toMatchObject({ rule: 'lease-queued', lease: id })
})

test('waiting ends with the time given, and shows what is', async () => {
  await using daemon = await startTestDaemon()
  const first = await daemon.ask('POST', '/v1/leases', { body: { pool: 'full' } })
  const second = await daemon.ask('POST', '/v1/leases', { body: { pool: 'full' } })
  await daemon.harness.pass(100)
  const waited = await daemon.ask('GET', `/v1/leases/${second.json['id'] as string}/wait?timeoutMs=20`)
  expect(waited.json).toMatchObject({ lease: { state: 'queued' } })
  const run = await daemon.ask('POST', '/v1/runs', { body: { pool: 'ci', command: ['true'] } })
  expect((await daemon.ask('GET', `/v1/runs/${run.json['id'] as string}/wait?timeoutMs=20`)).json).toMatchObject({
    state: 'queued',
  })
  expect(daemon.runs.given.clients).toBe(0)
  expect((await daemon.ask('GET', `/v1/leases/${first.json['id'] as string}/wait?timeoutMs=0`)).status).toBe(400)
})

test('a worker that somebody holds ends with force', async () => {
  await using daemon = await startTestDaemon()
  const { json } = await daemon.ask('POST', '/v1/leases', { body: { pool: 'ci' } })
  await daemon.harness.pass(100)
  const { worker } = (await daemon.ask('GET', `/v1/leases/${json['id'] as string}`)).json as { worker: { id: string } }
  const ended = await daemon.ask('POST', `/v1/workers/${worker.id}/terminate`, { body: { force: true, reason: 'it misbehaves' } })
  expect(ended.json).toMatchObject({ phase: 'terminating', terminateReason: expect.stringContaining('it misbehaves') })
  for (const [method, path] of [
    ['GET', '/v1/workers/wnone'],
    ['POST', '/v1/workers/wnone/terminate'],
    ['GET', '/v1/leases/lnone'],
    ['POST', '/v1/leases/lnone/release'],
    ['GET', '/v1/runs/rnone'],
    ['POST', '/v1/runs/rnone/cancel'],
    ['GET', '/v1/runs/rnone/logs'],
    ['GET', '/v1/runs/rnone/stdin'],
  ] as const)
    expect([path, (await daemon.ask(method, path)).json['code']]).toEqual([path, 'not-found'])
})

test('runs: made, listed, waited for, cancelled', async () => {
  await using daemon = await startTestDaemon()
  const made = await daemon.ask('POST', '/v1/runs', {
    body: {
      pool: 'ci',
      command: ['sh', '-c', 'true'],
      env: { SECRET: 'run-canary' },
      files: [{ path: 'f', base64: Buffer.from('file-canary').toString('base64') }],
      image: 'node:26',
      resources: { cpu: 2 },
      labels: { job: 'lint' },
      timeoutMs: 1000,
      outputs: [{ name: 'dist', path: 'dist' }],
    },
  })
  expect(made.json).toMatchObject({
    kind: 'run',
    state: 'queued',
    command: ['sh', '-c', 'true'],
    labels: { job: 'lint' },
    timeoutMs: 1000,
  })
  expect(daemon.runs.requests[0]).toMatchObject({
    requirements: { image: 'node:26', resources: { cpu: 2 } },
    env: { SECRET: 'run-canary' },
    stdin: false,
    inputs: [],
  })
  const id = made.json['id'] as string
  const running = daemon.ask('GET', `/v1/runs/${id}/wait?until=running&timeoutMs=5000`)
  await expect.poll(() => daemon.runs.given.clients).toBe(1)
  daemon.runs.change(id, { state: 'running', started_at: 4_102_444_800_000 })
  expect((await running).json).toMatchObject({ state: 'running', startedAt: '2100-01-01T00:00:00.000Z' })
  expect((await daemon.ask('POST', `/v1/runs/${id}/cancel`)).json).toMatchObject({ cancelRequested: true })
  daemon.runs.end(id, {
    outcome: 'cancelled',
    reason: 'by hand',
    exit: JSON.stringify({ signal: 'SIGTERM', reason: 'ended by SIGTERM' }),
  })
  expect((await daemon.ask('GET', `/v1/runs/${id}`)).json).toMatchObject({
    state: 'ended',
    outcome: 'cancelled',
    exit: { signal: 'SIGTERM' },
  })
  expect((await daemon.ask('GET', '/v1/runs')).json).toEqual({ items: [] })
  expect((await daemon.ask('GET', '/v1/runs?ended=true&label=job=lint')).json).toMatchObject({ items: [{ id }] })
  expect((await daemon.ask('GET', '/v1/runs?state=ended&label=job=lint')).json).toMatchObject({ items: [{ id }] })
  expect((await daemon.ask('GET', '/v1/runs?label=nonsense')).json['code']).toBe('invalid-request')
  const exec = await daemon.ask('POST', '/v1/workers/w1/exec', { body: { command: ['id'] } })
  expect(exec.json).toMatchObject({ kind: 'exec', worker: 'w1' })
})

test('a list comes in pages, newest first, each once', async () => {
  await using daemon = await startTestDaemon()
  const ids: string[] = []
  for (let i = 0; i < 5; i++)
    ids.unshift((await daemon.ask('POST', '/v1/runs', { body: { pool: 'ci', command: ['true'] } })).json['id'] as string)
  const seen: string[] = []
  for (let before: string | undefined; ;) {
    const page = await daemon.ask('GET', `/v1/runs?limit=2${before === undefined ? '' : `&before=${before}`}`)
    const { items, next } = page.json as { items: { id: string }[]; next?: string }
    seen.push(...items.map((run) => run.id))
    if (next === undefined) break
    before = next
  }
  expect(seen).toEqual(ids)
})

test('why comes in pages, from the newest back, none left out', async () => {
  await using daemon = await startTestDaemon()
  for (let i = 0; i < 4; i++) await daemon.ask('POST', '/v1/leases', { body: { pool: 'ci' } })
  await daemon.harness.pass(100)
  const all = (await daemon.ask('GET', '/v1/why/pool/ci')).json as { items: { seq: number }[]; next?: string }
  expect(all.items.length).toBeGreaterThan(6)
  const seen: number[] = []
  for (let before = ''; ;) {
    const { items, next } = (await daemon.ask('GET', `/v1/why/pool/ci?limit=3${before}`)).json as typeof all
    seen.unshift(...items.map((one) => one.seq))
    if (next === undefined) break
    before = `&before=${next}`
  }
  expect(seen).toEqual(all.items.map((one) => one.seq))
  expect((await daemon.ask('GET', '/v1/why/pool/ci?before=x')).json['code']).toBe('invalid-request')
})

test('a query or body that nobody could serve is refused by name', async () => {
  await using daemon = await startTestDaemon()
  const asked = async (method: 'GET' | 'POST', path: string, body?: object): Promise<unknown> => {
    const { status, json } = await daemon.ask(method, path, body === undefined ? {} : { body })
    return [
      status,
      (json['errors'] as { path: string; message: string }[] | undefined)?.map(({ path: at, message }) => `${at}: ${message}`),
    ]
  }
  expect(await asked('GET', '/v1/runs?pol=ci')).toEqual([400, [expect.stringMatching(/^query: .*"pol"; known: .*\bpool\b/)]])
  expect(await asked('GET', '/v1/events?after=3')).toEqual([400, [expect.stringMatching(/^query: .*"after"; known: .*\bfrom\b/)]])
  // Also where nothing can be asked for, and of what is not there.
  const nothing = 'query: Unrecognized key: "stream"; nothing is asked for there'
  for (const path of ['/v1/runs/nope/log', '/v1/pools', '/v1/pools/ci', '/v1/version'])
    expect(await asked('GET', `${path}?stream=stderr`)).toEqual([400, [nothing]])
  expect(await asked('GET', '/v1/pools?stream=stderr&offset=3')).toEqual([
    400,
    ['query: Unrecognized keys: "stream", "offset"; nothing is asked for there'],
  ])
  expect(await asked('POST', '/v1/runs?stream=stderr', { pool: 'ci', command: ['true'] })).toEqual([400, [nothing]])
  // Who probes or scrapes may add one of its own.
  for (const path of ['/metrics', '/healthz', '/readyz']) expect((await daemon.ask('GET', `${path}?probe=1`)).status).toBe(200)
  // An empty query asks for nothing.
  expect(await asked('GET', '/v1/pools?')).toEqual([200, undefined])
  expect(await asked('POST', '/v1/runs', { pol: 'ci', pool: 'ci', command: ['true'] })).toEqual([
    400,
    ['body: Unrecognized key: "pol"'],
  ])
  expect(await asked('GET', '/v1/why/run/nope')).toEqual([404, undefined])
  expect(await asked('GET', '/v1/why/pool/nope')).toEqual([404, undefined])
  expect(await asked('GET', '/v1/why/pool/full')).toEqual([200, undefined])
  expect(await asked('GET', '/v1/runs?limit=ten')).toEqual([400, [expect.stringMatching(/^query\.limit: /)]])
  for (const list of ['runs', 'leases', 'workers'])
    expect(await asked('GET', `/v1/${list}?before=nonsense`)).toEqual([400, ['query.before: not a `next` that this list gave']])
  const run = { pool: 'ci', command: ['true'] }
  expect(await asked('POST', '/v1/runs', { ...run, command: ['a\0b'] })).toEqual([400, ['body.command.0: holds a NUL character']])
  expect(await asked('POST', '/v1/runs', { ...run, command: ['\ud83d'] })).toEqual([
    400,
    ['body.command.0: holds half of a character, which no bytes can be made of'],
  ])
  const many = (count: number): string[] => Array.from({ length: count }, () => 'x')
  expect(await asked('POST', '/v1/runs', { ...run, command: many(10_001) })).toEqual([
    400,
    [expect.stringMatching(/^body.command: .*10000/)],
  ])
  const large = await daemon.ask('POST', '/v1/runs', { body: { ...run, command: ['x'.repeat(300_000)] } })
  expect([large.status, large.json['code']]).toEqual([413, 'too-large'])
  expect(await asked('POST', '/v1/runs', { ...run, env: { A: '\0' } })).toEqual([400, ['body.env.A: holds a NUL character']])
  expect(await asked('POST', '/v1/runs', { ...run, workdir: '\0' })).toEqual([400, ['body.workdir: holds a NUL character']])
})

test('no answer, event or log line holds a value of env or the content of a file', async () => {
  await using daemon = await startTestDaemon()
  const body = {
    pool: 'ci',
    command: ['true'],
    env: { A: 'run-canary' },
    files: [{ path: 'f', base64: Buffer.from('file-canary').toString('base64') }],
  }
  const run = await daemon.ask('POST', '/v1/runs', { body, headers: { 'idempotency-key': 'k' } })
  const lease = await daemon.ask('POST', '/v1/leases', { body: { pool: 'ci', env: { B: 'lease-canary' } } })
  await daemon.harness.pass(100)
  const id = run.json['id'] as string
  const paths = [
    ...['pools', 'providers', 'leases', 'workers', 'runs', 'conditions'].map((name) => `/v1/${name}?ended=true`),
    `/v1/runs/${id}`,
    `/v1/leases/${lease.json['id'] as string}`,
    `/v1/why/lease/${lease.json['id'] as string}`,
    '/v1/why/pool/ci',
  ]
  const texts = [run.text, lease.text, JSON.stringify(daemon.log)]
  for (const path of paths) texts.push((await daemon.ask('GET', path)).text)
  const kept = await daemon.harness.engine.store.read.selectFrom('idempotency').selectAll().execute()
  texts.push(JSON.stringify(kept))
  expect(texts.join('\n')).toContain('FROM_POOL')
  for (const canary of [
    'run-canary',
    'file-canary',
    'lease-canary',
    'pool-canary',
    Buffer.from('file-canary').toString('base64'),
  ])
    expect(texts.join('\n')).not.toContain(canary)
})

test('version names the owner and the store', async () => {
  await using daemon = await startTestDaemon()
  expect((await daemon.ask('GET', '/v1/version')).json).toMatchObject({
    version: '1.2.3',
    api: 'v1',
    owner: 'o-test',
    store: { synchronous: 'full' },
  })
})
