/** What a service refuses, and its end. */
import { describe, expect, it, vi } from 'vitest'
import { ProviderError } from '../errors.ts'
import type { ExecChunk, WorkerProvider } from '../provider.ts'
import { echoManifest, echoProvider } from './echo.test.child.ts'
import { rawSide } from './raw.test.helper.ts'
import { createRedactor } from './redact.ts'
import { createService } from './service.ts'
import { collect, configuration, execId, id, link, linkRaw, options, query, spec } from './link.test.helper.ts'

const target = { id }
const command = { id: execId, command: ['x'], stdin: false, from: { stdout: 0, stderr: 0 } }

async function* give<T>(...values: T[]): AsyncGenerator<T> {
  yield* values
}

describe('what a service refuses', () => {
  it('a call before it is configured, a second configuration, another contract', async () => {
    const { host, lines } = linkRaw({ manifest: echoManifest, create: async () => echoProvider() })
    await expect(host.worker.probe(options())).rejects.toMatchObject({
      code: 'internal',
      effect: 'none',
      message: 'the plugin is not configured yet',
    })
    await expect(collect(host.worker.copyOut(target, '1', options()))).rejects.toMatchObject({ code: 'internal', effect: 'none' })
    await expect(host.worker.copyIn(target, { path: '/x', tar: give(new Uint8Array(500_000)) }, options())).rejects.toMatchObject(
      { effect: 'none' },
    )
    await expect(host.configure({ ...configuration, contract: '2.0' }, { deadlineMs: 1000 })).rejects.toThrow(
      'the plugin speaks contract 1.0, not 2.0',
    )
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({
      plugin: '@muster/echo',
      message: 'call failed',
      data: { method: 'configure' },
    })
    await host.configure(configuration, { deadlineMs: 1000 })
    await expect(host.configure(configuration, { deadlineMs: 1000 })).rejects.toThrow('configured already')
    expect(await host.describe({ deadlineMs: 1000 })).toEqual(echoManifest)
    expect(host.stats()).toMatchObject({ senders: 0, receivers: 0 })
  })

  it('what is of no kind that it is', async () => {
    const raw = rawSide()
    createService(
      raw.socket,
      { manifest: echoManifest, create: async () => echoProvider() },
      { write: () => undefined, redactor: createRedactor() },
    )
    for (const [id, method] of ['banker.probe', 'probe', 'worker.none', 'worker.constructor'].entries()) {
      raw.message({ id: id + 1, method, params: {} })
      const { error } = await raw.wait((one) => one.id === id + 1)
      expect(error).toMatchObject({ message: `no method ${method}`, data: { code: 'unsupported', effect: 'none' } })
    }
  })

  it('params of another shape, and says where, as whoever wrote the spec knows the place', async () => {
    const raw = rawSide()
    const plugin = { manifest: echoManifest, create: async () => echoProvider() }
    createService(raw.socket, plugin, { write: () => undefined, redactor: createRedactor() })
    raw.message({ id: 1, method: 'configure', params: configuration })
    await raw.wait((one) => one.id === 1)
    const { deadlineMs, idempotencyKey, epoch, attempt, traceparent } = options()
    const call = { deadlineMs, idempotencyKey, epoch, attempt, traceparent }
    raw.message({ id: 2, method: 'worker.launch', params: { call, spec: { ...spec, id: 'short' } } })
    raw.message({ id: 3, method: 'worker.list', params: { call, query: { ...query, limit: 0 } } })
    for (const [id, path] of [
      [2, 'id'],
      [3, 'query.limit'],
    ] as const) {
      const { error } = await raw.wait((one) => one.id === id)
      expect(error?.data).toEqual({ code: 'invalid-spec', effect: 'none', path })
    }
  })

  it('a stream whose number is used already: the host numbers them, rising', async () => {
    const raw = rawSide()
    const plugin = { manifest: echoManifest, create: async () => echoProvider() }
    const service = createService(raw.socket, plugin, { write: () => undefined, redactor: createRedactor() })
    for (const id of [1, 2]) raw.message({ id, method: 'worker.watch', params: { out: 7 } })
    expect(await service.closed).toMatchObject({ violation: 'unknown-stream', message: 'stream 7 after 7' })
  })

  it('no contract of the majors that it speaks', async () => {
    const manifest = { ...echoManifest, contract: ['1.0', '2.0'] }
    for (const contract of ['1.3', '2.0']) {
      const { host } = linkRaw({ manifest, create: async () => echoProvider() })
      await expect(host.configure({ ...configuration, contract }, { deadlineMs: 1000 })).resolves.toBeUndefined()
    }
  })

  it('a configuration its author refuses, and may be given another', async () => {
    let tries = 0
    const { host } = linkRaw({
      manifest: echoManifest,
      async create(config, context) {
        context.log.info('creating', { config })
        expect(context).toMatchObject({ provider: 'p', owner: 'o', dataDir: '/data' })
        expect(context.now()).toBeGreaterThan(0)
        if (++tries === 1) throw new ProviderError('invalid-spec', 'no socket', { path: 'socket', effect: 'none' })
        if (tries === 2) throw new Error('odd')
        return (tries === 3 ? undefined : echoProvider()) as WorkerProvider
      },
    })
    await expect(host.configure(configuration, { deadlineMs: 1000 })).rejects.toMatchObject({
      code: 'invalid-spec',
      path: 'socket',
    })
    await expect(host.configure(configuration, { deadlineMs: 1000 })).rejects.toMatchObject({
      code: 'internal',
      message: 'configure: odd',
    })
    await expect(host.configure(configuration, { deadlineMs: 1000 })).rejects.toThrow('create: gave no provider')
    await host.configure(configuration, { deadlineMs: 1000 })
  })

  it('to be cancelled while it is configured: it goes on', async () => {
    const raw = rawSide()
    const made = Promise.withResolvers<WorkerProvider>()
    const plugin = { manifest: echoManifest, create: () => made.promise }
    createService(raw.socket, plugin, { write: () => undefined, redactor: createRedactor() })
    raw.message({ id: 1, method: 'configure', params: configuration })
    raw.message({ method: '$/cancel', params: { id: 1 } })
    raw.message({ id: 2, method: 'describe', params: {} })
    await raw.wait((one) => one.id === 2 && one.result !== undefined)
    made.resolve(echoProvider())
    expect(await raw.wait((one) => one.id === 1)).toMatchObject({ result: {} })
  })

  it('a method the author has not', async () => {
    const { host } = await link({})
    await expect(host.worker.quote({}, options())).rejects.toMatchObject({
      code: 'unsupported',
      effect: 'none',
      message: '@muster/echo has no quote',
    })
    await expect(collect(host.worker.watch(query, options()))).rejects.toMatchObject({ code: 'unsupported' })
  })

  it('calls while it retires, which waits for those that are open', async () => {
    const release = Promise.withResolvers<void>()
    const { host, service } = await link({
      async launch() {
        await release.promise
        return { handle: { v: 1, data: 1 } }
      },
    })
    const open = host.worker.launch(spec, options())
    await vi.waitFor(() => expect(service.peer.stats().open).toBe(1))
    const retired = host.retire({ deadlineMs: 5000 })
    await vi.waitFor(() => expect(service.peer.stats().open).toBe(2))
    await expect(host.worker.launch(spec, options())).rejects.toMatchObject({ code: 'transient', effect: 'none' })
    release.resolve()
    expect(await open).toMatchObject({ handle: { v: 1 } })
    await retired
    expect(await service.closed).toEqual({ kind: 'closed', message: 'retired' })
    expect(await host.closed).toMatchObject({ kind: 'ended' })
  })
})

describe('after the end', () => {
  it('a session that comes late is let go', async () => {
    const made = Promise.withResolvers<{ output: AsyncIterable<ExecChunk>; exit: Promise<never> }>()
    const returned = Promise.withResolvers<void>()
    const { host } = await link({ exec: () => made.promise })
    const abort = new AbortController()
    const failed = host.worker.exec(target, command, options({ signal: abort.signal }))
    await vi.waitFor(() => expect(host.stats().asked).toBe(1))
    abort.abort()
    await expect(failed).rejects.toMatchObject({ code: 'cancelled' })
    const output = {
      [Symbol.asyncIterator]: () => ({
        next: () => Promise.reject(new Error('never asked')),
        return: async () => {
          returned.resolve()
          return { done: true as const, value: undefined }
        },
      }),
    }
    made.resolve({ output, exit: Promise.reject(new Error('nobody hears this')) })
    await returned.promise
    await vi.waitFor(() => expect(host.stats()).toMatchObject({ asked: 0, receivers: 0 }))
    // Nor is it told to have started: of a call that is answered that would break the protocol.
    await expect(host.worker.headroom(options())).rejects.toMatchObject({ message: '@muster/echo has no headroom' })
  })

  it('of a call without a stream nothing is left to fall over, which would end the process', async () => {
    const fell = vi.fn<(error: unknown) => void>()
    process.on('uncaughtException', fell)
    try {
      const { host, service } = await link({
        launch: (_spec, call) =>
          new Promise((_resolve, reject) => call.signal.addEventListener('abort', () => reject(call.signal.reason as Error))),
      })
      const abort = new AbortController()
      const failed = host.worker.launch(spec, options({ signal: abort.signal }))
      await vi.waitFor(() => expect(service.peer.stats().open).toBe(1))
      abort.abort()
      await expect(failed).rejects.toMatchObject({ code: 'cancelled' })
      await new Promise(setImmediate)
      expect(fell).not.toHaveBeenCalled()
    } finally {
      process.off('uncaughtException', fell)
    }
  })

  it('a call that comes while the plugin says goodbye does no harm', async () => {
    const { host, service } = await link(echoProvider())
    const retired = host.retire({ deadlineMs: 1000 })
    await vi.waitFor(() => expect(service.peer.stats().open + host.stats().asked).toBeGreaterThan(0))
    const late = Array.from({ length: 5 }, () => host.worker.headroom(options()).catch((error: ProviderError) => error.code))
    await retired
    for (const one of late) expect(['transient', 'internal', 'unsupported']).toContain(await one)
    expect(await service.closed).toMatchObject({ kind: 'closed', message: 'retired' })
  })
})
