/** A terminal over the API and the client: what is typed and shown, other sizes, its end, and what is wrong. */
import { once } from 'node:events'
import { connect as connectTo } from 'node:net'
import { connect, type TerminalSize } from '@muster/client'
import { type ExecInput, ProviderError, type WorkerExit } from '@muster/core'
import { waitFor } from '@muster/test/systems/wait'
import { expect, test } from 'vitest'
import { startTestDaemon, type TestDaemon } from './testing/daemon.ts'

const TYPE = 'application/vnd.muster.terminal'

interface Seen {
  command?: ExecInput
  sizes: TerminalSize[]
  aborted: boolean
}

type Body = AsyncIterable<Uint8Array | TerminalSize>

/** A worker whose terminals say back what is typed, in capitals, and end as they are told. */
async function terminalIn(
  daemon: TestDaemon,
  ends: () => WorkerExit | Promise<WorkerExit>,
): Promise<{ worker: string; seen: Seen }> {
  const { json } = await daemon.ask('POST', '/v1/leases', { body: { pool: 'ci' } })
  await daemon.harness.pass(100)
  const { worker } = (await daemon.ask('GET', `/v1/leases/${json['id'] as string}`)).json as { worker: { id: string } }
  const seen: Seen = { sizes: [], aborted: false }
  const provider = daemon.harness.provider()
  Object.assign(provider, {
    capabilities: { ...provider.capabilities, exec: { reattach: true, stdin: true, tty: true, exitCode: true } },
    async exec(_target: unknown, command: ExecInput, { signal }: { signal: AbortSignal }) {
      seen.command = command
      signal.addEventListener('abort', () => (seen.aborted = true))
      const over = Promise.withResolvers<WorkerExit>()
      async function* output(): AsyncGenerator<{ stream: 'stdout'; offset: number; data: Uint8Array }> {
        for await (const chunk of command.input ?? [])
          yield { stream: 'stdout', offset: 0, data: Buffer.from(Buffer.from(chunk).toString().toUpperCase()) }
        over.resolve(ends())
      }
      const resize = async (size: TerminalSize): Promise<void> => void seen.sizes.push(size)
      return { output: output(), exit: over.promise, resize }
    },
  })
  return { worker: worker.id, seen }
}

async function shown(output: AsyncIterable<Uint8Array>): Promise<string> {
  let text = ''
  for await (const chunk of output) text += Buffer.from(chunk).toString()
  return text
}

async function* doing(...all: (string | TerminalSize)[]): Body {
  for (const one of all) yield typeof one === 'string' ? Buffer.from(one) : one
}

const size = { columns: 91, rows: 23 }

test('keys and sizes go there, what is shown and the exit come back; it is told who sat there', async () => {
  await using daemon = await startTestDaemon()
  const { worker, seen } = await terminalIn(daemon, () => ({ code: 7, reason: 'exited' }))
  const client = connect({ url: daemon.api.url, token: daemon.token })
  const large = 'x'.repeat(200_000)
  const request = { command: ['sh'], env: { A: 'b' }, workdir: '/w', user: '1000', stdin: true, ...size }
  const other = { columns: 132, rows: 43 }
  const terminal = await client.workers.terminal(worker, { ...request, input: doing('some ', other, 'words ', large) })
  expect(await shown(terminal.output)).toBe(`SOME WORDS ${large.toUpperCase()}`)
  expect(terminal.exit()).toEqual({ code: 7, reason: 'exited' })
  expect(seen.sizes).toEqual([other])
  const { input: _input, id, ...command } = seen.command ?? {}
  expect(id).toMatch(/^x[0-9a-z]{26}$/)
  expect(command).toEqual({
    ...{ command: ['sh'], env: { A: 'b' }, workdir: '/w', user: '1000' },
    ...{ tty: size, stdin: true, from: { stdout: 0, stderr: 0 } },
  })
  const rows = await daemon.harness.engine.journal.why('worker', worker)
  expect(rows.find(({ rule }) => rule === 'worker-reached')).toMatchObject({ decision: 'open a terminal' })
  client.close()
})

test('without typing the command has no input, and hears of other sizes all the same', async () => {
  await using daemon = await startTestDaemon()
  const resized = Promise.withResolvers<WorkerExit>()
  const { worker, seen } = await terminalIn(daemon, () => resized.promise)
  const client = connect({ url: daemon.api.url, token: daemon.token })
  const held = Promise.withResolvers<void>()
  async function* input(): Body {
    yield { columns: 10, rows: 5 }
    await held.promise
  }
  const terminal = await client.workers.terminal(worker, { command: ['top'], ...size, input: input() })
  const output = shown(terminal.output)
  await waitFor('the other size', () => seen.sizes.length === 1)
  resized.resolve({ signal: 'SIGHUP', reason: 'ended by SIGHUP' })
  expect(await output).toBe('')
  expect([seen.command?.stdin, seen.command?.input, terminal.exit().signal]).toEqual([false, undefined, 'SIGHUP'])
  held.resolve()
  client.close()
})

test('the command ends with the connection; what ends it otherwise is told', async () => {
  await using daemon = await startTestDaemon()
  const { worker, seen } = await terminalIn(daemon, () => {
    throw new ProviderError('transient', 'the engine is gone')
  })
  const client = connect({ url: daemon.api.url, token: daemon.token })
  const failed = await client.workers.terminal(worker, { command: ['sh'], stdin: true, ...size, input: doing('a') })
  await expect(shown(failed.output)).rejects.toMatchObject({
    name: 'MusterError',
    message: expect.stringContaining('gone') as string,
  })
  const leaving = new AbortController()
  async function* forever(): Body {
    yield Buffer.from('a')
    await new Promise(() => undefined)
  }
  seen.aborted = false
  const left = await client.workers.terminal(worker, {
    ...{ command: ['sh'], stdin: true, ...size },
    ...{ input: forever(), signal: leaving.signal },
  })
  const reading = (async () => {
    for await (const _shown of left.output) leaving.abort()
  })()
  await expect(reading).rejects.toThrow('aborted')
  await waitFor('its end there', () => seen.aborted)
  await waitFor('its place to be free', () => daemon.api.streams() === 0)
  client.close()
})

test('what does not begin as a terminal is refused, and so is what the provider has none for', async () => {
  await using daemon = await startTestDaemon()
  const { worker } = await terminalIn(daemon, () => ({ code: 0, reason: 'exited' }))
  const path = `/v1/workers/${worker}/terminal`
  const frame = (kind: number, data: string, length = Buffer.byteLength(data)): Buffer => {
    const head = Buffer.alloc(5)
    head.writeUInt8(kind)
    head.writeUInt32BE(length, 1)
    return Buffer.concat([head, Buffer.from(data)])
  }
  const ask = async (body: Buffer, type = TYPE): Promise<[number, unknown]> => {
    const { status, json } = await daemon.ask('POST', path, { body, headers: { 'content-type': type } })
    return [status, json['detail']]
  }
  const command = { command: ['sh'], ...size }
  expect(await ask(frame(1, 'x'))).toEqual([400, 'the first frame says what to run'])
  expect(await ask(Buffer.from('ab'))).toEqual([400, 'the first frame says what to run'])
  expect(await ask(frame(0, '{'))).toEqual([400, 'a frame is not JSON'])
  expect(await ask(frame(0, JSON.stringify({ ...command, rows: 0 })))).toEqual([400, expect.stringContaining('rows') as string])
  expect(await ask(frame(0, JSON.stringify({ ...command, file: 'x' })))).toEqual([400, expect.stringContaining('file') as string])
  expect(await ask(frame(0, '', 2 ** 31))).toEqual([413, expect.stringContaining('is the most') as string])
  expect((await ask(frame(0, JSON.stringify(command)), 'application/octet-stream'))[0]).toBe(415)
  const provider = daemon.harness.provider()
  Object.assign(provider, { capabilities: { ...provider.capabilities, exec: { ...provider.capabilities.exec, tty: false } } })
  expect(await ask(frame(0, JSON.stringify(command)))).toEqual([422, "provider 'one' cannot open a terminal"])
  await waitFor('every place to be free', () => daemon.api.streams() === 0)
})

test('whoever opens a terminal and does not say what to run holds no place for it', async () => {
  await using daemon = await startTestDaemon({ limits: { bodyMs: 50 } })
  const { worker } = await terminalIn(daemon, () => ({ code: 0, reason: 'exited' }))
  const { port } = new URL(daemon.api.url)
  const socket = connectTo(Number(port), '127.0.0.1')
  const head = ['POST /v1/workers/' + worker + '/terminal HTTP/1.1', 'host: 127.0.0.1', `authorization: Bearer ${daemon.token}`]
  socket.write([...head, `content-type: ${TYPE}`, 'transfer-encoding: chunked', '', '5', '\0\0\0\0\x20', ''].join('\r\n'))
  const [answer] = (await once(socket, 'data')) as [Buffer]
  expect(answer.toString()).toMatch(/^HTTP\/1.1 408 [^]*what to run did not come/)
  await waitFor('its place to be free', () => daemon.api.streams() === 0)
  socket.destroy()
})
