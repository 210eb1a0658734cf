import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { expect, test } from 'vitest'
import { waitFor } from '@muster/test/systems/wait'
import { connect } from './client.ts'
import { framesOf } from './log-stream.ts'
import { bodyOf, json, problem, startServer } from './serve.test.helper.ts'

function frame(kind: number, next: number, body: string): Buffer {
  const head = Buffer.alloc(13)
  head.writeUInt8(kind, 0)
  head.writeBigUInt64BE(BigInt(next), 1)
  head.writeUInt32BE(Buffer.byteLength(body), 9)
  return Buffer.concat([head, Buffer.from(body)])
}

const end = (complete: boolean): Buffer => frame(0, 0, JSON.stringify({ complete }))

async function textOf(chunks: AsyncIterable<{ stream: string; data: Uint8Array }>): Promise<string[]> {
  const lines: string[] = []
  for await (const { stream, data } of chunks) lines.push(`${stream}:${Buffer.from(data).toString()}`)
  return lines
}

test('frames are whole however the bytes arrive', async () => {
  const bytes = Buffer.concat([frame(1, 1, 'a'.repeat(300)), frame(3, 0, ''), frame(2, 2, ''), end(true)])
  for (const size of [1, 7, 13, 14, bytes.length]) {
    async function* pieces(): AsyncGenerator<Uint8Array, void, undefined> {
      for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size)
    }
    const kinds: number[] = []
    for await (const one of framesOf(pieces())) kinds.push(one.kind)
    expect(kinds).toEqual([1, 3, 2, 0])
  }
})

test('a log that is cut, between frames or inside one, goes on where it was: every byte once', async () => {
  const cuts = [
    { from: '0', bytes: Buffer.concat([frame(3, 0, ''), frame(1, 10, 'one')]) },
    { from: '10', bytes: Buffer.concat([frame(2, 20, 'two'), frame(1, 30, 'three').subarray(0, 15)]) },
    { from: '20', bytes: Buffer.concat([frame(1, 30, 'three'), end(false)]), whole: true },
    { from: '30', bytes: Buffer.concat([frame(1, 40, 'four'), end(true)]), whole: true },
  ]
  await using server = await startServer((request, response) => {
    const next = cuts.shift()
    expect(new URL(request.url ?? '', 'http://x').searchParams.get('from')).toBe(next?.from)
    response.writeHead(200)
    response.write(next?.bytes, () => (next?.whole === true ? response.end() : response.destroy()))
  })
  expect(await textOf(connect({ url: server.url }).runs.logs('r1'))).toEqual([
    'stdout:one',
    'stderr:two',
    'stdout:three',
    'stdout:four',
  ])
})

test('without follow it ends at the end of what is there', async () => {
  await using server = await startServer(
    (_request, response) => void response.end(Buffer.concat([frame(1, 10, 'one'), end(false)])),
  )
  const chunks = connect({ url: server.url }).runs.logs('r1', { follow: false, from: 5 })
  expect(await textOf(chunks)).toEqual(['stdout:one'])
  expect(server.asked).toEqual(['GET /v1/runs/r1/logs?from=5&follow=false'])
})

test('a log that cannot be read further, or is none, is an error', async () => {
  const told = JSON.stringify({ complete: false, problem: { code: 'gone', detail: 'dropped', status: 410 } })
  await using server = await startServer(
    (_request, response) => void response.end(Buffer.concat([frame(1, 10, 'one'), frame(0, 10, told)])),
  )
  const client = connect({ url: server.url })
  await expect(textOf(client.runs.logs('r1'))).rejects.toMatchObject({ code: 'gone', status: 410 })
  for (const bytes of [frame(9, 0, ''), Buffer.alloc(13, 1), frame(0, 0, 'no json')]) {
    server.handle((_request, response) => void response.end(bytes))
    await expect(textOf(client.runs.logs('r1'))).rejects.toMatchObject({ code: 'protocol' })
  }
  server.handle((_request, response) => problem(response, 404, { code: 'not-found' }))
  await expect(textOf(client.runs.logs('r1'))).rejects.toMatchObject({ code: 'not-found' })
})

test('a slow reader holds the server back', async () => {
  let sent = 0
  await using server = await startServer(async (_request, response) => {
    const piece = frame(1, 1, 'x'.repeat(65_536))
    const closed = once(response, 'close')
    for (let i = 0; i < 2000 && !response.destroyed; i++) {
      sent += 1
      if (!response.write(piece)) await Promise.race([once(response, 'drain'), closed])
    }
    response.end(end(true))
  })
  const log = connect({ url: server.url }).runs.logs('r1')[Symbol.asyncIterator]()
  await log.next()
  let before = -1
  await waitFor('the server to stand still', () => sent === before || ((before = sent), false), { everyMs: 200 })
  // Of 128 MiB: what the kernel's buffers and two streams hold.
  expect(sent * 65_536).toBeLessThan(16 * 2 ** 20)
  await log.return?.()
})

test('ending the reading early ends the connection', async () => {
  let closed = false
  await using server = await startServer((_request, response) => {
    response.on('close', () => (closed = true))
    response.write(frame(1, 10, 'one'))
  })
  for await (const chunk of connect({ url: server.url }).runs.logs('r1')) if (chunk.next === 10) break
  await waitFor('the connection to close', () => closed)
})

test('standard input: pieces are acknowledged one by one, and repeated after a cut', async () => {
  const got: Buffer[] = []
  let offset = 0
  let first = true
  await using server = await startServer(async (request, response) => {
    const data = await bodyOf(request)
    const query = new URL(request.url ?? '', 'http://x').searchParams
    const fresh = data.subarray(offset - Number(query.get('offset')))
    got.push(fresh)
    offset += fresh.length
    // The piece is stored, its acknowledgement lost.
    if (first) response.destroy()
    else json(response, { offset, ended: query.get('end') === 'true' })
    first = false
  })
  async function* source(): AsyncGenerator<Uint8Array, void, undefined> {
    yield Buffer.alloc(600_000, 'a')
    yield Buffer.from('tail')
  }
  const client = connect({ url: server.url })
  expect(await client.runs.stdin('r1', source())).toBe(true)
  expect(Buffer.concat(got)).toEqual(Buffer.concat([Buffer.alloc(600_000, 'a'), Buffer.from('tail')]))
  server.handle((_request, response) => problem(response, 409, { code: 'ended' }))
  expect(await client.runs.stdin('r1', source())).toBe(false)
  server.handle((_request, response) => problem(response, 409, { code: 'no-stdin' }))
  await expect(client.runs.stdin('r1', source())).rejects.toMatchObject({ code: 'no-stdin' })
})

test('a source that never ends does not hold a call whose signal aborts', async () => {
  await using server = await startServer((_request, response) => json(response, { offset: 1, ended: false }))
  const stop = new AbortController()
  let returned = false
  async function* source(): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      yield Buffer.from('x')
      await new Promise((resolve) => stop.signal.addEventListener('abort', resolve))
    } finally {
      returned = true
    }
  }
  const sending = connect({ url: server.url }).runs.stdin('r1', source(), { signal: stop.signal })
  await expect.poll(() => server.asked.length).toBe(1)
  stop.abort(new Error('enough'))
  await expect(sending).rejects.toThrow('enough')
  await expect.poll(() => returned).toBe(true)
})

test('events go on after the last one, also when the cut comes before the first', async () => {
  const answers = [
    { from: null, seq: '7', lines: '\n' },
    { from: '7', seq: '7', lines: '\n{"seq":8}\n{"seq":9}\n{"se' },
    { from: '9', seq: '9', lines: '{"seq":10}\n' },
  ]
  const stop = new AbortController()
  await using server = await startServer((request, response) => {
    const next = answers.shift()
    const query = new URL(request.url ?? '', 'http://x').searchParams
    expect([query.get('from'), query.get('pool')]).toEqual([next?.from, 'ci'])
    response.writeHead(200, { 'muster-seq': next?.seq ?? '' })
    response.write(next?.lines, () => answers.length > 0 && response.destroy())
  })
  const seen: number[] = []
  for await (const { seq } of connect({ url: server.url }).events({ pool: 'ci', signal: stop.signal })) {
    seen.push(seq)
    if (seq === 10) break
  }
  expect(seen).toEqual([8, 9, 10])
})

test('events that were dropped since the last one seen are told of, also after a cut', async () => {
  const answers = ['{"seq":8}\n', '{"seq":13}\n']
  await using server = await startServer((_, response) => {
    const cut = answers.length > 1
    response.writeHead(200, { 'muster-seq': cut ? '7' : '12' })
    response.write(answers.shift() ?? '', () => cut && response.destroy())
  })
  const dropped: [number, number][] = []
  const onDropped = (from: number, until: number): void => void dropped.push([from, until])
  for await (const { seq } of connect({ url: server.url }).events({ from: 3, onDropped })) if (seq === 13) break
  expect(dropped).toEqual([
    [3, 7],
    [8, 12],
  ])
})

test('events end quietly at the signal; an answer without a beginning is none', async () => {
  const stop = new AbortController()
  await using server = await startServer((_request, response) => {
    response.writeHead(200, { 'muster-seq': '1' })
    response.write('{"seq":2}\n')
  })
  const client = connect({ url: server.url })
  const seen: number[] = []
  for await (const { seq } of client.events({ run: 'r1', from: 1, signal: stop.signal })) {
    seen.push(seq)
    stop.abort()
  }
  expect(seen).toEqual([2])
  server.handle((_request, response) => void response.end('{"seq":2}\n'))
  await expect(client.events()[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: 'protocol' })
  server.handle((_request, response) => void response.writeHead(200, { 'muster-seq': '1' }).end('no json\n'))
  await expect(client.events()[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: 'protocol' })
})

test('an input is sent again whole after a cut, and its digest compared', async () => {
  const tar = Buffer.alloc(300_000, 5)
  const sha256 = createHash('sha256').update(tar).digest('hex')
  let first = true
  await using server = await startServer(async (request, response) => {
    if (first) {
      first = false
      request.once('data', () => response.destroy())
      return
    }
    const body = await bodyOf(request)
    expect(request.headers['content-type']).toBe('application/x-tar')
    json(response, { name: 'src', state: 'stored', bytes: body.length, sha256: createHash('sha256').update(body).digest('hex') })
  })
  async function* source(): AsyncGenerator<Uint8Array, void, undefined> {
    for (let at = 0; at < tar.length; at += 50_000) yield tar.subarray(at, at + 50_000)
  }
  const client = connect({ url: server.url })
  expect(await client.runs.putInput('r1', { name: 'src', tar: source })).toMatchObject({ sha256, bytes: 300_000 })
  server.handle(async (request, response) => {
    await bodyOf(request)
    json(response, { name: 'src', state: 'stored', sha256: '0'.repeat(64) })
  })
  await expect(client.runs.putInput('r1', { name: 'src', tar: source })).rejects.toMatchObject({ code: 'digest-mismatch' })
})

test('an upload that is refused midway ends there', async () => {
  await using server = await startServer((request, response) => {
    request.once('data', () => problem(response, 413, { code: 'too-large' }))
  })
  let given = 0
  async function* source(): AsyncGenerator<Uint8Array, void, undefined> {
    for (; given < 10_000; given++) yield Buffer.alloc(65_536)
  }
  await expect(connect({ url: server.url }).runs.putInput('r1', { name: 'src', tar: source })).rejects.toMatchObject({
    code: 'too-large',
  })
  expect(given).toBeLessThan(10_000)
})

test('a source that fails fails the upload', async () => {
  await using server = await startServer(() => undefined)
  async function* source(): AsyncGenerator<Uint8Array, void, undefined> {
    yield Buffer.from('x')
    throw new Error('the disk is broken')
  }
  await expect(connect({ url: server.url }).runs.putInput('r1', { name: 'src', tar: source })).rejects.toThrow(
    'the disk is broken',
  )
})

test('an output is checked against its digest', async () => {
  const tar = Buffer.alloc(1000, 3)
  let announced = createHash('sha256').update(tar).digest('hex')
  await using server = await startServer(
    (_request, response) => void response.writeHead(200, { 'muster-sha256': announced }).end(tar),
  )
  const client = connect({ url: server.url })
  const read = async (): Promise<Buffer> => {
    const { tar: source } = await client.runs.getOutput('r1', 'dist')
    const chunks: Uint8Array[] = []
    for await (const chunk of source) chunks.push(chunk)
    return Buffer.concat(chunks)
  }
  expect(await read()).toEqual(tar)
  announced = '0'.repeat(64)
  await expect(read()).rejects.toMatchObject({ code: 'digest-mismatch' })
})
