/** The operator's hand over the API: who may, what is shown, what is refused and with which next step. */
import { ProviderError } from '@muster/core'
import { expect, test } from 'vitest'
import { owner } from '../engine/testing/harness.ts'
import { startTestDaemon, type TestDaemon } from './testing/daemon.ts'

async function tokenFor(daemon: TestDaemon, role: string): Promise<string> {
  return (await daemon.ask('POST', '/v1/tokens', { body: { name: role, role } })).json['token'] as string
}

async function leasedWorker(daemon: TestDaemon): Promise<string> {
  const { json } = await daemon.ask('POST', '/v1/leases', { body: { pool: 'ci' } })
  await daemon.harness.pass(100)
  const { worker: got } = (await daemon.ask('GET', `/v1/leases/${json['id'] as string}`)).json as { worker: { id: string } }
  return got.id
}

const worker = `w${'0'.repeat(26)}`
const acts = [
  ['/v1/pools/ci/pause', 'operator', 200],
  ['/v1/pools/ci/drain', 'operator', 200],
  ['/v1/pools/ci/resume', 'operator', 200],
  ['/v1/providers/one/disable', 'operator', 200],
  ['/v1/providers/one/enable', 'operator', 200],
  [`/v1/workers/${worker}/cordon`, 'operator', 404],
  [`/v1/workers/${worker}/uncordon`, 'operator', 404],
  [`/v1/workers/${worker}/forget`, 'admin', 404],
  ['/v1/providers/one/forget', 'admin', 409],
] as const

test('each act needs its role, takes its body only, and answers for names that are not there', async () => {
  await using daemon = await startTestDaemon()
  const [viewer, operator] = [await tokenFor(daemon, 'viewer'), await tokenFor(daemon, 'operator')]
  for (const [path, role, status] of acts) {
    const body = { reason: 'new image' }
    const refused = await daemon.ask('POST', path, { token: viewer, body })
    expect([path, refused.status, refused.json['hint']]).toEqual([path, 403, `Use a token with the role ${role}.`])
    expect([path, (await daemon.ask('POST', path, { token: null, body })).status]).toEqual([path, 401])
    const byOperator = await daemon.ask('POST', path, { token: operator, body })
    expect([path, byOperator.status]).toEqual([path, role === 'operator' ? status : 403])
    expect([path, (await daemon.ask('POST', path, { body })).status]).toEqual([path, status])
    for (const wrong of [{ reason: '' }, { reason: 'x'.repeat(501) }, { because: 'x' }, { reason: 7 }])
      expect([path, wrong, (await daemon.ask('POST', path, { body: wrong })).status]).toEqual([path, wrong, 400])
    // A reason is asked for where something is given up for good.
    expect([path, (await daemon.ask('POST', path)).status]).toEqual([path, role === 'admin' ? 400 : status])
  }
  for (const path of ['/v1/pools/nope/pause', '/v1/providers/nope/disable']) {
    const { json } = await daemon.ask('POST', path)
    expect(json).toMatchObject({ code: 'not-found', hint: expect.stringMatching(/^There are: .*`muster (pools|providers)`/) })
  }
})

test('a provider that is named no longer is given up, and its answer says what is left there', async () => {
  await using daemon = await startTestDaemon()
  const body = { reason: 'its plugin lies' }
  const forget = (name: string): ReturnType<TestDaemon['ask']> => daemon.ask('POST', `/v1/providers/${name}/forget`, { body })
  expect((await forget('one')).json).toMatchObject({
    code: 'conflict',
    hint: 'First: take it out of muster.yaml, and muster apply',
  })
  expect((await forget('nobody')).json).toMatchObject({ code: 'not-found' })
  daemon.harness.leaving.add('one')
  expect((await forget('one')).json).toEqual({ orphans: 0, prepared: [] })
  expect((await forget('one')).json).toMatchObject({ code: 'not-found' })
})

test('what was done is shown where one looks: pool, provider, worker, conditions', async () => {
  await using daemon = await startTestDaemon()
  const body = { reason: 'new image' }
  const wish = { by: 'token:admin', reason: 'new image', since: expect.any(String) }
  expect((await daemon.ask('GET', '/v1/pools/ci')).json).toMatchObject({ state: 'active', aside: 0 })
  expect((await daemon.ask('POST', '/v1/pools/ci/pause', { body })).json).toMatchObject({ state: 'paused', wish })
  const asked = await daemon.ask('POST', '/v1/leases', { body: { pool: 'ci' } })
  await daemon.harness.pass(100)
  expect((await daemon.ask('GET', '/v1/pools/ci')).json).toMatchObject({
    state: 'paused',
    queued: 1,
    waiting: 'the pool is paused by token:admin: new image',
  })
  expect((await daemon.ask('POST', '/v1/providers/one/disable', { body })).json).toMatchObject({ state: 'ready', disabled: wish })
  expect((await daemon.ask('GET', '/v1/providers')).json).toMatchObject({ items: [{ disabled: wish }] })
  expect((await daemon.ask('GET', '/v1/conditions')).json).toMatchObject({
    items: [
      { scope: 'pool', name: 'ci', type: 'paused', hint: 'It ends with: muster resume ci' },
      { scope: 'provider', name: 'one', type: 'disabled', hint: 'It ends with: muster providers enable one' },
    ],
  })
  expect((await daemon.ask('POST', '/v1/providers/one/enable')).json).not.toHaveProperty('disabled')
  expect((await daemon.ask('POST', '/v1/pools/ci/resume')).json).not.toHaveProperty('wish')
  await daemon.harness.pass(100)
  expect((await daemon.ask('GET', '/v1/conditions')).json).toEqual({ items: [] })
  const { worker: got } = (await daemon.ask('GET', `/v1/leases/${asked.json['id'] as string}`)).json as { worker: { id: string } }
  expect((await daemon.ask('POST', `/v1/workers/${got.id}/cordon`, { body })).json).toMatchObject({
    cordoned: true,
    cordonReason: 'by token:admin: new image',
  })
  expect((await daemon.ask('POST', `/v1/workers/${got.id}/uncordon`)).json).not.toHaveProperty('cordonReason')
})

test('a worker is forgotten only when nothing else helps; until then the next step is said', async () => {
  await using daemon = await startTestDaemon()
  const id = await leasedWorker(daemon)
  const body = { reason: 'its node burned down' }
  const first = await daemon.ask('POST', `/v1/workers/${id}/forget`, { body })
  expect([first.status, first.json]).toMatchObject([
    409,
    { code: 'conflict', hint: `First: muster workers terminate ${id} --force` },
  ])
  const held = await daemon.ask('POST', `/v1/workers/${id}/terminate`)
  expect(held.json).toMatchObject({ code: 'leased', hint: expect.stringContaining(`muster workers terminate ${id} --force`) })
  const provider = daemon.harness.provider()
  Object.assign(provider, {
    terminate: async () => {
      throw new ProviderError('transient', 'no answer')
    },
  })
  const ended = await daemon.ask('POST', `/v1/workers/${id}/terminate`, { body: { force: true } })
  expect(ended.json).toMatchObject({ phase: 'terminating', terminateReason: 'terminated by token:admin' })
  await daemon.harness.settle()
  expect((await daemon.ask('POST', `/v1/workers/${id}/forget`, { body })).json).toMatchObject({ end: 'disowned' })
  expect((await daemon.ask('GET', `/v1/workers/${id}`)).json).toMatchObject({ phase: 'terminated', end: 'disowned' })
  expect((await daemon.ask('POST', `/v1/workers/${id}/forget`, { body })).json).toMatchObject({
    code: 'not-found',
    hint: '`muster workers` shows those that live.',
  })
})

test('a run may ask for its worker to be kept when it fails, within bounds, and not in a lease', async () => {
  await using daemon = await startTestDaemon()
  const ask = (given: object): Promise<{ status: number }> =>
    daemon.ask('POST', '/v1/runs', { body: { pool: 'ci', command: ['false'], ...given } })
  expect(await ask({ keepFailedMs: 900_000 })).toMatchObject({ status: 201, json: { keepFailedMs: 900_000 } })
  expect(daemon.runs.requests.at(-1)).toMatchObject({ keepFailedMs: 900_000 })
  expect(await ask({ keepFailedMs: 0 })).toMatchObject({ status: 201 })
  for (const keepFailedMs of [-1, 86_400_001, 1.5, '15m']) expect((await ask({ keepFailedMs })).status).toBe(400)
  expect((await ask({ pool: undefined, lease: `l${'0'.repeat(26)}`, keepFailedMs: 1000 })).status).toBe(400)
})

test('orphans are shown, with the time until which they are left alone', async () => {
  await using daemon = await startTestDaemon()
  const { harness } = daemon
  const asked = async (): Promise<unknown> => (await daemon.ask('GET', '/v1/providers/one/orphans')).json
  expect(await asked()).toEqual({ items: [] })
  const id = `w${'0'.repeat(26)}`
  const tags = {
    'muster-owner': owner,
    'muster-provider': 'one',
    'muster-pool': 'gone',
    'muster-worker': id,
    'muster-epoch': '1',
  }
  const spec = { id, tags, work: { mode: 'hold' as const } }
  harness.provider().vendor.workers.set(id, { spec, phase: 'running', ready: true, visibleAt: 0 })
  const found = harness.clock.now()
  await harness.engine.reconcile('one')
  const at = (ms: number): string => new Date(found + ms).toISOString()
  const one = { id, pool: 'gone', state: 'quarantined', firstSeen: at(0), dueAt: at(120_000) }
  expect(await asked()).toEqual({ items: [{ ...one, due: false }] })
  expect((await daemon.ask('GET', '/v1/providers/none/orphans')).status).toBe(404)
})

test('who lets any number of orphans be removed is in the journal', async () => {
  await using daemon = await startTestDaemon()
  const path = '/v1/providers/one/reconcile'
  expect((await daemon.ask('POST', path)).status).toBe(200)
  expect((await daemon.ask('POST', `${path}?reclaimOrphans=true`)).json).toEqual({ orphansReclaimed: 0 })
  const rows = (await daemon.harness.engine.journal.why('provider', 'one')).filter((row) => row.rule === 'orphans-reclaimed')
  expect(rows.map((row) => JSON.parse(row.inputs) as unknown)).toEqual([{ principal: 'token:admin' }])
})
