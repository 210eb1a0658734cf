/** What the host is told when an author's provider misbehaves. */
import { describe, expect, it } from 'vitest'
import { ProviderError } from '../errors.ts'
import type { WorkerObservation, WorkerProvider } from '../provider.ts'
import type { PluginConnection } from './client.ts'
import { maxChunkBytes, maxPageBytes } from './limits.ts'
import { collect, execId, id, link, linkCredentials, now, observation, options, query, spec } from './link.test.helper.ts'

const target = { id }
const command = { id: execId, command: ['x'], stdin: false, from: { stdout: 0, stderr: 0 } }

async function* give<T>(...values: T[]): AsyncGenerator<T> {
  yield* values
}

/** What the host is told when an author's method gives this. */
async function told(
  provider: Partial<Record<keyof WorkerProvider, unknown>>,
  call: (host: PluginConnection) => Promise<unknown>,
): Promise<unknown> {
  const { host } = await link(provider as WorkerProvider)
  const error = await call(host).then(
    (value) => ({ value }),
    (reason: ProviderError) => ({ code: reason.code, effect: reason.effect, message: reason.message }),
  )
  // A fault of the author's is an error, never a breach of the protocol.
  expect(await Promise.race([host.closed, Promise.resolve(undefined)])).toBeUndefined()
  return error
}

describe("an author's fault is an internal error with method and path", () => {
  const async = (value: unknown) => () => Promise.resolve(value)
  const list = { workers: [observation], asOf: now }
  const cases: [string, keyof WorkerProvider, unknown, string | RegExp][] = [
    ['no value', 'launch', async(undefined), /^launch: .*expected object/],
    ['a missing field', 'launch', async({}), /^launch: handle: /],
    ['an unknown field', 'launch', async({ handle: { v: 1, data: 1 }, extra: 1 }), /^launch: .*extra/],
    ['a large handle', 'launch', async({ handle: { v: 1, data: 'x'.repeat(5000) } }), 'launch: handle: larger than 4096 bytes'],
    ['NaN', 'launch', async({ handle: { v: 1, data: 1 }, granted: { cpu: Number.NaN } }), /^launch: granted\.cpu: /],
    [
      'a wrong phase',
      'list',
      async({ ...list, workers: [observation, { ...observation, phase: 'sleeping' }] }),
      /^list: workers\[1\]\.phase: /,
    ],
    [
      'more than was asked',
      'list',
      async({ ...list, workers: Array.from({ length: 11 }, () => observation) }),
      'list: workers: 11 workers where the limit is 10',
    ],
    [
      'a large page',
      'list',
      async({ ...list, workers: Array.from({ length: 10 }, () => ({ ...observation, part: 'x'.repeat(60_000) })) }),
      new RegExp(`^list: an answer of \\d+ bytes; at most ${maxPageBytes}`),
    ],
    [
      'a stranger',
      'inspect',
      async([{ ...observation, id: `w${'b'.repeat(26)}` }]),
      'inspect: [0].id: a worker that was not asked for, or twice',
    ],
    [
      'a worker twice',
      'inspect',
      async([observation, observation]),
      'inspect: [1].id: a worker that was not asked for, or twice',
    ],
    [
      'a key that reaches a prototype',
      'launch',
      async({ handle: { v: 1, data: JSON.parse('{"__proto__":1}') } }),
      'launch: a key __proto__',
    ],
    ['a value that is no JSON', 'launch', async({ handle: { v: 1, data: 1n } }), /^launch: .*BigInt/],
    [
      'a throw',
      'launch',
      () => Promise.reject(new TypeError('undefined is not a function')),
      'launch failed: undefined is not a function',
    ],
    [
      'a throw before a promise',
      'launch',
      () => {
        throw new RangeError('early')
      },
      'launch failed: early',
    ],
    ['a throw of no error', 'launch', () => Promise.reject('text'), 'launch failed: text'],
    ['no iterable', 'watch', async(undefined), 'watch: gave no AsyncIterable'],
    ['a wrong sample', 'stats', () => give({ id: observation.id, at: 'now' }), /^stats: at: /],
    ['a wrong item', 'watch', () => give({ ...observation, ready: 'yes' }), /^watch: ready: /],
    [
      'a large log chunk',
      'logs',
      () => give({ stream: 'stdout', cursor: 'c', data: new Uint8Array(maxChunkBytes + 1) }),
      /^logs: data: 65537 bytes/,
    ],
    [
      'an item that throws',
      'logs',
      () =>
        give({
          stream: 'stdout',
          cursor: 'c',
          get data(): Uint8Array {
            throw new Error('no bytes')
          },
        }),
      'logs failed: no bytes',
    ],
    ['a text for bytes', 'copyOut', () => give('text'), 'copyOut: a byte stream gave a value that is no Uint8Array'],
    ['no session', 'exec', async(undefined), 'exec: output: no AsyncIterable'],
    ['a session without exit', 'exec', async({ output: give() }), 'exec: exit: no Promise'],
    ['a wrong exit', 'exec', async({ output: give(), exit: Promise.resolve({ code: 300, reason: 'r' }) }), /^exec: code: /],
    [
      'output that jumps',
      'exec',
      async({ output: give({ stream: 'stderr', offset: 4, data: new Uint8Array(1) }), exit: Promise.resolve({ reason: 'r' }) }),
      'exec: offset: stderr goes on at 4, not at 0',
    ],
    [
      'an exit that fails while output runs',
      'exec',
      () => Promise.resolve({ output: give(), exit: Promise.reject(new Error('lost it')) }),
      'exec failed: lost it',
    ],
  ]

  it.each(cases)('%s (%s)', async (...[, method, value, message]) => {
    const result = await told({ [method]: value }, async (host) => {
      switch (method) {
        case 'launch':
          return await host.worker.launch(spec, options())
        case 'list':
          return await host.worker.list(query, options())
        case 'inspect':
          return await host.worker.inspect([target], options())
        case 'stats':
          return await collect(host.worker.stats({ tags: query.tags, everyMs: 500 }, options()))
        case 'watch':
          return await collect(host.worker.watch(query, options()))
        case 'logs':
          return await collect(host.worker.logs(target, { follow: false }, options()))
        case 'copyOut':
          return await collect(host.worker.copyOut(target, '/x', options()))
        default: {
          const session = await host.worker.exec(target, command, options())
          await collect(session.output)
          return await session.exit
        }
      }
    })
    expect(result).toMatchObject({
      code: 'internal',
      effect: 'possible',
      message: typeof message === 'string' ? message : (expect.stringMatching(message) as string),
    })
  })

  it('more scopes than were asked for (listScopes)', async () => {
    const handle = { v: 1, data: 's' }
    const scopes = ['a', 'b'].map((name) => ({ id: name, handle }))
    const { host } = await linkCredentials({ listScopes: async () => ({ scopes, asOf: now }) })
    expect((await host.credential.listScopes({ owner: 'o', limit: 2 }, options())).scopes).toEqual(scopes)
    await expect(host.credential.listScopes({ owner: 'o', limit: 1 }, options())).rejects.toMatchObject({
      code: 'internal',
      message: 'listScopes: scopes: 2 scopes where the limit is 1',
    })
  })

  it('but fields that are there and undefined are no fault', async () => {
    const loose = { handle: { v: 1, data: 1 }, granted: undefined }
    expect(await told({ launch: async(loose) }, (host) => host.worker.launch(spec, options()))).toEqual({
      value: { handle: { v: 1, data: 1 } },
    })
  })

  it('and what was streamed before it arrives', async () => {
    async function* breaks(): AsyncGenerator<WorkerObservation> {
      yield observation
      throw new ProviderError('throttled', 'slow down', { scope: 'read', retryAfterMs: 5 })
    }
    const { host } = await link({ watch: breaks })
    const seen: WorkerObservation[] = []
    const failed = (async () => {
      for await (const one of host.worker.watch(query, options())) seen.push(one)
    })()
    await expect(failed).rejects.toMatchObject({ code: 'throttled', scope: 'read', retryAfterMs: 5 })
    expect(seen).toEqual([observation])
  })

  it('its text is capped, one line, and without secrets', async () => {
    const { host, lines } = await link({
      async probe(call) {
        const { value } = await call.secret('token')
        throw new Error(`refused\n${value}\u001B[0m${'x'.repeat(5000)}`)
      },
    })
    const failed = host.worker.probe(options({ secret: async () => ({ value: 'canary-value', version: '1' }) }))
    const error = await failed.catch((reason: unknown) => reason as ProviderError)
    expect(error).toMatchObject({ code: 'internal' })
    expect((error as ProviderError).message).toMatch(/^probe failed: refused \[secret\]\[0mx+…$/)
    expect((error as ProviderError).message).toHaveLength(2000)
    expect(lines.join('')).not.toContain('canary-value')
    expect(lines.join('')).toContain('call failed')
  })
})
