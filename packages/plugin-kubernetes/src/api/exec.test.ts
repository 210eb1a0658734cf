import type { Duplex } from 'node:stream'
import { expect, test } from 'vitest'
import { type WebSocket, WebSocketServer } from 'ws'
import { openStream, type StreamSession, type StreamTarget } from './exec.ts'
import { hang, kubeconfig, refuse, seen, type ServerOptions, startServer, type TestServer } from './server.test.helper.ts'

const frame = (channel: number, text: string): Buffer => Buffer.concat([Buffer.of(channel), Buffer.from(text)])
const status = (body: object): Buffer => frame(3, JSON.stringify(body))
const exited = (code: number): Buffer =>
  status({ status: 'Failure', reason: 'NonZeroExitCode', details: { causes: [{ reason: 'ExitCode', message: String(code) }] } })

interface Kubelet extends AsyncDisposable {
  server: TestServer
  /** What came, by channel. */
  got: Buffer[]
  open(more?: Partial<StreamTarget>): Promise<StreamSession>
}

/** A server whose commands do what the test says. */
async function kubelet(
  serve: (socket: WebSocket) => void,
  more: ServerOptions & { protocol?: string; refusals?: number } = {},
): Promise<Kubelet> {
  const { protocol = 'v5.channel.k8s.io', refusals = 0 } = more
  const server = await startServer([refuse(404)], more)
  const got: Buffer[] = []
  const sockets = new Set<Duplex>()
  const upgrades = new WebSocketServer({
    noServer: true,
    handleProtocols: (offered) => (offered.has(protocol) ? protocol : false),
  })
  let left = refusals
  server.onUpgrade((request, socket, head) => {
    server.tokens.push(request.headers.authorization)
    sockets.add(socket)
    if (left-- > 0) return void socket.end('HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n')
    return upgrades.handleUpgrade(request, socket, head, (ws) => {
      ws.on('message', (data: Buffer) => got.push(data)).on('error', () => {})
      serve(ws)
    })
  })
  const target = { namespace: 'n', pod: 'p', container: 'main', command: ['true'], signal: new AbortController().signal }
  return {
    server,
    got,
    open: (target2 = {}) => openStream(server.transport, { ...target, ...target2 }),
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy()
      await server[Symbol.asyncDispose]()
    },
  }
}

async function drain(session: StreamSession): Promise<string> {
  let text = ''
  for await (const { stream, data } of session.output) text += `${stream}:${data.toString()} `
  return text
}

const killed = (ws: WebSocket): void => ws.terminate()

test('output after the status is output still, and the code is known', async () => {
  await using pod = await kubelet((ws) => {
    ws.send(frame(1, 'a'))
    ws.send(exited(137))
    ws.send(frame(2, 'b'))
    ws.send(Buffer.of(255, 1))
    ws.close(1000)
  })
  const session = await pod.open()
  expect(await drain(session)).toBe('stdout:a stderr:b ')
  expect(await session.exit).toBe(137)
})

test.each<[string, (ws: WebSocket) => void]>([
  ['dropped', killed],
  ['closed in order, without a status', (ws) => ws.close(1000)],
  ['closed by a server that goes', (ws) => ws.close(1001, 'going away')],
])('a connection that is %s leaves the end unknown, and everything settles', async (_, end) => {
  await using pod = await kubelet((ws) => ws.send(frame(1, 'a'), () => end(ws)))
  const session = await pod.open()
  await expect(drain(session)).rejects.toMatchObject({ code: 'LOST', sent: true })
  await expect(session.exit).rejects.toMatchObject({ code: 'LOST' })
  await expect(session.resize({ columns: 1, rows: 1 })).rejects.toMatchObject({ code: 'LOST' })
})

test('a connection without a sign of life ends; one that answers pings may be silent for as long as it likes', async () => {
  const limits = { pingMs: 10, silenceMs: 60 }
  await using dead = await kubelet((ws) => ws.pause())
  const session = await dead.open({ limits })
  await expect(drain(session)).rejects.toMatchObject({ code: 'SILENT' })
  await expect(session.exit).rejects.toMatchObject({ code: 'SILENT' })

  let pings = 0
  await using quiet = await kubelet((ws) => ws.on('ping', () => ++pings === 20 && (ws.send(exited(3)), ws.close(1000))))
  const alive = await quiet.open({ limits: { pingMs: 10, silenceMs: 60_000 } })
  await drain(alive)
  expect(await alive.exit).toBe(3)
})

test('a command that does not read its input holds the sender, and is not taken for dead', async () => {
  let taken = 0
  async function* endless(): AsyncGenerator<Uint8Array> {
    for (; ; taken++) yield Buffer.alloc(1024 * 1024)
  }
  let held: WebSocket | undefined
  await using pod = await kubelet((ws) => {
    held = ws
    ws.pause()
  })
  const session = await pod.open({ stdin: endless(), limits: { pingMs: 5, silenceMs: 10, heldMs: 600_000 } })
  const reading = drain(session)
  reading.catch(() => {})
  let before = -1
  // The buffers of both machines are full when nothing more is taken.
  await seen(() => {
    const now = taken
    const same = now === before
    before = now
    expect(same && now > 0).toBe(true)
  })
  expect(taken).toBeLessThan(64)
  held?.resume()
  await seen(() => expect(taken).toBeGreaterThan(before))
  held?.terminate()
  await expect(reading).rejects.toMatchObject({ name: 'ApiFailure' })
})

test('a reader that does not read holds the server', async () => {
  const chunk = frame(1, 'x'.repeat(64 * 1024))
  let sent = 0
  await using pod = await kubelet((ws) => {
    const more = (): void => {
      if (sent++ < 1000) ws.send(chunk, more)
      else ws.send(exited(0), () => ws.close(1000))
    }
    more()
  })
  const session = await pod.open({ limits: { buffer: 256 * 1024 } })
  let before = -1
  await seen(() => {
    const now = sent
    const same = now === before
    before = now
    expect(same && now > 0).toBe(true)
  })
  expect(sent).toBeLessThan(500)
  let size = 0
  for await (const { data } of session.output) size += data.length
  expect(size).toBe(1000 * 64 * 1024)
  expect(await session.exit).toBe(0)
})

test('the end does not wait for a server that does not close, but for a reader that is slow', async () => {
  await using open = await kubelet((ws) => ws.send(exited(0)))
  const quick = await open.open({ limits: { lingerMs: 10 } })
  await drain(quick)
  expect(await quick.exit).toBe(0)

  const chunk = Buffer.alloc(256 * 1024, 'x')
  await using pod = await kubelet((ws) => {
    ws.send(exited(0))
    for (let at = 0; at < 8; at++) ws.send(Buffer.concat([Buffer.of(1), chunk]))
    ws.send(Buffer.concat([Buffer.of(2)]), () => ws.close(1000))
  })
  const limits = { buffer: chunk.length, lingerMs: 50 }
  const session = await pod.open({ limits })
  let [size, rested] = [0, false]
  for await (const { data } of session.output) {
    size += data.length
    // paced: the reader rests for longer than the linger
    if (!rested) await new Promise((resolve) => setTimeout(resolve, 4 * limits.lingerMs))
    rested = true
  }
  expect(size).toBe(8 * chunk.length)
  expect(await session.exit).toBe(0)
})

test('the input has its end; a server that cannot tell it is not given one', async () => {
  async function* input(): AsyncGenerator<Uint8Array> {
    yield Buffer.from('in')
  }
  await using pod = await kubelet((ws) =>
    ws.on('message', (data: Buffer) => data[0] === 255 && (ws.send(status({ status: 'Success' })), ws.close(1000))),
  )
  const session = await pod.open({ stdin: input() })
  await drain(session)
  expect(await session.exit).toBe(0)
  expect(pod.got).toEqual([frame(0, 'in'), Buffer.of(255, 0)])

  await using old = await kubelet((ws) => (ws.send(exited(0)), ws.close(1000)), { protocol: 'v4.channel.k8s.io' })
  await expect(old.open({ stdin: input() })).rejects.toMatchObject({ status: 415 })
  const without = await old.open()
  await drain(without)
  expect(await without.exit).toBe(0)
})

test('what the server says instead of a code is the failure', async () => {
  await using pod = await kubelet((ws) => {
    ws.send(status({ status: 'Failure', reason: 'InternalError', message: 'executable file not found', code: 500 }))
    ws.close(1000)
  })
  const session = await pod.open()
  await drain(session)
  await expect(session.exit).rejects.toMatchObject({ status: 500, message: 'executable file not found' })
})

test('a refusal before the upgrade is the same failure as of any request; a refused token is read anew', async () => {
  await using server = await startServer([refuse(403, { reason: 'Forbidden', message: 'you may not' })])
  const target = { namespace: 'n', pod: 'p', container: 'main', command: ['true'], signal: new AbortController().signal }
  await expect(openStream(server.transport, target)).rejects.toMatchObject({
    status: 403,
    reason: 'Forbidden',
    message: '403: you may not',
  })

  let reads = 0
  const text = async (url: string): Promise<string> => kubeconfig(url, { token: `token-${++reads}` })
  await using pod = await kubelet((ws) => (ws.send(exited(0)), ws.close(1000)), { text, refusals: 1 })
  const session = await pod.open()
  await drain(session)
  expect(await session.exit).toBe(0)
  expect(pod.server.tokens).toEqual(['Bearer token-1', 'Bearer token-2'])
})

test('an abort ends it at any time', async () => {
  const stop = new AbortController()
  await using server = await startServer([hang])
  server.onUpgrade(() => {})
  const target = { namespace: 'n', pod: 'p', container: 'main', command: ['true'], signal: stop.signal }
  const opening = openStream(server.transport, target)
  stop.abort(new Error('enough'))
  await expect(opening).rejects.toThrow('enough')

  const later = new AbortController()
  await using pod = await kubelet(() => {})
  const session = await pod.open({ signal: later.signal })
  const reading = drain(session)
  later.abort(new Error('enough'))
  await expect(reading).rejects.toThrow('enough')
  await expect(session.exit).rejects.toThrow('enough')
})
