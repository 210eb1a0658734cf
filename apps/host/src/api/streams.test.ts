import { get, type IncomingMessage } from 'node:http'
import { expect, test } from 'vitest'
import { waitFor } from '@muster/test/systems/wait'
import { withBeats } from './streams.ts'
import { startTestDaemon, type TestDaemon } from './testing/daemon.ts'

async function makeRun(daemon: TestDaemon, more: object = {}): Promise<string> {
  const made = await daemon.ask('POST', '/v1/runs', { body: { pool: 'ci', command: ['true'], ...more } })
  return made.json['id'] as string
}

/** Opens a stream and reads nothing of its body yet. */
function open(daemon: TestDaemon, path: string, headers: Record<string, string> = {}): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    get(`${daemon.api.url}${path}`, { headers: { authorization: `Bearer ${daemon.token}`, ...headers } }, resolve).on(
      'error',
      reject,
    )
  })
}

async function nextText(stream: IncomingMessage, until: string): Promise<string> {
  let text = ''
  for await (const chunk of stream.iterator({ destroyOnReturn: false })) {
    text += String(chunk)
    if (text.includes(until)) break
  }
  return text
}

test('a log in frames: both streams, positions, a last frame', async () => {
  await using daemon = await startTestDaemon()
  const id = await makeRun(daemon)
  daemon.runs.output(id, 'stdout', 'out')
  daemon.runs.output(id, 'stderr', 'err')
  daemon.runs.end(id)
  const answer = await open(daemon, `/v1/runs/${id}/logs?follow=true`)
  expect(answer.headers['content-type']).toBe('application/vnd.muster.log')
  const bytes = Buffer.concat(await answer.toArray())
  const frame = (kind: number, next: number, body: string): Buffer => {
    const head = Buffer.alloc(13)
    head.writeUInt8(kind, 0)
    head.writeBigUInt64BE(BigInt(next), 1)
    head.writeUInt32BE(body.length, 9)
    return Buffer.concat([head, Buffer.from(body)])
  }
  expect(bytes).toEqual(
    Buffer.concat([frame(3, 0, ''), frame(1, 13, 'out'), frame(2, 26, 'err'), frame(0, 26, '{"complete":true}')]),
  )
  expect((await daemon.ask('GET', `/v1/runs/${id}/log`)).json).toEqual({
    end: 26,
    stdoutBytes: 3,
    stderrBytes: 3,
    complete: true,
  })
})

test('a log as lines, from a position on, by Accept; nothing else is acceptable', async () => {
  await using daemon = await startTestDaemon()
  const id = await makeRun(daemon)
  daemon.runs.output(id, 'stdout', 'one')
  daemon.runs.output(id, 'stdout', 'two')
  const lines = await daemon.ask('GET', `/v1/runs/${id}/logs?from=13`, { headers: { accept: 'application/x-ndjson' } })
  expect(lines.text).toBe(
    `\n{"stream":"stdout","next":26,"base64":"${Buffer.from('two').toString('base64')}"}\n{"end":true,"next":26,"complete":false}\n`,
  )
  const other = await daemon.ask('GET', `/v1/runs/${id}/logs`, { headers: { accept: 'image/png' } })
  expect([other.status, other.json['code']]).toEqual([406, 'not-acceptable'])
  const beyond = await daemon.ask('GET', `/v1/runs/${id}/logs?from=999`)
  expect([beyond.status, beyond.json['code']]).toEqual([416, 'bad-offset'])
})

test('a log as server-sent events: after a cut it goes on by Last-Event-ID, each byte once, and says its end', async () => {
  await using daemon = await startTestDaemon()
  const id = await makeRun(daemon)
  const path = `/v1/runs/${id}/logs?follow=true&from=0`
  const accept = 'text/event-stream'
  daemon.runs.output(id, 'stdout', 'one')
  const first = await open(daemon, path, { accept })
  expect(first.headers['content-type']).toBe(accept)
  const data = (text: string): string => Buffer.from(text).toString('base64')
  expect(await nextText(first, 'data: ')).toBe(`:\n\nid: 13\nevent: stdout\ndata: ${data('one')}\n\n`)
  first.destroy()
  await waitFor('the stream to be let go', () => daemon.runs.given.open === 0)
  daemon.runs.output(id, 'stderr', 'two')
  daemon.runs.end(id)
  const rest = await open(daemon, path, { accept, 'last-event-id': '13' })
  expect(Buffer.concat(await rest.toArray()).toString()).toBe(
    `:\n\nid: 26\nevent: stderr\ndata: ${data('two')}\n\nid: 26\nevent: end\ndata: {"next":26,"complete":true}\n\n`,
  )
  const beyond = await daemon.ask('GET', path, { headers: { accept, 'last-event-id': '999' } })
  expect([beyond.status, beyond.json['code']]).toEqual([416, 'bad-offset'])
})

test('a slow reader holds back the source and costs no memory', async () => {
  await using daemon = await startTestDaemon()
  const id = await makeRun(daemon)
  const piece = Buffer.alloc(65_536, 1)
  // 256 MiB, of one buffer: only what is read from it and waits would cost memory.
  for (let i = 0; i < 4096; i++) daemon.runs.output(id, 'stdout', piece)
  daemon.runs.end(id)
  const answer = await open(daemon, `/v1/runs/${id}/logs`)
  let before = -1
  // Until nothing moves any more: all buffers on the way are full.
  await waitFor(
    'the source to stand still',
    () => daemon.runs.given.pieces === before || ((before = daemon.runs.given.pieces), false),
    {
      everyMs: 200,
    },
  )
  // What the two kernels' socket buffers, the two processes' streams and ours take together.
  expect(daemon.runs.given.pieces * piece.length).toBeLessThan(16 * 2 ** 20)
  let total = 0
  for await (const chunk of answer) total += (chunk as Buffer).length
  expect(total).toBe(13 + 4096 * (piece.length + 13) + 13 + 17)
})

test('the end of the client ends the source, also while that waits', async () => {
  await using daemon = await startTestDaemon()
  const id = await makeRun(daemon)
  const answer = await open(daemon, `/v1/runs/${id}/logs?follow=true`)
  expect(daemon.runs.given.open).toBe(1)
  answer.destroy()
  await waitFor('the source to be let go', () => daemon.runs.given.open === 0)
})

test('the end of the daemon cuts streams off without a last frame, and answers those who wait', async () => {
  await using daemon = await startTestDaemon()
  const id = await makeRun(daemon)
  daemon.runs.output(id, 'stdout', 'x')
  const answer = await open(daemon, `/v1/runs/${id}/logs?follow=true`)
  const waiting = daemon.ask('GET', `/v1/runs/${id}/wait`)
  await waitFor('both to be there', () => daemon.runs.given.clients === 1 && daemon.runs.given.pieces === 1)
  const [, body, waited] = await Promise.all([daemon.api.close(), answer.toArray().catch((error: Error) => error), waiting])
  expect(body).toBeInstanceOf(Error)
  expect([waited.status, waited.json['code'], waited.headers['retry-after']]).toEqual([503, 'stopping', '1'])
  await daemon.start()
})

test('a source that fails midway is told in the last frame, with what came before', async () => {
  await using daemon = await startTestDaemon()
  const id = await makeRun(daemon)
  for (let i = 0; i < 3; i++) daemon.runs.output(id, 'stdout', 'x')
  daemon.runs.cutAfter(2)
  const answer = await daemon.ask('GET', `/v1/runs/${id}/logs`, { headers: { accept: 'application/x-ndjson' } })
  const lines = answer.text.trim().split('\n')
  expect(lines).toHaveLength(3)
  expect(JSON.parse(lines[2] ?? '')).toMatchObject({ end: true, next: 22, complete: false, problem: { code: 'internal' } })
  expect(answer.text).not.toContain('cut by the test')
  expect(JSON.stringify(daemon.log)).toContain('cut by the test')
})

test('a silent stream beats, and gives every item once', async () => {
  const gate = Promise.withResolvers<void>()
  async function* source(): AsyncGenerator<number, void, undefined> {
    yield 1
    await gate.promise
    yield 2
  }
  const seen: number[] = []
  for await (const item of withBeats(source(), 0, 5)) {
    seen.push(item)
    if (seen.length === 4) gate.resolve()
  }
  expect(seen.filter((item) => item !== 0)).toEqual([1, 2])
  expect(seen.slice(0, 4)).toEqual([1, 0, 0, 0])
})

test('events: as server-sent events with ids, resumed by Last-Event-ID without a gap', async () => {
  await using daemon = await startTestDaemon()
  const stream = await open(daemon, '/v1/events')
  expect(stream.headers['content-type']).toBe('text/event-stream')
  await daemon.ask('POST', '/v1/leases', { body: { pool: 'ci' } })
  const text = await nextText(stream, 'lease-queued')
  stream.destroy()
  const first = Number(/^id: (\d+)\nevent: decision\n/m.exec(text)?.[1])
  expect(text.startsWith(`id: ${first - 1}\n\n`)).toBe(true)
  await daemon.ask('POST', '/v1/leases', { body: { pool: 'full' } })
  const again = await open(daemon, '/v1/events', { 'last-event-id': String(first) })
  const more = await nextText(again, '"pool":"full"')
  again.destroy()
  const ids = [...more.matchAll(/^id: (\d+)$/gm)].map((match) => Number(match[1]))
  expect(ids.slice(0, 2)).toEqual([first, first + 1])
  // Seen elsewhere, as before the store was restored: what comes now would be missed.
  const beyond = await daemon.ask('GET', '/v1/events', { headers: { 'last-event-id': '999999' } })
  expect([beyond.status, beyond.json['code']]).toEqual([416, 'bad-offset'])
})

test('events that were asked for and are no longer kept are not passed over in silence', async () => {
  await using daemon = await startTestDaemon()
  await daemon.ask('POST', '/v1/leases', { body: { pool: 'full' } })
  const { engine } = daemon.harness
  await engine.store.write((tx) => tx.deleteFrom('journal').execute())
  const stream = await open(daemon, '/v1/events?from=0')
  const begin = Number(stream.headers['muster-seq'])
  expect(begin).toBeGreaterThan(0)
  await daemon.ask('POST', '/v1/leases', { body: { pool: 'ci' } })
  const ids = [...(await nextText(stream, 'lease-queued')).matchAll(/^id: (\d+)$/gm)].map((match) => Number(match[1]))
  stream.destroy()
  expect(ids.slice(0, 2)).toEqual([begin, begin + 1])
})

test('events as lines, of one pool only', async () => {
  await using daemon = await startTestDaemon()
  const stream = await open(daemon, '/v1/events?from=0&pool=full', { accept: 'application/x-ndjson' })
  await daemon.ask('POST', '/v1/leases', { body: { pool: 'ci' } })
  await daemon.ask('POST', '/v1/leases', { body: { pool: 'full' } })
  const text = await nextText(stream, 'lease-queued')
  stream.destroy()
  const rows = text.split('\n').filter((line) => line !== '')
  expect(rows.every((line) => (JSON.parse(line) as { pool: string }).pool === 'full')).toBe(true)
  expect((await daemon.ask('GET', '/v1/events', { headers: { accept: 'image/png' } })).status).toBe(406)
})

test('standard input: pieces once, gaps named, an end', async () => {
  await using daemon = await startTestDaemon()
  const id = await makeRun(daemon, { stdin: true })
  const send = (query: string, text: string): ReturnType<typeof daemon.ask> =>
    daemon.ask('POST', `/v1/runs/${id}/stdin?${query}`, {
      body: Buffer.from(text),
      headers: { 'content-type': 'application/octet-stream' },
    })
  expect((await send('offset=0', 'hello ')).json).toEqual({ offset: 6, ended: false })
  expect((await send('offset=0', 'hello ')).json).toEqual({ offset: 6, ended: false })
  const gap = await send('offset=9', 'x')
  expect([gap.status, gap.json['code'], gap.json['at']]).toEqual([409, 'gap', 6])
  expect((await send('offset=6&end=true', 'world')).json).toEqual({ offset: 11, ended: true })
  expect((await daemon.ask('GET', `/v1/runs/${id}/stdin`)).json).toEqual({ offset: 11, ended: true })
  expect(daemon.runs.stdinOf(id).toString()).toBe('hello world')
  const other = await makeRun(daemon)
  expect((await daemon.ask('GET', `/v1/runs/${other}/stdin`)).json['code']).toBe('no-stdin')
  const json = await daemon.ask('POST', `/v1/runs/${id}/stdin`, { body: {} })
  expect([json.status, json.json['code']]).toEqual([415, 'unsupported-media'])
  const large = await daemon.ask('POST', `/v1/runs/${id}/stdin?offset=11`, {
    body: Buffer.alloc(1_048_577),
    headers: { 'content-type': 'application/octet-stream' },
  })
  expect(large.status).toBe(413)
})

test('inputs and outputs: tars, with digests', async () => {
  await using daemon = await startTestDaemon()
  const id = await makeRun(daemon, { inputs: [{ name: 'src', path: '.' }], outputs: [{ name: 'dist', path: 'dist' }] })
  const put = (body: Buffer, headers: Record<string, string> = {}): ReturnType<typeof daemon.ask> =>
    daemon.ask('PUT', `/v1/runs/${id}/inputs/src`, { body, headers: { 'content-type': 'application/x-tar', ...headers } })
  const tar = Buffer.alloc(200_000, 7)
  const wrong = await put(tar, { 'muster-sha256': '0'.repeat(64) })
  expect([wrong.status, wrong.json['code']]).toEqual([422, 'digest-mismatch'])
  const stored = await put(tar)
  expect(stored.json).toMatchObject({ name: 'src', state: 'stored', bytes: 200_000 })
  expect((await put(tar)).json).toEqual(stored.json)
  expect((await put(Buffer.from('other'))).json['code']).toBe('conflict')
  expect(
    (await daemon.ask('PUT', `/v1/runs/${id}/inputs/none`, { body: tar, headers: { 'content-type': 'application/x-tar' } }))
      .status,
  ).toBe(404)
  expect((await daemon.ask('PUT', `/v1/runs/${id}/inputs/src`, { body: {} })).json['code']).toBe('unsupported-media')
  expect((await daemon.ask('GET', `/v1/runs/${id}/outputs/dist`)).json['code']).toBe('not-ready')
  daemon.runs.setOutput(id, 'dist', tar)
  const out = await open(daemon, `/v1/runs/${id}/outputs/dist`)
  expect(out.headers).toMatchObject({
    'content-type': 'application/x-tar',
    'content-length': '200000',
    'muster-sha256': stored.json['sha256'],
  })
  expect(Buffer.concat(await out.toArray())).toEqual(tar)
})

test('an upload that is cut off leaves nothing', async () => {
  await using daemon = await startTestDaemon()
  const id = await makeRun(daemon, { inputs: [{ name: 'src', path: '.' }] })
  async function* cut(): AsyncGenerator<Uint8Array, void, undefined> {
    yield Buffer.alloc(1000)
    await waitFor('the daemon to take the request', () => daemon.log.length > 0)
    throw new Error('gone')
  }
  await expect(
    fetch(`${daemon.api.url}/v1/runs/${id}/inputs/src`, {
      method: 'PUT',
      headers: { authorization: `Bearer ${daemon.token}`, 'content-type': 'application/x-tar' },
      body: ReadableStream.from(cut()),
      duplex: 'half',
    }),
  ).rejects.toThrow()
  expect((await daemon.ask('GET', `/v1/runs/${id}`)).json).toMatchObject({ artifacts: [{ state: 'awaited' }] })
})
