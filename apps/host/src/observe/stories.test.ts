import { waitFor } from '@muster/test/systems/wait'
import { afterEach, expect, test } from 'vitest'
import type { RunRecord } from '../engine/model.ts'
import { type Harness, leaseRequest, openHarness, owner, poolConfig } from '../engine/testing/harness.ts'
import { callWitness } from './calls.ts'
import { storeError } from '../store/sqlite.ts'
import { createLog, type LogLevel } from './log.ts'
import { createMetrics } from './metrics/metrics.ts'
import { tellConditions, tellDecisions, tellRun, tellWaiting } from './stories.ts'
import { type SpanStart, type Tracing, untraced } from './trace.ts'

let h: Harness | undefined
afterEach(async () => {
  await h?.close()
  h = undefined
})

const trace = 'ab'.repeat(16)
const traceparent = `00-${trace}-${'cd'.repeat(8)}-01`

function logOf(level: LogLevel): { log: ReturnType<typeof createLog>; lines: Record<string, unknown>[] } {
  const lines: Record<string, unknown>[] = []
  const write = (line: string): void => void lines.push(JSON.parse(line) as Record<string, unknown>)
  return { log: createLog({ level, format: 'json', write }), lines }
}

async function open(): Promise<Harness> {
  h = await openHarness({ pools: [poolConfig()], providers: [{ name: 'one' }] })
  return h
}

const run = {
  id: 'r1',
  kind: 'run',
  pool: 'ci',
  outcome: 'failed',
  worker_id: 'w1',
  lease_id: 'l1',
  created_at: 1000,
  started_at: 1500,
  ended_at: 3000,
  ahead: null,
  request: JSON.stringify({ command: ['canary'], env: { A: '' }, traceparent }),
  reason: 'canary',
} as RunRecord

function recording(): { tracing: Tracing; spans: { name: string; start: SpanStart; end: unknown }[] } {
  const spans: { name: string; start: SpanStart; end: unknown }[] = []
  const start: Tracing['start'] = (name, given = {}) => {
    const span = { name, start: given, end: undefined as unknown }
    spans.push(span)
    return { traceparent, end: (how) => void (span.end = how) }
  }
  return { tracing: { ...untraced, on: true, start }, spans }
}

test('the end of a run is a line with all its ids, and a span over its whole life', () => {
  const { log, lines } = logOf('info')
  const { tracing, spans } = recording()
  tellRun({ log, tracing }, run)
  expect(lines).toEqual([
    {
      level: 'info',
      time: expect.any(String),
      msg: 'run ended',
      run: 'r1',
      kind: 'run',
      pool: 'ci',
      outcome: 'failed',
      ms: 2000,
      worker: 'w1',
      lease: 'l1',
      trace,
    },
  ])
  expect(spans).toEqual([
    {
      name: 'run',
      start: {
        parent: traceparent,
        at: 1000,
        facts: { 'muster.run': 'r1', 'muster.pool': 'ci', 'muster.outcome': 'failed' },
      },
      end: { at: 3000, failed: 'failed' },
    },
  ])
  // One that never had a worker or a trace says so by their absence.
  tellRun({ log, tracing: untraced }, { ...run, worker_id: null, lease_id: null, request: '{}' })
  for (const key of ['worker', 'lease', 'trace']) expect(lines[1]).not.toHaveProperty(key)
})

test('decisions are lines of level debug, with ids and trace; nothing of them at level info', async () => {
  const { engine, settle, pass } = await open()
  const debug = logOf('debug')
  const info = logOf('info')
  for (const { log } of [debug, info]) tellDecisions({ engine, log, tracing: untraced })
  const lease = await engine.leases.request(leaseRequest({ traceparent, requirements: { env: { A: 'canary' } } }))
  await settle()
  await pass(5000)
  const worker = engine.leases.get(lease.id)?.worker_id
  expect(debug.lines).toContainEqual(
    expect.objectContaining({
      level: 'debug',
      rule: 'worker-launched',
      pool: 'ci',
      provider: 'one',
      worker,
      lease: lease.id,
      trace,
    }),
  )
  expect(debug.lines).toContainEqual(expect.objectContaining({ rule: 'lease-queued', lease: lease.id }))
  expect(JSON.stringify(debug.lines)).not.toContain('canary')
  expect(info.lines).toEqual([])
})

test('a worker without a record is a line of level info from when it is found until it is gone', async () => {
  const { engine, pass, provider } = await open()
  const { log, lines } = logOf('info')
  tellDecisions({ engine, log, tracing: untraced })
  const worker = `w${'9'.repeat(26)}`
  const tags = {
    'muster-owner': owner,
    'muster-provider': 'one',
    'muster-pool': 'ci',
    'muster-worker': worker,
    'muster-epoch': '1',
  }
  const spec = { id: worker, tags, work: { mode: 'hold' as const } }
  provider().vendor.workers.set(worker, { spec, phase: 'running', ready: true, visibleAt: 0 })
  await pass(600_000)
  const about = { level: 'info', provider: 'one', pool: 'ci', worker }
  expect(lines).toEqual([
    expect.objectContaining({ ...about, rule: 'orphan-quarantined' }),
    expect.objectContaining({ ...about, rule: 'orphan-removed' }),
    expect.objectContaining({ ...about, rule: 'orphan-gone' }),
  ])
})

test('waiting becomes spans when it is over: in the queue, and for the worker', async () => {
  const { engine, settle, pass } = await open()
  const { tracing, spans } = recording()
  tellWaiting({ engine, log: logOf('info').log, tracing })
  const { id } = await engine.leases.request(leaseRequest({ traceparent }))
  await settle()
  await pass(5000)
  const lease = engine.leases.get(id)
  const facts = { 'muster.lease': id, 'muster.pool': 'ci' }
  expect(spans).toEqual([
    { name: 'lease queued', start: { parent: traceparent, at: lease?.requested_at, facts }, end: { at: lease?.assigned_at } },
    { name: 'worker readied', start: { parent: traceparent, at: lease?.assigned_at, facts }, end: { at: lease?.active_at } },
  ])
})

test('a call that fails is a line with its code and its trace, not with its message', async () => {
  const { log, lines } = logOf('debug')
  const { tracing, spans } = recording()
  const witness = callWitness({ metrics: createMetrics(), tracing, log })
  const call = { provider: 'one', method: 'launch', attempt: 2, stream: false }
  witness({ ...call, traceparent }).end('capacity')
  witness({ ...call, traceparent }).end('ok')
  // Of nobody's trace: no span, and a context all the same.
  expect(witness({ ...call, method: 'list' }).traceparent).toMatch(/^00-[0-9a-f]{32}-[0-9a-f]{16}-00$/)
  expect(lines).toMatchObject([{ provider: 'one', method: 'launch', code: 'capacity', attempt: 2, trace }])
  expect(spans.map(({ name, end }) => [name, end])).toEqual([
    ['provider launch', { failed: 'capacity' }],
    ['provider launch', {}],
  ])
})

test('a condition is a line when it begins and when it is over, not when it is said again', async () => {
  const { engine } = await open()
  const { log, lines } = logOf('info')
  tellConditions({ engine, log })
  const key = { scope: 'provider', name: 'one', type: 'list-failing' } as const
  engine.conditions.raise({ ...key, message: 'nobody answers', hint: 'start it' })
  engine.conditions.raise({ ...key, message: 'nobody answers yet', hint: 'start it' })
  engine.conditions.clear(key)
  engine.conditions.clear(key)
  const about = { condition: 'list-failing', scope: 'provider', name: 'one' }
  expect(lines).toEqual([
    expect.objectContaining({ level: 'warn', ...about, hint: 'start it', msg: 'nobody answers' }),
    expect.objectContaining({ level: 'info', ...about, msg: 'no longer so: nobody answers yet' }),
  ])
})

test('a store that takes no rows is told by the log at once, and by the journal when it takes them again', async () => {
  const { engine } = await open()
  const { log, lines } = logOf('info')
  tellConditions({ engine, log })
  const full = storeError(Object.assign(new Error('database or disk is full'), { errcode: 13 }))
  await expect(engine.store.write(() => Promise.reject(full))).rejects.toMatchObject({ code: 'full' })
  await waitFor('the store to be well', () => engine.store.health().state === 'ok')
  const about = { condition: 'store-full', scope: 'host', name: 'store' }
  expect(lines).toEqual([
    expect.objectContaining({ level: 'warn', ...about }),
    expect.objectContaining({ level: 'info', ...about }),
  ])
  const rows = await waitFor('its rows', () => engine.store.read.selectFrom('journal').select(['rule', 'inputs']).execute(), {
    until: (found) => found.filter(({ inputs }) => inputs.includes('store-full')).length === 2,
  })
  expect(rows.map(({ rule }) => rule)).toEqual(['condition-raised', 'condition-cleared'])
})
