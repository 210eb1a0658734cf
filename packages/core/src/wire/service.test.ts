import { describe, expect, it, vi } from 'vitest'
import { ProviderError } from '../errors.ts'
import type { Call, ExecChunk, LogChunk } from '../provider.ts'
import type { LaunchSpec } from '../spec.ts'
import { echoProvider } from './echo.test.child.ts'
import { maxChunkBytes } from './limits.ts'
import { collect, execId, id, link, linkCredentials, now, observation, options, query, spec, tags } from './link.test.helper.ts'

const target = { id }
const command = { id: execId, command: ['x'], stdin: false, from: { stdout: 0, stderr: 0 } }

async function* give<T>(...values: T[]): AsyncGenerator<T> {
  yield* values
}

describe('a service', () => {
  it('hands each method its arguments in the order of the contract, and its value back', async () => {
    const seen: unknown[] = []
    const note =
      (value: unknown) =>
      (...args: unknown[]): Promise<unknown> => {
        seen.push(args.slice(0, -1))
        return Promise.resolve(value)
      }
    const handle = { v: 1, data: null }
    const pool = { pool: 'q', tags: { 'muster-owner': 'o', 'muster-provider': 'p', 'muster-pool': 'q' } }
    const quote = { pricePerHour: 1, currency: 'EUR', billingSeconds: 60, expectedStartMs: 1, interruptionRisk: 0 }
    const values = {
      probe: { state: 'ready', facts: { a: 'b' } },
      preparePool: { handle, digest: 'd' },
      unpreparePool: undefined,
      launch: { handle, granted: { cpu: 2 } },
      terminate: { state: 'terminating', by: now },
      list: { workers: [observation], next: 'n', asOf: now, blind: ['eu'] },
      inspect: [observation],
      execState: { state: 'exited', exit: { code: 1, reason: 'exited' } },
      execKill: undefined,
      execResize: undefined,
      suspend: undefined,
      resume: undefined,
      mark: undefined,
      headroom: { slots: { free: 1, total: 2 } },
      quote,
    }
    const provider = Object.fromEntries(Object.entries(values).map(([name, value]) => [name, note(value)]))
    const { host } = await link(provider)
    const { worker } = host
    const how = { graceMs: 1, force: false, reason: 'r' }
    const kill = { id: execId, signal: 'SIGTERM' } as const
    const resize = { id: execId, columns: 100, rows: 30 }
    expect([
      await worker.probe(options()),
      await worker.preparePool({ ...pool, image: 'i' }, options()),
      await worker.unpreparePool({ pool, handle }, options()),
      await worker.launch(spec, options()),
      await worker.terminate({ id, handle }, how, options()),
      await worker.list(query, options()),
      await worker.inspect([target], options()),
      await worker.execState(target, execId, options()),
      await worker.execKill(target, kill, options()),
      await worker.execResize(target, resize, options()),
      await worker.suspend(target, { keeps: 'disk' }, options()),
      await worker.resume(target, options()),
      await worker.mark(target, { leased: true }, options()),
      await worker.headroom(options()),
      await worker.quote({ image: 'i' }, options()),
    ]).toEqual(Object.values(values))
    expect(seen).toEqual([
      [],
      [{ ...pool, image: 'i' }],
      [{ pool, handle }],
      [spec],
      [{ id, handle }, how],
      [query],
      [[target]],
      [target, execId],
      [target, kill],
      [target, resize],
      [target, { keeps: 'disk' }],
      [target],
      [target, { leased: true }],
      [],
      [{ image: 'i' }],
    ])
  })

  it('gives the call its surroundings', async () => {
    let call: Call | undefined
    const { host, lines } = await link({
      async probe(given) {
        call = given
        given.log.warn('odd', { n: 1 })
        return { state: 'ready' }
      },
    })
    const before = Date.now()
    await host.worker.probe(options({ tracestate: 'a=b', attempt: 2 }))
    expect(call).toMatchObject({
      idempotencyKey: 'k',
      epoch: 3,
      attempt: 2,
      trace: { traceparent: options().traceparent, tracestate: 'a=b' },
    })
    expect(call?.deadline).toBeGreaterThan(before + 4000)
    expect(call?.deadline).toBeLessThanOrEqual(Date.now() + 5000)
    expect(call?.now()).toBeGreaterThanOrEqual(before)
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({
      level: 'warn',
      message: 'odd',
      method: 'probe',
      data: { n: 1 },
      plugin: '@muster/echo',
    })
  })

  it('moves every kind of stream', async () => {
    const sample = { id, at: now, cpuSeconds: 1, memoryBytes: 2, disk: { readBytes: 3, writtenBytes: 4 } }
    const { host } = await link({ ...echoProvider(), stats: () => give(sample) })
    await host.worker.launch(spec, options())
    expect(await collect(host.worker.stats({ tags: query.tags, everyMs: 500 }, options()))).toEqual([sample])
    expect(await collect(host.worker.watch(query, options()))).toMatchObject([{ id, phase: 'running' }])
    const logs = await collect(host.worker.logs(target, { follow: true, cursor: '990' }, options()))
    expect(logs.map((one) => one.data.toString())).toEqual(Array.from({ length: 10 }, (_, index) => `line ${990 + index}\n`))
    const copied = await collect(host.worker.copyOut(target, '300000', options()))
    expect(Buffer.concat(copied)).toHaveLength(300_000)
    await host.worker.copyIn(target, { path: '/x', tar: give(Buffer.alloc(200_000)) }, options())
    expect(
      Buffer.concat(
        await collect(host.worker.forward(target, { port: 80, input: give(Buffer.from('ping')) }, options())),
      ).toString(),
    ).toBe('ping')
    expect(host.stats()).toMatchObject({ senders: 0, receivers: 0, asked: 0 })
  })

  it('runs a command: accepted first, output and input with credit, its exit as the answer', async () => {
    const { host, service } = await link(echoProvider())
    const input = give(Buffer.from('hello '), new Uint8Array(300_000))
    const session = await host.worker.exec(target, { ...command, stdin: true, input }, options())
    const chunks = await collect(session.output)
    expect(chunks.reduce((sum, one) => sum + one.data.length, 0)).toBe(300_006)
    expect(chunks.every((one) => one.data.length <= maxChunkBytes)).toBe(true)
    expect(await session.exit).toEqual({ code: 0, reason: 'exited' })
    await vi.waitFor(() => expect(service.peer.stats()).toMatchObject({ senders: 0, receivers: 0, open: 0 }))
  })

  it('lets go of an output that is not read, and still tells the exit', async () => {
    const returned = Promise.withResolvers<void>()
    async function* endless(): AsyncGenerator<ExecChunk> {
      try {
        for (let offset = 0; ; offset += 1000) yield { stream: 'stdout', offset, data: new Uint8Array(1000) }
      } finally {
        returned.resolve()
      }
    }
    const { host } = await link({
      exec: async () => ({ output: endless(), exit: returned.promise.then(() => ({ code: 7, reason: 'exited' })) }),
    })
    const session = await host.worker.exec(target, command, options())
    for await (const chunk of session.output) {
      expect(chunk.offset).toBe(0)
      break
    }
    expect(await session.exit).toEqual({ code: 7, reason: 'exited' })
  })

  it('stops an input that the author does not read to its end', async () => {
    const returned = vi.fn<() => void>()
    async function* endless(): AsyncGenerator<Uint8Array> {
      try {
        for (;;) yield new Uint8Array(1000)
      } finally {
        returned()
      }
    }
    const { host, service } = await link({
      async copyIn(_target, { tar }) {
        for await (const part of tar) if (part.length > 0) break
      },
    })
    await host.worker.copyIn(target, { path: '/x', tar: endless() }, options())
    await vi.waitFor(() => expect(returned).toHaveBeenCalled())
    await vi.waitFor(() => expect(service.peer.stats().receivers).toBe(0))
  })

  it("brings an input's failure to the author", async () => {
    async function* broken(): AsyncGenerator<Uint8Array> {
      yield Buffer.from('a')
      throw new ProviderError('transient', 'upload cut off')
    }
    const { host } = await link({
      async copyIn(_target, { tar }) {
        await collect(tar)
      },
    })
    await expect(host.worker.copyIn(target, { path: '/x', tar: broken() }, options())).rejects.toMatchObject({
      code: 'transient',
      message: 'upload cut off',
    })
  })

  it('serves a credential provider alike', async () => {
    const grant = { id: 'g', value: { token: { $secret: 'canary-token' } }, expiresAt: now, hardMaximum: now }
    const handle = { v: 1, data: 's' }
    const { host, lines } = await linkCredentials({
      openScope: async () => ({ handle, key: { $secret: 'canary-key' } }),
      issue: async (scope, _request, call) => {
        call.log.info(`opening with ${scope.key?.$secret}`)
        return grant
      },
      renew: async () => grant,
      revoke: async () => undefined,
      closeScope: async () => ({ state: 'expires', at: now }),
      listScopes: async () => ({ scopes: [{ id: 's', handle }], asOf: now }),
      versions: async () => [{ version: '1' }, { version: '2', at: now }],
      rotate: async () => undefined,
    })
    const { credential, worker } = host
    const scope = { id: 's', handle, key: { $secret: 'canary-key' } }
    expect(await credential.openScope({ id: 's', workerId: id, tenant: 't', maxLifeSeconds: 60 }, options())).toEqual({
      handle,
      key: { $secret: 'canary-key' },
    })
    expect(await credential.issue(scope, { name: 'n', ttlSeconds: 5, settings: { role: 'r' } }, options())).toEqual(grant)
    expect(await credential.renew(scope, { id: 'g', ttlSeconds: 5 }, options())).toEqual(grant)
    expect(await credential.revoke(scope, { id: 'g' }, options())).toBeUndefined()
    expect(await credential.closeScope(scope, options())).toEqual({ state: 'expires', at: now })
    expect((await credential.listScopes({ owner: 'o', limit: 2 }, options())).scopes).toHaveLength(1)
    await expect(credential.listScopes({ owner: 'o', limit: 0 }, options())).rejects.toMatchObject({
      code: 'invalid-spec',
      path: 'query.limit',
    })
    expect(await credential.versions({ path: 'p' }, options())).toHaveLength(2)
    expect(await credential.rotate({ path: 'p', stage: 'create', token: 't' }, options())).toBeUndefined()
    await expect(credential.read({ path: 'p' }, options())).rejects.toMatchObject({ code: 'unsupported', effect: 'none' })
    await expect(worker.probe(options())).rejects.toMatchObject({ code: 'unsupported', effect: 'none' })
    expect(lines.join('')).toContain('opening with [secret]')
  })
})

describe('secrets', () => {
  const secret = vi.fn(async (name: string, { refused }: { refused?: string }) => ({
    value: `${name}-value`,
    version: refused === undefined ? '1' : '2',
  }))

  it('come from the host, for names of the manifest, inside an open call', async () => {
    let call: Call | undefined
    const { host } = await link(
      {
        async probe(given) {
          call = given
          const first = await given.secret('token')
          const second = await given.secret('token', { refused: first.version })
          return { state: 'ready', facts: { first: first.version, second: second.version } }
        },
        async headroom(given) {
          await given.secret('other')
          return {}
        },
      },
      { secrets: ['token'] },
    )
    expect(await host.worker.probe(options({ secret }))).toMatchObject({ facts: { first: '1', second: '2' } })
    await expect(host.worker.headroom(options({ secret }))).rejects.toMatchObject({
      code: 'internal',
      message: "secret(other): not among the manifest's secrets",
    })
    await expect(call?.secret('token')).rejects.toMatchObject({
      code: 'internal',
      effect: 'none',
      message: 'probe: secret(token) after the call was over',
    })
  })

  it("fail as the host's error, or when the call has none, or when nobody waits any more", async () => {
    const asked = Promise.withResolvers<void>()
    const { host } = await link({
      probe: async (call) => ({ state: 'ready', message: (await call.secret('token')).value }),
    })
    const denied = async (): Promise<never> => {
      throw new ProviderError('auth', 'vault is sealed', { hint: 'unseal it' })
    }
    await expect(host.worker.probe(options({ secret: denied }))).rejects.toMatchObject({ code: 'auth', hint: 'unseal it' })
    await expect(host.worker.probe(options())).rejects.toMatchObject({ code: 'unsupported' })
    const abort = new AbortController()
    let over: AbortSignal | undefined
    const slow = async (_name: string, { signal }: { signal: AbortSignal }): Promise<never> => {
      over = signal
      asked.resolve()
      return await new Promise(() => undefined)
    }
    const failed = host.worker.probe(options({ secret: slow, signal: abort.signal }))
    await asked.promise
    abort.abort()
    await expect(failed).rejects.toMatchObject({ code: 'cancelled' })
    expect(over?.aborted).toBe(true)
  })

  it('of a launch are known to the log', async () => {
    const { host, lines } = await link({
      async launch(given: LaunchSpec, call) {
        call.log.info('ticket', { spec: given, again: given.work.mode === 'agent' ? given.work.ticket.$secret : '' })
        return { handle: { v: 1, data: 1 } }
      },
    })
    await host.worker.launch(
      { id, tags, work: { mode: 'agent', ticket: { $secret: 'canary-ticket' }, url: 'http://127.0.0.1:9' } },
      options(),
    )
    expect(lines.join('')).toContain('[secret]')
    expect(lines.join('')).not.toContain('canary-ticket')
  })
})

describe('logs', () => {
  it('resume by cursor, and their data is whatever the author gives', async () => {
    const all: LogChunk[] = ['a', 'b', 'c'].map((text, index) => ({
      stream: 'stderr',
      cursor: String(index + 1),
      data: Buffer.from(text),
    }))
    const { host } = await link({ logs: (_target, { cursor }) => give(...all.slice(Number(cursor ?? 0))) })
    expect(await collect(host.worker.logs(target, { follow: false }, options()))).toEqual(all)
    expect(await collect(host.worker.logs(target, { follow: false, cursor: '2' }, options()))).toEqual(all.slice(2))
  })
})
