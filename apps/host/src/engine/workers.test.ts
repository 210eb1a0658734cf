/** Workers between what a provider does and what is recorded of them. */
import { ProviderError } from '@muster/core'
import { expect, test } from 'vitest'
import { type Tracing, untraced } from '../observe/trace.ts'
import type { CallOptions } from '../plugins/api.ts'
import { type Harness, leaseRequest, poolConfig } from './testing/harness.ts'
import type { Fault } from './testing/vendor.ts'
import { holding } from './holding.test.helper.ts'

let h: Harness
const { open, leased } = holding((opened) => (h = opened))

test('who ends a worker by force has it killed at once; who gives its lease back does not', async () => {
  await open()
  const [forced, released] = [await leased(), await leased()]
  await h.engine.workers.terminate(forced.worker, { principal: 'ann', reason: 'it hangs', force: true })
  await h.engine.leases.release(released.lease, { reason: 'done' })
  await h.pass(100)
  const ends = h.provider().vendor.calls.filter(({ method }) => method === 'terminate')
  expect(ends).toMatchObject([
    { id: forced.worker, force: true },
    { id: released.worker, force: false },
  ])
})

test('a page of workers goes on where the one before it ended', async () => {
  await open()
  const older = (await leased()).worker
  await h.pass(1000)
  const newer = (await leased()).worker
  const ids = async (before?: string): Promise<string[]> =>
    (await h.engine.workers.list(before === undefined ? {} : { before })).map(({ id }) => id)
  expect([await ids(), await ids(newer), await ids(older)]).toEqual([[newer, older], [older], []])
})

test('what is seen of a worker after its end is old, but that it is lost', async () => {
  await open()
  const { lease, worker } = await leased({ ofRun: 'r1' })
  const see = async (phase: 'exited' | 'running' | 'lost', more: object = {}): Promise<string | null | undefined> => {
    Object.assign(h.provider().vendor.workers.get(worker) ?? {}, { phase, ...more })
    h.provider().announce(worker)
    await h.settle()
    return h.engine.workers.get(worker)?.observed_phase
  }
  expect(await see('exited', { exit: { code: 3, reason: 'exit 3' } })).toBe('exited')
  expect(await see('running', { ready: true })).toBe('exited')
  // Said again, with what its provider found out since.
  expect(await see('exited', { part: 'm1' })).toBe('exited')
  expect(h.engine.workers.get(worker)?.part).toBe('m1')
  await see('lost')
  expect(await h.engine.leases.find(lease)).toMatchObject({ end: 'lost' })
})

test('a worker that was seen ready before the answer of its launch is handed out with that answer', async () => {
  let tries = 0
  const fault = (method: string): { error: ProviderError; effect: boolean } | undefined =>
    method === 'launch' && tries++ === 0 ? { error: new ProviderError('transient', 'cut off'), effect: true } : undefined
  await open({ providers: [{ name: 'one', readyMs: 0, fault }] })
  const { id } = await h.engine.leases.request(leaseRequest())
  while (tries < 2) await h.pass(50)
  await h.settle()
  expect(h.engine.leases.get(id)?.state).toBe('active')
  // Nobody had to ask.
  const { calls } = h.provider().vendor
  expect(calls.slice(calls.findLastIndex(({ method }) => method === 'launch') + 1)).toEqual([])
})

test('each try to end a worker belongs to the trace of its lease, after a kill too', async () => {
  await open()
  const traceparent = `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`
  const { lease } = await leased({ traceparent })
  const traces: (string | undefined)[] = []
  const reasons = new Set<string>()
  h.provider().terminate = (_target, { reason }, call?: CallOptions) => {
    traces.push(call?.traceparent?.slice(3, 35))
    reasons.add(reason)
    return Promise.reject(new ProviderError('transient', 'no answer'))
  }
  await h.engine.leases.release(lease, { reason: 'done' })
  await h.pass(1000)
  const before = traces.length
  await h.crash()
  await h.pass(10_000)
  expect(before).toBeGreaterThan(0)
  expect(traces.length).toBeGreaterThan(before + 1)
  expect(new Set(traces)).toEqual(new Set(['a'.repeat(32)]))
  expect([...reasons]).toEqual(['done'])
})

test('the trace of a worker has its failed calls as such, with their codes', async () => {
  const ends: unknown[] = []
  const start: Tracing['start'] = (name, given) => ({
    traceparent: untraced.start(name, given).traceparent,
    end: (how) => void ends.push([name, how?.failed]),
  })
  let left = 1
  const failing = (method: string): boolean => ['launch', 'terminate'].includes(method) && left-- > 0
  const error = new ProviderError('transient', 'busy', { effect: 'none' })
  await open({
    providers: [{ name: 'one', fault: (method) => (failing(method) ? { error } : undefined) }],
    engine: { tracing: { ...untraced, start } },
  })
  const { lease } = await leased()
  await h.pass(1000)
  left = 1
  await h.engine.leases.release(lease, { reason: 'done' })
  await h.pass(1000)
  expect(ends).toEqual([
    ['worker launch', 'transient'],
    ['worker launch', undefined],
    ['worker terminate', 'transient'],
    ['worker terminate', undefined],
  ])
})

test('a provider that came since the start is told apart from those that were there', async () => {
  const pools = [poolConfig()]
  await open({ pools, providers: [{ name: 'one' }, { name: 'two' }] })
  h.gone.add('two')
  await h.crash()
  h.gone.delete('two')
  const settings = { reconcileMs: 30_000, orphanGraceMs: 120_000, retention: { recordsMs: 1e12, journalMs: 1e12 } }
  const how = { principal: 'tester', changes: ['two'], commit: () => undefined }
  await h.engine.configure({ pools, ...settings }, how)
  await h.pass(100)
  expect([h.engine.looked('one'), h.engine.looked('two')]).toEqual([{ looked: true }, { looked: true, late: true }])
})

test('what fails because the host stops is not told as a failure', async () => {
  let stopped: Promise<void> | undefined
  const mayAct = (): boolean => {
    stopped = h.engine.stop()
    throw new Error('its term is over')
  }
  let going = true
  await open({ engine: { fence: { epoch: () => 1, mayAct: () => going || mayAct() } } })
  going = false
  const { id } = await h.engine.leases.request(leaseRequest())
  await h.settle()
  await stopped
  expect(stopped).toBeDefined()
  expect(h.engine.leases.get(id)?.state).toBe('queued')
})

test('an answer that cannot be stored any more while the host stops is left to the next start, and nothing waits', async () => {
  const fault = (method: string): { delayMs: number } | undefined => (method === 'launch' ? { delayMs: 500 } : undefined)
  await open({ providers: [{ name: 'one', readyMs: 0, fault }] })
  const { id } = await h.engine.leases.request(leaseRequest())
  await h.settle()
  const stopped = h.engine.stop()
  h.ill = 'full'
  // What sets a timer now would keep the process.
  const { activity } = h.clock
  await h.pass(600)
  await stopped
  expect(h.clock.activity).toBe(activity)
  h.ill = undefined
  await h.crash()
  await h.pass(600)
  expect([h.engine.leases.get(id)?.state, h.provider().vendor.workers.size]).toEqual(['active', 1])
})

test('a launch has half of the time in which its worker must be ready, half a minute where that is longer, and never more than all', async () => {
  const pools = [20_000, 50_000, 600_000].map((startDeadlineMs) =>
    poolConfig({ name: `p${startDeadlineMs}`, work: 'hold', startDeadlineMs }),
  )
  await open({ pools })
  const times: (number | undefined)[] = []
  const { launch } = h.provider()
  h.provider().launch = (spec, options) => {
    times.push(options.timeoutMs)
    return launch(spec, options)
  }
  for (const { name } of pools) await leased({ pool: name })
  expect(times).toEqual([20_000, 30_000, 300_000])
})

test('one that is forgotten in the moment in which its end is to be forced is no fault of the host', async () => {
  const busy = new ProviderError('transient', 'busy')
  await open({ providers: [{ name: 'one', fault: (method) => (method === 'terminate' ? { error: busy } : undefined) }] })
  const { lease, worker } = await leased()
  await h.engine.leases.release(lease, { reason: 'done' })
  const due = h.clock.now() + 121_000
  await h.settle()
  const { store } = h.engine
  const { write } = store
  Object.assign(store, {
    write: async (work: Parameters<typeof write>[0]) => {
      if (h.clock.now() >= due) {
        Object.assign(store, { write })
        await h.engine.workers.forget(worker, { principal: 'ann', reason: 'its machine is gone' })
      }
      return write(work)
    },
  })
  await h.pass(300_000)
  expect(await h.engine.workers.find(worker)).toMatchObject({ end: 'disowned', terminate_force: 0 })
})

test('one that is still there when its time to end is over is killed with that very try', async () => {
  // So long a pause ends with the grace and the two minutes that follow it.
  const error = new ProviderError('transient', 'busy', { retryAfterMs: 121_000 })
  await open({ providers: [{ name: 'one', fault: (method) => (method === 'terminate' ? { error } : undefined) }] })
  const { lease } = await leased()
  await h.engine.leases.release(lease, { reason: 'done' })
  await h.pass(121_000)
  const forced = h.provider().vendor.calls.flatMap(({ method, force }) => (method === 'terminate' ? [force] : []))
  expect(forced).toEqual([false, true])
})

test('one that is forgotten before it is written that its end has failed again is no fault of the host', async () => {
  const busy = new ProviderError('transient', 'busy')
  await open({ providers: [{ name: 'one', fault: (method) => (method === 'terminate' ? { error: busy } : undefined) }] })
  const { lease, worker } = await leased()
  const { calls } = h.provider().vendor
  const { store } = h.engine
  const { write } = store
  Object.assign(store, {
    write: async (work: Parameters<typeof write>[0]) => {
      if (calls.filter(({ method }) => method === 'terminate').length === 2) {
        Object.assign(store, { write })
        await h.engine.workers.forget(worker, { principal: 'ann', reason: 'its machine is gone' })
      }
      return write(work)
    },
  })
  await h.engine.leases.release(lease, { reason: 'done' })
  await h.pass(60_000)
  const rules = (await h.engine.journal.why('worker', worker)).map(({ rule }) => rule)
  expect(rules.filter((rule) => rule === 'terminate-retry' || rule === 'worker-forgotten')).toEqual([
    'terminate-retry',
    'worker-forgotten',
  ])
})

test('one that is not ready in time is ended where it is, and one whose launch was not sent has nothing to end', async () => {
  let slow: Fault | undefined
  const fault = (method: string): Fault | undefined => (method === 'launch' ? slow : undefined)
  await open({ providers: [{ name: 'one', inFlight: 2, readyMs: 1e9, fault }] })
  const overdue = async (worker: string): Promise<unknown> => {
    const row = (await h.engine.journal.why('worker', worker)).find(({ rule }) => rule === 'start-deadline')
    return JSON.parse(row?.inputs ?? '{}')
  }
  const first = await leased()
  expect(h.engine.workers.get(first.worker)?.phase).toBe('starting')
  slow = { delayMs: 200_000 }
  // One place for launches: the third waits for the second.
  await h.engine.leases.request(leaseRequest())
  const third = await leased()
  await h.pass(60_000)
  expect(await overdue(first.worker)).toMatchObject({ phase: 'starting', doubt: true })
  expect(h.provider().vendor.workers.has(first.worker)).toBe(false)
  expect(await overdue(third.worker)).toMatchObject({ phase: 'launching', doubt: false })
})
