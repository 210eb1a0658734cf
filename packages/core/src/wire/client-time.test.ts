/** Calls settle in time, whatever the plugin and its author do. */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { ProviderError } from '../errors.ts'
import { answerGraceMs, settleMs, unresponsiveMs } from './limits.ts'
import { collect, connect, execId, failure, id, link, options, query, spec } from './link.test.helper.ts'
import { type OpenCall, openCall } from './serve-call.ts'

const target = { id }
const how = { graceMs: 0, force: false, reason: 'test' }
const launched = { handle: { v: 1, data: 1 } }
const command = { id: execId, command: ['x'], stdin: false, from: { stdout: 0, stderr: 0 } }

describe('time', () => {
  beforeEach(() => {
    vi.useFakeTimers()
  })
  afterEach(() => {
    vi.useRealTimers()
  })

  it('a plugin that does not answer an abort is waited for less than a second, and its late answer is dropped', async () => {
    const { host, raw } = connect()
    const abort = new AbortController()
    const failed = failure(host.worker.launch(spec, options({ signal: abort.signal })))
    const { id: call } = await raw.request('worker.launch')
    abort.abort()
    await raw.wait((one) => one.method === '$/cancel')
    await vi.advanceTimersByTimeAsync(answerGraceMs)
    expect(await failed).toMatchObject({ code: 'cancelled', effect: 'possible', message: 'launch: cancelled' })
    raw.message({ id: call, result: launched })
    await vi.advanceTimersByTimeAsync(unresponsiveMs * 2)
    expect(host.stats().asked).toBe(0)
    raw.message({ id: call, result: launched })
    expect(await host.closed).toMatchObject({ violation: 'duplicate-answer' })
  })

  it('a plugin is told once that a call is cancelled, however often it is', async () => {
    const { host, raw } = connect()
    const abort = new AbortController()
    const parts = host.worker.copyOut(target, '/x', options({ signal: abort.signal }))[Symbol.asyncIterator]()
    const failed = failure(parts.next())
    const { id: call, params } = await raw.request('worker.copyOut')
    abort.abort()
    await raw.wait((one) => one.method === '$/cancel')
    await parts.return?.()
    raw.message({ method: '$/end', params: { stream: params['out'], bytes: 0 } })
    raw.message({ id: call, error: { code: -32_000, message: 'x', data: { code: 'cancelled', effect: 'none' } } })
    await failed.catch(() => undefined)
    await parts.return?.()
    host.worker.launch(spec, options()).catch(() => undefined)
    await raw.request('worker.launch')
    expect(raw.messages.filter((one) => one.method === '$/cancel')).toEqual([expect.objectContaining({ params: { id: call } })])
  })

  it('a stream that is cancelled before it begins can be returned', async () => {
    const { host } = connect()
    const iterator = host.worker.watch(query, options({ signal: AbortSignal.abort() }))[Symbol.asyncIterator]()
    await expect(iterator.next()).rejects.toMatchObject({ code: 'cancelled', effect: 'none' })
    expect(await iterator.return?.()).toEqual({ done: true, value: undefined })
  })

  it('an answer in that second counts: it says how things stand', async () => {
    const { host, raw } = connect()
    const abort = new AbortController()
    const done = host.worker.launch(spec, options({ signal: abort.signal }))
    const { id: call } = await raw.request('worker.launch')
    abort.abort()
    await raw.wait((one) => one.method === '$/cancel')
    raw.message({ id: call, result: launched })
    expect(await done).toEqual(launched)
  })

  it('a deadline settles within its second without the plugin', async () => {
    const { host, raw } = connect()
    const failed = failure(host.worker.launch(spec, options({ deadlineMs: 3000 })))
    await raw.request('worker.launch')
    const before = performance.now()
    await vi.advanceTimersByTimeAsync(3999)
    expect(await failed).toMatchObject({ code: 'deadline', effect: 'possible', message: 'launch: the deadline has passed' })
    expect(performance.now() - before).toBeLessThan(4000)
  })

  it('a plugin that leaves an aborted call unanswered is unresponsive', async () => {
    const { host, raw } = connect()
    const failed = failure(host.worker.launch(spec, options({ deadlineMs: 10 })))
    await raw.request('worker.launch')
    await vi.advanceTimersByTimeAsync(answerGraceMs + 60)
    await failed
    await vi.advanceTimersByTimeAsync(unresponsiveMs)
    const message = `launch was past its deadline: nothing for ${unresponsiveMs} ms`
    expect(await host.closed).toEqual({ kind: 'unresponsive', message })
  })

  it('and is told to be so of one that was cancelled', async () => {
    const { host, raw } = connect()
    const abort = new AbortController()
    const failed = failure(host.worker.launch(spec, options({ deadlineMs: unresponsiveMs * 2, signal: abort.signal })))
    await raw.request('worker.launch')
    abort.abort()
    await vi.advanceTimersByTimeAsync(answerGraceMs)
    await failed
    await vi.advanceTimersByTimeAsync(unresponsiveMs)
    const message = `launch was cancelled: nothing for ${unresponsiveMs} ms`
    expect(await host.closed).toEqual({ kind: 'unresponsive', message })
  })

  it('a plugin that stood still with the host, as with their machine, is not: it has the whole time once more', async () => {
    const { host, raw } = connect()
    const failed = failure(host.worker.launch(spec, options({ deadlineMs: 10 })))
    const { id: call } = await raw.request('worker.launch')
    await vi.advanceTimersByTimeAsync(answerGraceMs + 60)
    await failed
    await vi.advanceTimersByTimeAsync(unresponsiveMs - 2000)
    const now = performance.now.bind(performance)
    const clock = vi.spyOn(performance, 'now').mockImplementation(() => now() + 120_000)
    // Awake again, it has much to do.
    await vi.advanceTimersByTimeAsync(5000)
    raw.message({ id: call, result: launched })
    await vi.advanceTimersByTimeAsync(unresponsiveMs * 2)
    clock.mockRestore()
    expect(await Promise.race([host.closed, Promise.resolve('open')])).toBe('open')
    expect(host.stats().asked).toBe(0)
  })

  it('a stream whose plugin hears of nothing ends with its deadline, and what came before can be read', async () => {
    const { host, raw } = connect()
    const seen: number[] = []
    const failed = failure(
      (async () => {
        for await (const part of host.worker.copyOut(target, '/x', options({ deadlineMs: 1000 }))) seen.push(part.length)
      })(),
    )
    const { params } = await raw.request('worker.copyOut')
    raw.frame(params['out'] as number, Buffer.alloc(7))
    await vi.waitFor(() => expect(seen).toEqual([7]))
    await vi.advanceTimersByTimeAsync(1000 + answerGraceMs)
    expect(await failed).toMatchObject({ code: 'deadline' })
  })

  it('a plugin that leaves a stream unfinished is unresponsive', async () => {
    const { host, raw } = connect()
    const failed = failure(collect(host.worker.copyOut(target, '/x', options())))
    const { id: call, params } = await raw.request('worker.copyOut')
    raw.message({ method: '$/end', params: { stream: params['out'], bytes: 5 } })
    raw.message({ id: call, result: {} })
    await vi.advanceTimersByTimeAsync(unresponsiveMs)
    expect(await host.closed).toMatchObject({ kind: 'unresponsive' })
    expect(await failed).toMatchObject({ code: 'internal' })
  })

  it('the signal of a call says why it aborts', async () => {
    const log = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined }
    const secret = (): Promise<never> => Promise.reject(new Error('none'))
    const params = { deadlineMs: 1000, idempotencyKey: 'k', epoch: 3, attempt: 1, traceparent: options().traceparent }
    const open = (): OpenCall => openCall(params, { method: 'launch', log, now: Date.now, secret })
    const [over, left] = [open(), open()]
    left.abort('cancelled')
    await vi.advanceTimersByTimeAsync(1000)
    expect([over, left].map(({ call }) => (call.signal.reason as Error).name)).toEqual(['TimeoutError', 'AbortError'])
    expect([over, left].map((one) => one.failure(new Error('odd')).message)).toEqual([
      'launch: the deadline has passed',
      'launch: cancelled',
    ])
    for (const one of [over, left]) one.end()
  })

  it('author code that ignores its signal is answered for: cancelled, deadline, late result dropped', async () => {
    const late = Promise.withResolvers<typeof launched>()
    const { host, service } = await link({ launch: () => late.promise })
    const abort = new AbortController()
    const cancelled = failure(host.worker.launch(spec, options({ signal: abort.signal })))
    const overdue = failure(host.worker.launch(spec, options({ deadlineMs: 1000 })))
    await vi.waitFor(() => expect(service.peer.stats().open).toBe(2))
    abort.abort()
    await vi.advanceTimersByTimeAsync(settleMs)
    expect(await cancelled).toMatchObject({ code: 'cancelled', effect: 'possible' })
    await vi.advanceTimersByTimeAsync(1000)
    expect(await overdue).toMatchObject({ code: 'deadline', effect: 'possible' })
    expect(service.peer.stats().open).toBe(0)
    late.resolve(launched)
    await vi.advanceTimersByTimeAsync(unresponsiveMs * 2)
    expect(host.stats().asked).toBe(0)
    expect(await Promise.race([host.closed, Promise.resolve('open')])).toBe('open')
  })

  it('an iterator that ignores its signal is returned and answered for', async () => {
    const returned = vi.fn<() => void>()
    const stuck = {
      [Symbol.asyncIterator]: () => ({
        next: () => new Promise<never>(() => undefined),
        return: () => {
          returned()
          return new Promise<never>(() => undefined)
        },
      }),
    }
    const { host, service } = await link({
      watch: () => stuck,
      exec: async () => ({ output: stuck, exit: new Promise(() => undefined) }),
    })
    const abort = new AbortController()
    const watched = failure(collect(host.worker.watch(query, options({ signal: abort.signal }))))
    const session = await host.worker.exec(target, command, options({ signal: abort.signal }))
    const read = failure(collect(session.output))
    await vi.waitFor(() => expect(service.peer.stats().open).toBe(2))
    abort.abort()
    await vi.advanceTimersByTimeAsync(settleMs)
    for (const one of [watched, read, failure(session.exit)]) expect(await one).toMatchObject({ code: 'cancelled' })
    expect(returned).toHaveBeenCalledTimes(2)
    expect(service.peer.stats()).toMatchObject({ open: 0, senders: 0 })
  })

  it('an error that the author throws at the abort keeps what it says of the effect', async () => {
    const { host } = await link({
      launch: (_spec, call) =>
        new Promise((_resolve, reject) => {
          call.signal.addEventListener('abort', () =>
            reject(new ProviderError('cancelled', 'stopped before the vendor saw it', { effect: 'none' })),
          )
        }),
      terminate: (_target, _how, call) =>
        new Promise((_resolve, reject) => {
          call.signal.addEventListener('abort', () => reject(call.signal.reason as Error))
        }),
      headroom: (call) =>
        new Promise((_resolve, reject) => {
          call.signal.addEventListener('abort', () => reject(new ProviderError('conflict', 'halfway')))
        }),
    })
    const failed = [
      host.worker.launch(spec, options({ deadlineMs: 100 })),
      host.worker.terminate(target, how, options({ deadlineMs: 100 })),
      host.worker.headroom(options({ deadlineMs: 100 })),
    ].map(failure)
    await vi.advanceTimersByTimeAsync(100)
    expect(await failed[0]).toMatchObject({ code: 'deadline', effect: 'none', message: 'stopped before the vendor saw it' })
    expect(await failed[1]).toMatchObject({ code: 'deadline', effect: 'possible' })
    expect(await failed[2]).toMatchObject({ code: 'conflict', message: 'halfway' })
  })
})
