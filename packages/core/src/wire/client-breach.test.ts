/** A plugin that breaks the contract is found out by the host, and named. */
import { describe, expect, it } from 'vitest'
import type { PluginConnection } from './client.ts'
import type { ViolationCode } from './close.ts'
import { envelopeBytes, maxLate, maxPageBytes } from './limits.ts'
import { collect, connect, execId, failure, id, now, observation, options, query, spec } from './link.test.helper.ts'
import type { RawSide } from './raw.test.helper.ts'

const target = { id }
const launched = { handle: { v: 1, data: 1 } }
const command = { id: execId, command: ['x'], stdin: false, from: { stdout: 0, stderr: 0 } }

function item(header: object, data: Uint8Array = new Uint8Array(0)): Buffer {
  const json = Buffer.from(JSON.stringify(header))
  const length = Buffer.alloc(2)
  length.writeUInt16BE(json.length)
  return Buffer.concat([length, json, data])
}

describe('the host closes a plugin that', () => {
  type Ask = (host: PluginConnection) => Promise<unknown>
  const launch: Ask = (host) => host.worker.launch(spec, options())
  const list: Ask = (host) => host.worker.list(query, options())
  const watch: Ask = (host) => collect(host.worker.watch(query, options()))
  const copyOut: Ask = (host) => collect(host.worker.copyOut(target, '/x', options()))
  const logs: Ask = (host) => collect(host.worker.logs(target, { follow: true }, options()))
  const exec: Ask = async (host) => {
    const session = await host.worker.exec(target, command, options())
    await collect(session.output)
    return await session.exit
  }
  type Reply = (raw: RawSide, request: { id: number; params: Record<string, unknown> }) => void
  const result =
    (value: unknown): Reply =>
    (raw, request) =>
      raw.message({ id: request.id, result: value })
  const large = { workers: Array.from({ length: 10 }, () => ({ ...observation, part: 'x'.repeat(maxPageBytes / 9) })), asOf: now }
  const cases: [string, ViolationCode, Ask, Reply, string][] = [
    ['answers with a wrong shape', 'bad-answer', launch, result({ handle: 7 }), 'launch: handle: '],
    ['answers with a field too many', 'bad-answer', launch, result({ ...launched, odd: 1 }), 'launch: '],
    [
      'answers with a large handle',
      'bad-answer',
      launch,
      result({ handle: { v: 1, data: 'x'.repeat(5000) } }),
      'launch: handle: larger',
    ],
    [
      'answers with a deep nest',
      'bad-answer',
      launch,
      (raw, request) =>
        raw.text(
          `{"jsonrpc":"2.0","id":${request.id},"result":{"handle":{"v":1,"data":${'['.repeat(400_000)}${']'.repeat(400_000)}}}}`,
        ),
      'launch: handle: larger',
    ],
    [
      'lists more than was asked',
      'bad-answer',
      list,
      result({ workers: Array.from({ length: 11 }, () => observation), asOf: now }),
      'list: workers: 11',
    ],
    ['lists a large page', 'bad-answer', list, result(large), 'list: an answer of'],
    [
      'inspects strangers',
      'bad-answer',
      (host) => host.worker.inspect([{ id: `w${'z'.repeat(26)}` }], options()),
      result([observation]),
      'inspect: [0].id',
    ],
    ['describes itself wrongly', 'bad-answer', (host) => host.describe({ deadlineMs: 1000 }), result({}), 'describe: '],
    ['answers a stream before its end', 'missing-end', watch, result({}), 'watch: answered'],
    [
      'fails a stream without its end',
      'missing-end',
      watch,
      (raw, { id: call }) =>
        raw.message({ id: call, error: { code: 1, message: 'x', data: { code: 'internal', effect: 'none' } } }),
      'watch: answered',
    ],
    [
      'streams a wrong item',
      'bad-item',
      watch,
      (raw, { params }) => raw.frame(params['out'] as number, item({ ...observation, phase: 'odd' })),
      'watch: phase',
    ],
    ['streams no item', 'bad-item', watch, (raw, { params }) => raw.frame(params['out'] as number, Buffer.from('x')), 'watch: '],
    [
      'streams a large chunk',
      'chunk-size',
      copyOut,
      (raw, { params }) => raw.frame(params['out'] as number, Buffer.alloc(65_537)),
      'stream 1',
    ],
    [
      'streams a large log chunk',
      'bad-item',
      logs,
      (raw, { params }) => raw.frame(params['out'] as number, item({ stream: 'stdout', cursor: '1' }, new Uint8Array(65_537))),
      'logs: data',
    ],
    [
      'starts what cannot start',
      'bad-params',
      launch,
      (raw, { id: call }) => raw.message({ method: '$/started', params: { id: call } }),
      'launch: $/started',
    ],
    [
      'asks for something else',
      'unknown-method',
      launch,
      (raw) => raw.message({ id: 1, method: 'shell', params: {} }),
      'the plugin asked for shell',
    ],
    [
      'asks for a secret wrongly',
      'bad-params',
      launch,
      (raw, { id: call }) => raw.message({ id: 1, method: 'secret', params: { call } }),
      'secret: name',
    ],
    [
      'jumps in its output',
      'bad-item',
      exec,
      (raw, { id: call, params }) => {
        raw.message({ method: '$/started', params: { id: call } })
        raw.frame(params['out'] as number, item({ stream: 'stdout', offset: 5 }, Buffer.from('x')))
      },
      'exec: offset',
    ],
    [
      'starts twice',
      'bad-params',
      exec,
      (raw, { id: call }) => {
        raw.message({ method: '$/started', params: { id: call } })
        raw.message({ method: '$/started', params: { id: call } })
      },
      'exec: $/started',
    ],
  ]

  it.each(cases)('%s: %s', async (...[, violation, ask, reply, message]) => {
    const { host, raw } = connect()
    const other = failure(host.worker.headroom(options()))
    const failed = failure(ask(host))
    await raw.request('worker.headroom')
    const request = await raw.wait((one) => one.id === 2)
    reply(raw, { id: request.id ?? 0, params: request.params ?? {} })
    expect(await host.closed).toMatchObject({ kind: 'violation', violation, message: expect.stringContaining(message) as string })
    expect(await failed).toMatchObject({ code: 'internal', message: expect.stringContaining(message) as string })
    // Calls beside it fail with the reason too; they may have had an effect.
    expect(await other).toMatchObject({ code: 'internal', effect: 'possible' })
    await raw.ended
    expect(host.stats()).toMatchObject({ asked: 0, senders: 0, receivers: 0 })
  })

  it('lists a page that is longer than a page may be by one byte; none that is just as long', async () => {
    for (const more of [0, 1]) {
      const { host, raw } = connect()
      const listed = list(host).catch((error: unknown) => error)
      const { id: call } = await raw.request('worker.list')
      const text = JSON.stringify({ jsonrpc: '2.0', id: call, result: { workers: [], asOf: now } })
      raw.text(text.padEnd(maxPageBytes + envelopeBytes + more))
      if (more === 0) expect(await listed).toEqual({ workers: [], asOf: now })
      else expect(await host.closed).toMatchObject({ violation: 'bad-answer' })
    }
  })

  it('floods it with what is over, whatever time it takes', async () => {
    const { host, raw } = connect()
    raw.message({ id: 1, method: 'secret', params: { call: 99, name: 'token' } })
    await raw.wait((one) => one.id === 1)
    for (let one = 0; one <= maxLate + 1; one++) raw.message({ method: '$/cancel', params: { id: 1 } })
    const message = `more than ${maxLate} messages about what is over`
    expect(await host.closed).toEqual({ kind: 'violation', violation: 'flood', message })
  })
})
