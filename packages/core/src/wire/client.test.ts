import { describe, expect, it, vi } from 'vitest'
import type { ExecChunk } from '../provider.ts'
import { toCallOptions } from './call-options.ts'
import { connectPlugin, type PluginConnection } from './client.ts'
import { type GatedDuplex, gatedDuplex } from './gated.test.helper.ts'
import { envelopeBytes, maxFrameBytes } from './limits.ts'
import { collect, configuration, connect, execId, failure, id, link, options, query, spec } from './link.test.helper.ts'

const target = { id }
const how = { graceMs: 0, force: false, reason: 'test' }
const launched = { handle: { v: 1, data: 1 } }
const command = { id: execId, command: ['x'], stdin: false, from: { stdout: 0, stderr: 0 } }

describe('the host refuses by itself, and nothing is sent', () => {
  const cases: [string, (host: PluginConnection) => Promise<unknown>, object][] = [
    ['a wrong spec', (host) => host.worker.launch({ ...spec, id: 'short' }, options()), { code: 'invalid-spec', path: 'id' }],
    [
      'large files',
      (host) => host.worker.launch({ ...spec, files: [{ path: '/f', base64: 'A'.repeat(400_000) }] }, options()),
      { code: 'invalid-spec', path: 'files' },
    ],
    [
      'large names in env',
      (host) => host.worker.launch({ ...spec, env: { [`A${'x'.repeat(300_000)}`]: '' } }, options()),
      { code: 'invalid-spec', path: 'files' },
    ],
    [
      'a large env of a service',
      (host) =>
        host.worker.launch({ ...spec, services: [{ name: 's', image: 'i', env: { A: 'x'.repeat(300_000) } }] }, options()),
      { code: 'invalid-spec', path: 'files' },
    ],
    [
      'settings larger than a frame',
      (host) => host.worker.launch({ ...spec, settings: 'x'.repeat(1_100_000) }, options()),
      { code: 'invalid-spec' },
    ],
    [
      'a key that reaches a prototype',
      (host) => host.worker.launch({ ...spec, settings: JSON.parse('{"__proto__":1}') }, options()),
      { code: 'invalid-spec', message: 'launch: a key __proto__' },
    ],
    [
      '101 targets',
      (host) =>
        host.worker.inspect(
          Array.from({ length: 101 }, () => target),
          options(),
        ),
      { code: 'invalid-spec', path: 'targets' },
    ],
    [
      'a page of 501',
      (host) => host.worker.list({ ...query, limit: 501 }, options()),
      { code: 'invalid-spec', path: 'query.limit' },
    ],
    [
      'a wrong trace',
      (host) => host.worker.probe(options({ traceparent: 'x' })),
      { code: 'invalid-spec', path: 'call.traceparent' },
    ],
    [
      'a large handle',
      (host) => collect(host.worker.logs({ id, handle: { v: 1, data: 'x'.repeat(5000) } }, { follow: true }, options())),
      { code: 'invalid-spec', path: 'target.handle' },
    ],
    ['an aborted signal', (host) => host.worker.probe(options({ signal: AbortSignal.abort() })), { code: 'cancelled' }],
    ['a deadline that has passed', (host) => host.worker.probe(options({ deadlineMs: 0 })), { code: 'deadline' }],
    [
      'an aborted stream',
      (host) => collect(host.worker.watch(query, options({ signal: AbortSignal.abort() }))),
      { code: 'cancelled' },
    ],
    [
      'an aborted exec',
      (host) => host.worker.exec(target, command, options({ signal: AbortSignal.abort() })),
      { code: 'cancelled' },
    ],
  ]
  it.each(cases)('%s', async (_name, ask, error) => {
    const { host, raw } = connect()
    expect(await failure(ask(host))).toMatchObject({ ...error, effect: 'none' })
    void host.worker.headroom(options()).catch(() => undefined)
    await raw.request('worker.headroom')
    expect(raw.messages).toHaveLength(1)
    expect(host.stats()).toMatchObject({ asked: 1, senders: 0, receivers: 0, waiting: 0 })
  })

  it('what has no room in a frame beside its envelope', async () => {
    const { host, raw } = connect()
    const launch = async (bytes: number): Promise<unknown> =>
      await host.worker.launch({ ...spec, settings: { x: 'x'.repeat(bytes) } }, options())
    launch(1).catch(() => undefined)
    const { params } = await raw.request('worker.launch')
    const most = maxFrameBytes - envelopeBytes - Buffer.byteLength(JSON.stringify(params)) + 1
    launch(most - 100).catch(() => undefined)
    await raw.request('worker.launch')
    const message = expect.stringMatching(/^launch: a call of 104\d\d\d\d bytes$/) as string
    await expect(launch(most + 100)).rejects.toMatchObject({ code: 'invalid-spec', effect: 'none', message })
  })

  it('what is as large as it may be', async () => {
    const { host, raw } = connect()
    const file = { path: '/f', base64: Buffer.alloc(262_144 - 2).toString('base64') }
    void host.worker.launch({ ...spec, files: [file] }, options()).catch(() => undefined)
    const { params } = await raw.request('worker.launch')
    expect((params['spec'] as typeof spec).files).toEqual([file])
  })
})

describe('places', () => {
  it('hold launches back at the limit, and never a terminate or a stream', async () => {
    const { host, raw } = connect({ inFlight: 2 })
    const calls = Array.from({ length: 5 }, () => host.worker.launch(spec, options()))
    void host.worker.terminate(target, how, options()).catch(() => undefined)
    void collect(host.worker.watch(query, options())).catch(() => undefined)
    await raw.request('worker.terminate')
    await raw.request('worker.watch')
    expect(raw.messages.filter((one) => one.method === 'worker.launch')).toHaveLength(2)
    expect(host.stats().waiting).toBe(3)
    for (const call of calls) {
      raw.message({ id: (await raw.request('worker.launch')).id, result: launched })
      expect(await call).toEqual(launched)
    }
    expect(host.stats().waiting).toBe(0)
  })

  it('are those of one connection: a call waits for none of another, and is told as soon as it has its own', async () => {
    const [hung, good] = [connect({ inFlight: 1 }), connect({ inFlight: 1 })]
    const placed: string[] = []
    const ask = ({ host }: typeof hung, name: string): Promise<unknown> =>
      host.worker.launch(spec, options({ placed: () => void placed.push(name) }))
    void ask(hung, 'hung').catch(() => undefined)
    void ask(hung, 'behind').catch(() => undefined)
    const call = ask(good, 'good')
    // In this turn.
    expect(placed).toEqual(['hung', 'good'])
    good.raw.message({ id: (await good.raw.request('worker.launch')).id, result: launched })
    await call
    hung.raw.message({ id: (await hung.raw.request('worker.launch')).id, result: launched })
    await hung.raw.request('worker.launch')
    expect(placed).toEqual(['hung', 'good', 'behind'])
  })

  it('are given up by a call that waits: effect none', async () => {
    const { host, raw } = connect({ inFlight: 1 })
    const first = host.worker.launch(spec, options())
    const abort = new AbortController()
    const second = failure(host.worker.launch(spec, options({ signal: abort.signal })))
    const third = host.worker.launch(spec, options())
    abort.abort()
    expect(await second).toMatchObject({ code: 'cancelled', effect: 'none' })
    raw.message({ id: (await raw.request('worker.launch')).id, result: launched })
    await first
    raw.message({ id: (await raw.request('worker.launch')).id, result: launched })
    await third
    expect(raw.messages.filter((one) => one.method === 'worker.launch')).toHaveLength(2)
  })

  it('count down the deadline while a call waits', async () => {
    const { host, raw } = connect({ inFlight: 1 })
    void host.worker.launch(spec, options()).catch(() => undefined)
    const { id: first } = await raw.request('worker.launch')
    const second = host.worker.launch(spec, options({ deadlineMs: 1000 }))
    const until = performance.now() + 20
    while (performance.now() < until) await new Promise(setImmediate)
    raw.message({ id: first, result: launched })
    const { id: call, params } = await raw.request('worker.launch')
    expect((params['call'] as { deadlineMs: number }).deadlineMs).toBeLessThanOrEqual(980)
    raw.message({ id: call, result: launched })
    await second
  })
})

describe('iterables', () => {
  it('start at the first next, and never when they are returned before', async () => {
    const { host, raw } = connect()
    const never = host.worker.watch(query, options())[Symbol.asyncIterator]()
    await never.return?.()
    expect((await never.next()).done).toBe(true)
    const iterator = host.worker.watch(query, options())[Symbol.asyncIterator]()
    expect(host.stats().asked).toBe(0)
    const next = iterator.next()
    await raw.request('worker.watch')
    await iterator.return?.()
    expect((await next).done).toBe(true)
    expect((await iterator.next()).done).toBe(true)
  })

  it('cancel the other side when their consumer breaks off', async () => {
    const returned = Promise.withResolvers<void>()
    async function* endless(): AsyncGenerator<Uint8Array> {
      try {
        for (;;) yield new Uint8Array(50_000)
      } finally {
        returned.resolve()
      }
    }
    const { host, service } = await link({ copyOut: endless })
    for await (const part of host.worker.copyOut(target, '/x', options())) if (part.length > 0) break
    await returned.promise
    await vi.waitFor(() => expect(service.peer.stats()).toMatchObject({ open: 0, senders: 0 }))
    await vi.waitFor(() => expect(host.stats()).toMatchObject({ asked: 0, receivers: 0 }))
  })

  it('give nothing more once they are returned, not even what has come', async () => {
    const { host, raw } = connect()
    const iterator = host.worker.copyOut(target, '/x', options())[Symbol.asyncIterator]()
    const first = iterator.next()
    const { params } = await raw.request('worker.copyOut')
    for (const text of ['a', 'b']) raw.frame(params['out'] as number, Buffer.from(text))
    expect((await first).value).toEqual(Buffer.from('a'))
    await vi.waitFor(() => expect(host.stats().receivedBytes).toBe(1))
    const second = iterator.next()
    await iterator.return?.()
    expect((await second).done).toBe(true)
  })

  it('stay at their end', async () => {
    const { host, raw } = connect()
    const iterator = host.worker.copyOut(target, '/x', options())[Symbol.asyncIterator]()
    const end = iterator.next()
    const { id: call, params } = await raw.request('worker.copyOut')
    raw.message({ method: '$/end', params: { stream: params['out'], bytes: 0 } })
    raw.message({ id: call, result: {} })
    for (const one of [end, iterator.next()]) expect((await one).done).toBe(true)
  })

  it('take an answer that overtakes its data', async () => {
    const { host, raw } = connect()
    const all = collect(host.worker.copyOut(target, '/x', options()))
    const { id: call, params } = await raw.request('worker.copyOut')
    const out = params['out'] as number
    raw.message({ method: '$/end', params: { stream: out, bytes: 6 } })
    raw.message({ id: call, result: {} })
    raw.frame(out, Buffer.from('abc'))
    raw.frame(out, Buffer.from('def'))
    expect(Buffer.concat(await all).toString()).toBe('abcdef')
    expect(host.stats()).toMatchObject({ receivers: 0, asked: 0 })
  })

  it('stay within their window when nobody reads, and the plugin is not asked for more', async () => {
    let given = 0
    async function* endless(): AsyncGenerator<ExecChunk> {
      for (let offset = 0; ; offset += 10_000) {
        given += 10_000
        yield { stream: 'stdout', offset, data: new Uint8Array(10_000) }
      }
    }
    const { host, service } = await link({ exec: async () => ({ output: endless(), exit: new Promise(() => undefined) }) })
    const session = await host.worker.exec(target, command, options())
    await vi.waitFor(() => expect(host.stats().receivedBytes).toBeGreaterThan(240_000))
    await vi.waitFor(() => expect(service.peer.stats()).toMatchObject({ dataBytes: 0, socketBytes: 0 }))
    expect(given).toBeLessThanOrEqual(270_000)
    expect(host.stats().receivedBytes).toBeLessThanOrEqual(262_144)
    session.exit.catch(() => undefined)
    host.close('done')
  })
})

describe('before the plugin has heard of a call', () => {
  async function* give(...values: Uint8Array[]): AsyncGenerator<Uint8Array> {
    yield* values
  }

  /** A host whose socket is full, and what has come through. */
  async function full(): Promise<{ host: PluginConnection; gate: GatedDuplex }> {
    const gate = gatedDuplex()
    const host = connectPlugin(gate.duplex)
    host.worker.launch({ ...spec, settings: 'x'.repeat(200_000) }, options()).catch(() => undefined)
    await vi.waitFor(() => expect(host.stats().socketBytes).toBeGreaterThan(0))
    return { host, gate }
  }

  it('none of its streams is spoken of', async () => {
    const { host, gate } = await full()
    host.worker.copyIn(target, { path: '/x', tar: give() }, options()).catch(() => undefined)
    host.worker.copyIn(target, { path: '/y', tar: give(Buffer.from('data')) }, options()).catch(() => undefined)
    await new Promise(setImmediate)
    gate.open()
    await vi.waitFor(() =>
      expect(gate.seen.filter((one) => 'message' in one && one.message['method'] === '$/end')).toHaveLength(2),
    )
    const order = gate.seen.map((one) => ('message' in one ? one.message['method'] : one.stream))
    expect(order).toEqual(['worker.launch', 'worker.copyIn', 'worker.copyIn', '$/end', 2, '$/end'])
  })

  it('a terminate passes 1,000 launches and a bulk stream', async () => {
    const { host, gate } = await full()
    async function* bulk(): AsyncGenerator<Uint8Array> {
      for (let one = 0; one < 100; one++) yield new Uint8Array(50_000)
    }
    host.worker.copyIn(target, { path: '/x', tar: bulk() }, options()).catch(() => undefined)
    for (let one = 0; one < 1000; one++) host.worker.launch(spec, options()).catch(() => undefined)
    await new Promise(setImmediate)
    host.worker.terminate(target, how, options()).catch(() => undefined)
    gate.open()
    await vi.waitFor(() => expect(gate.seen.filter((one) => 'stream' in one).length).toBeGreaterThan(3))
    const order = gate.seen.map((one) => ('message' in one ? one.message['method'] : one.stream))
    // Only what had filled the socket came before it.
    expect(order.slice(0, 3)).toEqual(['worker.launch', 'worker.terminate', 'worker.launch'])
    expect(order.indexOf('worker.copyIn')).toBe(1002)
    expect(order.filter((one) => one === 'worker.launch')).toHaveLength(1001)
  })

  it('it can be taken back without a trace: effect none', async () => {
    const { host, gate } = await full()
    const abort = new AbortController()
    const copied = failure(
      host.worker.copyIn(target, { path: '/x', tar: give(Buffer.from('x')) }, options({ signal: abort.signal })),
    )
    const started = failure(
      host.worker.exec(target, { ...command, stdin: true, input: give(Buffer.from('x')) }, options({ signal: abort.signal })),
    )
    const launchedLate = failure(host.worker.launch(spec, options({ signal: abort.signal })))
    const watched = host.worker.watch(query, options())[Symbol.asyncIterator]()
    const next = watched.next()
    await new Promise(setImmediate)
    expect(host.stats()).toMatchObject({ senders: 2, receivers: 2 })
    abort.abort()
    await watched.return?.()
    expect((await next).done).toBe(true)
    for (const one of [copied, started, launchedLate]) expect(await one).toMatchObject({ code: 'cancelled', effect: 'none' })
    expect(host.stats()).toMatchObject({ senders: 0, receivers: 0, asked: 1 })
    gate.open()
    host.worker.headroom(options()).catch(() => undefined)
    await vi.waitFor(() => expect(gate.seen).toHaveLength(2))
    expect(gate.seen.map((one) => ('message' in one ? one.message['method'] : one.stream))).toEqual([
      'worker.launch',
      'worker.headroom',
    ])
  })
})

describe('life', () => {
  it('gives up on a plugin that does not answer', async () => {
    const { host } = connect()
    expect(await failure(host.describe({ deadlineMs: 10 }))).toMatchObject({ code: 'deadline' })
    expect(await failure(host.configure(configuration, { deadlineMs: 1000, signal: AbortSignal.abort() }))).toMatchObject({
      code: 'cancelled',
    })
  })

  it('refuses a configuration that no frame can hold, or that could reach a prototype', async () => {
    const { host } = connect()
    const configure = (config: unknown): Promise<void> => host.configure({ ...configuration, config }, { deadlineMs: 1000 })
    for (const config of ['x'.repeat(1_100_000), JSON.parse('{"__proto__":1}'), 1n])
      expect(await failure(configure(config))).toMatchObject({ code: 'invalid-spec', effect: 'none' })
    expect(host.stats().asked).toBe(0)
  })

  it('sends a configuration that fills its frame, and is told nothing but that it was taken', async () => {
    const { host, raw } = connect()
    const bytesOf = (config: string): number => Buffer.byteLength(JSON.stringify({ ...configuration, config }))
    const most = 'x'.repeat(maxFrameBytes - envelopeBytes - bytesOf(''))
    const life = { deadlineMs: 1000 }
    expect(await failure(host.configure({ ...configuration, config: `${most}x` }, life))).toMatchObject({ code: 'invalid-spec' })
    const done = host.configure({ ...configuration, config: most }, life)
    const { id: call } = await raw.request('configure')
    raw.message({ id: call, result: {} })
    expect(await done).toBeUndefined()
  })

  it('takes the end of the connection for the answer to retire, and no other reason', async () => {
    const first = connect()
    const retired = first.host.retire({ deadlineMs: 1000 })
    await first.raw.request('retire')
    first.raw.end()
    await retired
    const second = connect()
    const failed = failure(second.host.retire({ deadlineMs: 1000 }))
    second.host.close('changed my mind')
    expect(await failed).toMatchObject({ code: 'transient' })
    expect(await second.host.closed).toEqual({ kind: 'closed', message: 'changed my mind' })
  })

  it('refuses a secret that the manifest does not name, or of a call that is over', async () => {
    const { host, raw } = connect({ secrets: ['token'] })
    const secret = vi.fn(async () => ({ value: 'v', version: '1' }))
    void host.worker.launch(spec, options({ secret })).catch(() => undefined)
    const { id: call } = await raw.request('worker.launch')
    raw.message({ id: 1, method: 'secret', params: { call, name: 'other' } })
    raw.message({ id: 2, method: 'secret', params: { call: 99, name: 'token' } })
    raw.message({ id: 3, method: 'secret', params: { call, name: 'token', refused: '0' } })
    const none = { effect: 'none' }
    expect((await raw.wait((one) => one.id === 1 && one.error !== undefined)).error?.data).toEqual({ code: 'internal', ...none })
    expect((await raw.wait((one) => one.id === 2 && one.error !== undefined)).error?.data).toEqual({ code: 'cancelled', ...none })
    expect((await raw.wait((one) => one.id === 3)).result).toEqual({ value: 'v', version: '1' })
    expect(secret).toHaveBeenCalledTimes(1)
    expect(secret).toHaveBeenCalledWith('token', { refused: '0', signal: expect.any(AbortSignal) as AbortSignal })
    raw.message({ id: 4, method: 'secret', params: { call, name: 'token' } })
    await raw.wait((one) => one.id === 4)
    expect(secret.mock.lastCall?.map((one: unknown) => (typeof one === 'object' ? Object.keys(one ?? {}) : one))).toEqual([
      'token',
      ['signal'],
    ])
  })

  it('says what of a configuration no message can hold, and keeps no timer for what is answered', async () => {
    const { host, raw } = connect()
    const told = await failure(host.configure({ ...configuration, config: { size: 1n } }, { deadlineMs: 1000 }))
    expect(told).toMatchObject({ code: 'invalid-spec', effect: 'none', message: expect.stringMatching(/^configure: .*BigInt/) })
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    try {
      const asked = host.retire({ deadlineMs: 60_000 })
      const before = vi.getTimerCount()
      const { id: retire } = await raw.request('retire')
      raw.message({ id: retire, result: {} })
      await asked
      expect([before, vi.getTimerCount()]).toEqual([1, 0])
    } finally {
      vi.useRealTimers()
    }
  })
})

describe('toCallOptions', () => {
  it('carries a call on to another plugin', async () => {
    const inner = await link({
      probe: async (call) => ({ state: 'ready', message: (await call.secret('token', { refused: '1' })).value }),
    })
    const outer = await link({ probe: async (call) => await inner.host.worker.probe(toCallOptions(call)) })
    const secret = vi.fn(async () => ({ value: 'v', version: '2' }))
    expect(await outer.host.worker.probe(options({ secret }))).toEqual({ state: 'ready', message: 'v' })
    expect(secret).toHaveBeenCalledWith('token', expect.objectContaining({ refused: '1' }))
  })
})
