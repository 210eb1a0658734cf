/** The guard in front of a plugin's process, with a process of straw. */
import {
  ProviderError,
  type CallOptions,
  type SpanBatch,
  type WorkerClient,
  type WorkerExit,
  type WorkerObservation,
} from '@muster/core'
import { expect, test, vi } from 'vitest'
import type { CallWitness } from './api.ts'
import type { Current } from './door.ts'
import { createGuard, type Guard } from './guard.ts'
import { openHolds } from './holds.ts'
import { createRedactor } from './redactor.ts'

const tags = { 'muster-owner': 'o1', 'muster-provider': 'p1' }
const spec = { id: 'w1' } as Parameters<Guard['calls']['launch']>[0]
const target = { id: 'w1' } as Parameters<Guard['calls']['terminate']>[0]
const how = { graceMs: 1, force: false, reason: 'test' }

/** Answers every call with `answer`; notes what it was asked. */
function straw(
  answer: (method: string) => unknown = () => ({}),
  other?: WorkerClient,
  { told, spans }: { told?: string[]; spans?: (batch: SpanBatch) => void } = {},
) {
  const asked: { method: string; given: unknown[]; options: CallOptions }[] = []
  const term = { acts: true, epoch: 7 }
  const failures: string[] = []
  const plain = new Proxy({} as WorkerClient, {
    get:
      (_target, method: string) =>
      async (...given: unknown[]) => {
        asked.push({ method, given, options: given.at(-1) as CallOptions })
        return answer(method)
      },
  })
  const worker = other ?? plain
  const holds = openHolds()
  let current: Current = { worker, holds, inFlight: 8 }
  const witness: CallWitness = ({ method, stream, provider, attempt }) => ({
    traceparent: 'of the witness',
    end: (code) => told?.push(`${provider} ${method}${stream ? ' stream' : ''} ${attempt} ${code}`),
    ...(spans === undefined ? {} : { spans }),
  })
  const guard = createGuard({
    tags,
    fence: { mayAct: () => term.acts, epoch: () => term.epoch },
    current: () => current,
    secret: async () => ({ value: 'hunter22', version: '1' }),
    redactor: createRedactor(),
    onFailure: (method, error) => failures.push(`${method} ${error.code}`),
    ...(told === undefined ? {} : { witness }),
  })
  return { guard, worker, asked, term, failures, holds, down: (how: Current) => void (current = how) }
}

function seen(id: string, more: Partial<typeof tags> = {}): WorkerObservation {
  return { id, tags: { ...tags, ...more } } as unknown as WorkerObservation
}

const fault = (code: ConstructorParameters<typeof ProviderError>[0]) => (): never => {
  throw new ProviderError(code, `it is ${code}`)
}

test('without a term nothing is changed at the vendor, and everything may be looked at', async () => {
  const { guard, asked, term } = straw(() => [])
  term.acts = false
  const { calls } = guard
  const mutating = [
    calls.launch(spec, {}),
    calls.terminate(target, how, {}),
    calls.exec(target, {} as never),
    calls.execKill(target, {} as never),
    calls.copyIn(target, {} as never),
    calls.suspend(target, { keeps: 'memory' }),
    calls.resume(target),
    calls.preparePool({} as never),
    calls.unpreparePool({ pool: {}, handle: {} } as never),
  ]
  for (const outcome of await Promise.allSettled(mutating))
    expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'cancelled', effect: 'none' } })
  expect(asked).toEqual([])
  await calls.inspect([])
  expect(asked).toMatchObject([{ method: 'inspect' }])
})

test('every call carries the epoch of its host, a deadline and a key', async () => {
  const { guard, asked, term } = straw()
  await guard.calls.launch(spec, {})
  term.epoch = 8
  await guard.calls.terminate(target, how, { timeoutMs: 5, idempotencyKey: 'k', attempt: 3 })
  expect(asked[0]?.options).toMatchObject({ epoch: 7, attempt: 1, deadlineMs: 120_000 })
  expect(asked[0]?.options.idempotencyKey).toMatch(/^[0-9a-f-]{36}$/)
  expect(asked[1]?.options).toMatchObject({ epoch: 8, attempt: 3, deadlineMs: 5, idempotencyKey: 'k' })
})

test.each(['muster-owner', 'muster-provider'] as const)('a worker with another %s is not taken', async (tag) => {
  const { guard } = straw((method) =>
    method === 'list' ? { workers: [seen('w1', { [tag]: 'x' })] } : [seen('w1', { [tag]: 'x' })],
  )
  await expect(guard.calls.list({ limit: 1 })).rejects.toMatchObject({ code: 'internal', effect: 'none' })
  await expect(guard.calls.inspect([target])).rejects.toMatchObject({ code: 'internal', effect: 'none' })
})

test('an answer about a worker that was not asked for is a fault; those that were asked for pass', async () => {
  const { guard } = straw(() => [seen('w1'), seen('w2')])
  await expect(guard.calls.inspect([target])).rejects.toThrow('it answered for w2')
  await expect(guard.calls.inspect([target, { id: 'w2' }])).resolves.toHaveLength(2)
})

test('five faults in a row open the breaker; what the vendor lacks is no fault of the plugin', async () => {
  const lacking = straw(fault('capacity'))
  for (let n = 0; n < 6; n++) await expect(lacking.guard.calls.launch(spec, {})).rejects.toMatchObject({ code: 'capacity' })
  expect(lacking.guard.breaker()).toBe('closed')

  const { guard, asked, failures } = straw(fault('internal'))
  for (let n = 0; n < 5; n++) {
    expect(guard.breaker()).toBe('closed')
    await expect(guard.calls.launch(spec, {})).rejects.toMatchObject({ code: 'internal' })
  }
  expect(guard.breaker()).toBe('open')
  await expect(guard.calls.launch(spec, {})).rejects.toMatchObject({ code: 'transient', effect: 'none' })
  expect(asked).toHaveLength(5)
  // That it was not asked is no failure of its own.
  expect(failures).toEqual(Array(5).fill('launch internal'))
  guard.renew()
  expect(guard.breaker()).toBe('closed')
})

test('a secret that a plugin was given is in none of its errors, and what the error says besides stays', async () => {
  const { guard, asked } = straw((method) => {
    if (method === 'launch')
      throw new ProviderError('quota', 'hunter22 was refused', {
        hint: 'not hunter22',
        quota: 'vcpus',
        retryAfterMs: 5,
        effect: 'none',
      })
    return {}
  })
  await guard.calls.probe()
  expect(await asked[0]?.options.secret?.('token', {} as never)).toEqual({ value: 'hunter22', version: '1' })
  await expect(guard.calls.launch(spec, {})).rejects.toMatchObject({
    code: 'quota',
    message: '[secret] was refused',
    hint: 'not [secret]',
    quota: 'vcpus',
    retryAfterMs: 5,
    effect: 'none',
  })
})

test('what a worker or a command is given is in no error of any call after it', async () => {
  const said: string[] = ['password1', 'ticket-22', 'exec-word', Buffer.from('file-word').toString('base64')]
  const { guard } = straw((method) => {
    if (method === 'terminate') throw new ProviderError('internal', said.join(' '))
    return {}
  })
  const work = { mode: 'agent', ticket: { $secret: 'ticket-22' }, url: 'http://x' } as const
  const files = [{ path: 'f', base64: said[3] ?? '' }]
  await guard.calls.launch({ ...spec, work, files, env: { A: 'password1' } }, {})
  await guard.calls.exec(target, { env: { B: 'exec-word' } } as never)
  await expect(guard.calls.terminate(target, how, {})).rejects.toMatchObject({ message: '[secret] [secret] [secret] [secret]' })
})

test('each call goes to the method of its name, with what it was given', async () => {
  const { guard, asked } = straw((method) => (method === 'list' ? { workers: [] } : []))
  const { calls } = guard
  const input = { path: '/x' } as never
  const pool = { pool: 'a' } as Parameters<typeof calls.preparePool>[0]
  await Promise.all([
    calls.probe(),
    calls.launch(spec, {}),
    calls.terminate(target, how, {}),
    calls.list({ limit: 1 }),
    calls.inspect([target]),
    calls.exec(target, input),
    calls.execState(target, 'x'),
    calls.execKill(target, input),
    calls.copyIn(target, input),
    calls.suspend(target, { keeps: 'memory' }),
    calls.resume(target),
    calls.mark(target, { leased: true }),
    calls.headroom(),
    calls.quote(input),
    calls.preparePool(pool),
    calls.unpreparePool({ pool, handle: { v: 1, data: 1 } }),
  ])
  const names = [
    'probe',
    'launch',
    'terminate',
    'list',
    'inspect',
    'exec',
    'execState',
    'execKill',
    'copyIn',
    'suspend',
    'resume',
    'mark',
  ]
  expect(asked.map(({ method }) => method)).toEqual([...names, 'headroom', 'quote', 'preparePool', 'unpreparePool'])
  const given = Object.fromEntries(asked.map(({ method, given: all }) => [method, all.slice(0, -1)]))
  expect(given).toMatchObject({
    launch: [spec],
    terminate: [target, how],
    list: [{ limit: 1, tags }],
    inspect: [[target]],
    exec: [target, input],
    execState: [target, 'x'],
    copyIn: [target, input],
    quote: [input],
    preparePool: [{ pool: 'a', tags: { ...tags, 'muster-pool': 'a' } }],
    unpreparePool: [{ pool: { pool: 'a', tags: { ...tags, 'muster-pool': 'a' } }, handle: { v: 1, data: 1 } }],
  })
})

test('a terminal stays with the process that it began in, and hears of its sizes there; other commands hold nothing up', async () => {
  const exit = Promise.withResolvers<WorkerExit>()
  const process = straw((method) => (method === 'exec' ? { output: [], exit: exit.promise } : undefined))
  const { guard, asked, holds, down } = process
  const other = straw()
  const terminal = await guard.calls.exec(target, { id: 'x1', tty: { columns: 80, rows: 24 } } as never)
  let quiet = false
  void holds.empty().then(() => (quiet = true))
  // Another process has taken over.
  down({ worker: other.worker, holds: other.holds, inFlight: 8 })
  await terminal.resize({ columns: 100, rows: 30 })
  const size = { id: 'x1', columns: 100, rows: 30 }
  expect(asked.at(-1)).toMatchObject({ method: 'execResize', given: [target, size, {}], options: { deadlineMs: 30_000 } })
  expect([other.asked, quiet]).toEqual([[], false])
  exit.resolve({ code: 0, reason: 'exited' })
  await holds.empty()
  const plain = straw((method) => (method === 'exec' ? { output: [], exit: new Promise(() => undefined) } : undefined))
  await plain.guard.calls.exec(target, { id: 'x2' } as never)
  await plain.holds.empty()
})

test('a terminal that does not begin holds nothing up', async () => {
  const { guard, holds } = straw(fault('transient'))
  await expect(guard.calls.exec(target, { id: 'x1', tty: {} } as never)).rejects.toMatchObject({ code: 'transient' })
  await holds.empty()
})

test('streams go to the method of their name, and give what it gives', async () => {
  const asked: [string, unknown[]][] = []
  const worker = new Proxy({} as WorkerClient, {
    get: (_target, method: string) =>
      async function* (...given: unknown[]) {
        asked.push([method, given.slice(0, -1)])
        yield method
      },
  })
  const { guard } = straw(undefined, worker)
  const { calls } = guard
  const query = { follow: true }
  const input = { port: 1 } as never
  const streams = [
    calls.watch(),
    calls.stats({ everyMs: 500 }),
    calls.logs(target, query),
    calls.copyOut(target, '/x'),
    calls.forward(target, input),
  ]
  const got = await Promise.all(streams.map((stream) => Array.fromAsync(stream as AsyncIterable<unknown>)))
  expect(got).toEqual([['watch'], ['stats'], ['logs'], ['copyOut'], ['forward']])
  expect(asked).toEqual([
    ['watch', [{ tags, limit: 500 }]],
    ['stats', [{ tags, everyMs: 500 }]],
    ['logs', [target, query]],
    ['copyOut', [target, '/x']],
    ['forward', [target, input]],
  ])
})

test('no call is without an end: looks take seconds, changes minutes, and only what is read or written for long has longer', async () => {
  const ms: Record<string, number> = {}
  const { guard, asked } = straw((method) => (method === 'list' ? { workers: [] } : []))
  const { calls } = guard
  const pool = { pool: 'a' } as Parameters<typeof calls.preparePool>[0]
  await Promise.all([
    calls.probe(),
    calls.list({ limit: 1 }),
    calls.inspect([]),
    calls.launch(spec, {}),
    calls.terminate(target, how, {}),
  ])
  await Promise.all([calls.execState(target, 'x'), calls.execKill(target, {} as never), calls.headroom()])
  await Promise.all([calls.quote({}), calls.suspend(target, { keeps: 'memory' }), calls.resume(target), calls.preparePool(pool)])
  await calls.mark(target, { leased: true })
  await Promise.all([calls.unpreparePool({ pool, handle: { v: 1, data: 1 } }), calls.exec(target, {} as never)])
  await calls.copyIn(target, {} as never)
  for (const { method, options } of asked) ms[method] = options.deadlineMs / 1000
  const [look, change, pools, long] = [30, 60, 300, 1800]
  expect(ms).toEqual({
    ...{ probe: 10, list: 60, inspect: look, execState: look, execKill: look, headroom: look, quote: look, mark: look },
    ...{ launch: 120, terminate: change, suspend: change, resume: change, preparePool: pools, unpreparePool: pools },
    ...{ exec: long, copyIn: long },
  })
})

test('a stream ends by a deadline too, and what it fails with is told as of any call', async () => {
  const ends: number[] = []
  const told: string[] = []
  const worker = new Proxy({} as WorkerClient, {
    get: () =>
      async function* (...given: unknown[]) {
        ends.push((given.at(-1) as CallOptions).deadlineMs / 60_000)
        yield 1
        if (ends.length > 4) throw new ProviderError('capacity', 'hunter22 is full')
      },
  })
  const { guard, failures } = straw(undefined, worker, { told })
  const { calls } = guard
  const input = { port: 1 } as never
  const all = [calls.watch(), calls.logs(target, { follow: true }), calls.copyOut(target, '/x'), calls.forward(target, input)]
  for (const stream of all) for await (const _ of stream as AsyncIterable<unknown>);
  expect(ends).toEqual([10, 30, 30, 60])
  expect([told, failures]).toEqual([['watch', 'logs', 'copyOut', 'forward'].map((method) => `p1 ${method} stream 1 ok`), []])
  await expect(Array.fromAsync(calls.copyOut(target, '/x'))).rejects.toMatchObject({ code: 'capacity' })
  expect([told.at(-1), failures]).toEqual(['p1 copyOut stream 1 capacity', ['copyOut capacity']])
})

test('a stream is asked for with all that was said beside it', async () => {
  const given: CallOptions[] = []
  const worker = new Proxy({} as WorkerClient, {
    get: () =>
      async function* (...all: unknown[]) {
        given.push(all.at(-1) as CallOptions)
        yield 1
      },
  })
  const { guard } = straw(undefined, worker, { told: [] })
  const { signal } = new AbortController()
  const beside = { signal, timeoutMs: 5000, idempotencyKey: 'k', attempt: 3 }
  await Array.fromAsync(guard.calls.logs(target, { follow: true }, beside))
  expect(given).toMatchObject([{ deadlineMs: 5000, idempotencyKey: 'k', attempt: 3, traceparent: 'of the witness' }])
  expect(given[0]?.signal).toBe(signal)
})

test('a process may go once its calls have ended; whoever only watches or follows a log does not hold it', async () => {
  const open = Promise.withResolvers<void>()
  const worker = new Proxy({} as WorkerClient, {
    get: (_target, method: string) =>
      ['watch', 'stats', 'logs', 'copyOut'].includes(method)
        ? async function* () {
            yield 1
            await open.promise
          }
        : () => open.promise,
  })
  const { guard, holds } = straw(undefined, worker)
  let empty = false
  const look = async (): Promise<boolean> => {
    empty = false
    void holds.empty().then(() => (empty = true))
    await new Promise(setImmediate)
    return empty
  }
  const resumed = [guard.calls.watch(), guard.calls.stats({ everyMs: 500 }), guard.calls.logs(target, { follow: true })]
  const streams = resumed.map((one) => one[Symbol.asyncIterator]())
  for (const one of streams) await one.next()
  expect(await look()).toBe(true)
  const copy = guard.calls.copyOut(target, '/x')[Symbol.asyncIterator]()
  await copy.next()
  expect(await look()).toBe(false)
  const asked = guard.calls.headroom()
  await copy.return?.()
  expect(await look()).toBe(false)
  open.resolve()
  await asked
  expect(await look()).toBe(true)
})

test('while a process is down it is said when to ask again, and nobody is asked', async () => {
  const { guard, asked, down } = straw()
  down({ down: 'it fell', retryAfterMs: 7 })
  await expect(guard.calls.headroom()).rejects.toMatchObject({
    ...{ code: 'transient', effect: 'none', retryAfterMs: 7 },
    message: "headroom: the provider's process is down: it fell",
  })
  expect(asked).toEqual([])
})

test('what an open breaker refuses may be asked again in seconds, and then one call goes first', async () => {
  vi.useFakeTimers({ toFake: ['Date'] })
  try {
    let works = false
    const { guard, asked } = straw(() => {
      if (!works) throw new ProviderError('internal', 'broken')
      return {}
    })
    for (let n = 0; n < 5; n++) await expect(guard.calls.headroom()).rejects.toMatchObject({ code: 'internal' })
    await expect(guard.calls.headroom()).rejects.toMatchObject({ code: 'transient', retryAfterMs: 5000 })
    vi.setSystemTime(Date.now() + 5 * 60_000)
    works = true
    await guard.calls.headroom()
    expect([asked.length, guard.breaker()]).toEqual([6, 'closed'])
  } finally {
    vi.useRealTimers()
  }
})

test('what a plugin did for a call is told without its secrets, to whoever looks alone', async () => {
  const spans: SpanBatch[] = []
  const told: string[] = []
  const { guard, asked } = straw(undefined, undefined, { told, spans: (batch) => spans.push(batch) })
  const signal = new AbortController().signal
  await guard.calls.headroom({ signal, traceparent: 'given', attempt: 2 })
  expect(told).toEqual(['p1 headroom 2 ok'])
  const { options } = asked[0] ?? {}
  expect([options?.signal, options?.traceparent]).toEqual([signal, 'of the witness'])
  await options?.secret?.('token', {} as never)
  options?.spans?.({ dropped: 0, spans: [{ name: 'with hunter22' }] } as unknown as SpanBatch)
  expect(spans).toEqual([{ dropped: 0, spans: [{ name: 'with [secret]' }] }])
  const alone = straw()
  await alone.guard.calls.headroom()
  expect(alone.asked[0]?.options).not.toHaveProperty('spans')
  expect(alone.asked[0]?.options).not.toHaveProperty('signal')
})
