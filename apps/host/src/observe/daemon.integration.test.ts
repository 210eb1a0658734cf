/** What a real daemon tells of itself: one trace from the client to the vendor, over a kill too; metrics; lines with ids. */
import { connect, type MusterClient } from '@muster/client'
import { fakeControl } from '@muster/core/testing'
import { waitFor } from '@muster/test/systems/wait'
import { afterEach, expect, test } from 'vitest'
import { muster } from '../cli/muster.test.helper.ts'
import { makeSite, patienceMs, type Site } from '../faults/daemon.test.helper.ts'
import { fakeVendor, vendorDir } from '../faults/vendors.test.helper.ts'
import { type CollectedSpan, type Collector, startCollector } from './testing/collector.ts'
import { readExposition, sampleOf } from './testing/exposition.ts'

const timeout = 300_000
const patience = { timeoutMs: patienceMs }
const disposals: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const dispose of disposals.splice(0).reverse()) await dispose()
})

const clientTrace = 'fade'.repeat(8)
const clientSpan = 'beef'.repeat(4)
const traceparent = `00-${clientTrace}-${clientSpan}-01`

async function open(host: string): Promise<{ site: Site; traced: MusterClient }> {
  const files = (await fakeVendor()).files()
  const site = await makeSite({ ...files, host: `${files.host ?? ''}\n${host}` }, { counted: true })
  disposals.push(() => site.dispose())
  const traced = connect({ socket: site.socket }, { patienceMs, traceparent: () => traceparent })
  disposals.push(async () => traced.close())
  return { site, traced }
}

const toldTo = (collector: Collector): string =>
  `telemetry:\n  otlp:\n    url: ${collector.url}\n    headers: { authorization: { env: OTLP_CANARY } }`

const gone = (site: Site): Promise<boolean> =>
  waitFor('every worker to be gone', async () => (await site.client.workers.list()).items.length === 0, patience)

test('one trace from the client over the host to the plugin, and nothing of the command in it', { timeout }, async () => {
  await using collector = await startCollector()
  const { site, traced } = await open(toldTo(collector))
  await site.start({ OTLP_CANARY: 'canary-header' })
  await site.ready()
  const run = await traced.runs.create({
    pool: 'hold',
    command: ['/bin/sh', '-c', 'echo canary-command'],
    env: { NAME: 'canary-env' },
    labels: { team: 'canary-label' },
  })
  expect(await traced.runs.wait(run.id)).toMatchObject({ outcome: 'passed' })
  await gone(site)
  await waitFor('the last span', async () => collector.spans().some(({ name }) => name === 'provider terminate'), patience)
  await site.stop()

  const spans = collector.spans().filter(({ trace }) => trace === clientTrace)
  const one = (name: string): CollectedSpan => {
    const found = spans.find((span) => span.name === name)
    if (found === undefined) throw new Error(`no span ${name} among ${spans.map((span) => span.name).join(', ')}`)
    return found
  }
  const asked = one('createRun')
  expect(asked).toMatchObject({ parent: clientSpan, kind: 2 })
  for (const name of ['lease queued', 'worker readied', 'worker launch', 'worker terminate', 'provider exec', 'run'])
    expect([name, one(name).parent]).toEqual([name, asked.span])
  expect(one('provider launch')).toMatchObject({ parent: one('worker launch').span, kind: 3 })
  expect(one('provider terminate').parent).toBe(one('worker terminate').span)
  expect(one('run').facts).toMatchObject({ 'muster.run': run.id, 'muster.pool': 'hold', 'muster.outcome': 'passed' })
  // The plugin's own span of its call, and what it asked its vendor for meanwhile.
  for (const [op, asks] of [
    ['launch', 'vendor create'],
    ['terminate', 'vendor delete'],
  ] as const) {
    expect(one(`plugin ${op}`)).toMatchObject({ parent: one(`provider ${op}`).span, kind: 2, facts: { 'muster.provider': 'p' } })
    expect(one(asks)).toMatchObject({ parent: one(`plugin ${op}`).span, kind: 3 })
  }
  // What the plugin was given is its own span.
  const calls = fakeControl(vendorDir(site.data)).events()
  for (const op of ['launch', 'exec', 'terminate']) {
    const call = calls.find((event) => event.kind === 'call' && event.op === op)
    expect([op, call?.traceparent]).toEqual([op, `00-${clientTrace}-${one(`plugin ${op}`).span}-01`])
  }
  expect(collector.text()).not.toContain('canary')
  expect(collector.headers()[0]).toMatchObject({ authorization: 'canary-header' })
  // One line tells its end, with all ids.
  const ended = site
    .output()
    .split('\n')
    .find((line) => line.includes('run ended'))
  for (const id of [run.id, clientTrace, ...calls.flatMap((event) => event.worker ?? []).slice(0, 1)]) expect(ended).toContain(id)
  expect(site.output()).not.toContain('canary')
})

test('after a kill in the middle, the end of the worker belongs to the trace that its run began with', { timeout }, async () => {
  await using collector = await startCollector()
  const { site, traced } = await open(toldTo(collector))
  await site.start({ OTLP_CANARY: 'x' })
  await site.ready()
  const control = fakeControl(vendorDir(site.data))
  // The worker stays on its way out until the next daemon has taken over.
  const run = await traced.runs.create({ pool: 'hold', command: ['/bin/sh', '-c', 'exit 3'] })
  control.faults([{ id: 'held', method: 'terminate', times: 1, action: { kind: 'hang' } }])
  await traced.runs.wait(run.id)
  await waitFor('the terminate to be asked', async () => control.events().some(({ op }) => op === 'terminate'), patience)
  await site.kill()
  const before = control.events().length
  await site.start({ OTLP_CANARY: 'x' })
  await site.ready()
  await gone(site)
  const again = control
    .events()
    .slice(before)
    .find((event) => event.kind === 'call' && event.op === 'terminate')
  expect(again?.traceparent).toContain(clientTrace)
  await site.stop()
})

test('without a collector contexts travel all the same', { timeout }, async () => {
  const { site, traced } = await open('')
  await site.start()
  await site.ready()
  const run = await traced.runs.create({ pool: 'cold', command: ['true'] })
  await traced.runs.wait(run.id)
  await gone(site)
  const calls = fakeControl(vendorDir(site.data)).events()
  for (const op of ['launch', 'logs', 'terminate'])
    expect([op, calls.find((event) => event.kind === 'call' && event.op === op)?.traceparent]).toEqual([op, traceparent])
  expect(await site.client.runs.get(run.id)).toMatchObject({ trace: clientTrace })
  // The command line passes on what its environment says, as CI systems set it for their steps.
  const other = traceparent.replace(clientTrace, 'cafe'.repeat(8))
  expect(await muster(['run', '--pool', 'cold', '--', 'true'], { cwd: site.dir, env: { TRACEPARENT: other } })).toMatchObject({
    code: 0,
  })
  expect((await site.client.runs.list({ ended: 'true' })).items.map(({ trace }) => trace)).toEqual([
    'cafe'.repeat(8),
    clientTrace,
  ])
})

test('metrics at an address of their own, and nothing else there', { timeout }, async () => {
  const { site } = await open('metrics: { listen: "127.0.0.1:0" }')
  await site.start()
  await site.ready()
  const run = await site.client.runs.create({ pool: 'hold', command: ['true'] })
  await site.client.runs.wait(run.id)
  await gone(site)
  const url = /"url":"(http:[^"]+)\/metrics"/.exec(site.output())?.[1] ?? ''
  const answer = await fetch(`${url}/metrics`)
  expect(answer.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8')
  const families = readExposition(await answer.text())
  const value = (name: string, labels?: Record<string, string>): number => sampleOf(families, name, labels) ?? Number.NaN
  expect(value('muster_build_info', { version: '0.1.0', node: process.versions.node })).toBe(1)
  expect(value('muster_runs_ended_total', { pool: 'hold', outcome: 'passed' })).toBe(1)
  expect(value('muster_provider_calls_total', { provider: 'p', method: 'launch', code: 'ok' })).toBe(1)
  expect(value('muster_provider_call_seconds_count', { provider: 'p', method: 'launch' })).toBe(1)
  expect(families.get('muster_provider_call_seconds')?.samples.some(({ labels }) => labels['method'] === 'watch')).toBe(false)
  expect(value('muster_provider_state', { provider: 'p', state: 'ready' })).toBe(1)
  expect(value('muster_worker_ready_seconds_count', { pool: 'hold', provider: 'p' })).toBe(1)
  expect(value('muster_store_commit_seconds_count')).toBeGreaterThan(3)
  expect(value('muster_store_commit_writes_sum')).toBeGreaterThanOrEqual(value('muster_store_commit_writes_count'))
  expect(value('muster_store_bytes', { part: 'wal' })).toBeGreaterThan(4096)
  expect(value('muster_api_requests_total', { operation: 'createRun', status: '201' })).toBe(1)
  expect(value('process_resident_memory_bytes')).toBeGreaterThan(10_000_000)
  expect(value('process_cpu_seconds_total')).toBeGreaterThan(0)
  expect(value('muster_event_loop_lag_seconds', { quantile: '1' })).toBeGreaterThanOrEqual(
    value('muster_event_loop_lag_seconds', { quantile: '0.5' }),
  )
  expect((await fetch(`${url}/v1/pools`)).status).toBe(404)
  expect((await fetch(`${url}/metrics`, { method: 'POST' })).status).toBe(405)
  await site.stop()
  await expect(fetch(`${url}/metrics`)).rejects.toThrow('fetch failed')
})
