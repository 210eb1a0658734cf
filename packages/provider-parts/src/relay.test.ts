/** The way to a port through a program, with this machine's own in the place of a worker's. */
import { once } from 'node:events'
import { mkdir, symlink } from 'node:fs/promises'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import type { RawExec } from '@muster/core'
import { tempFolder } from '@muster/test/systems/temp'
import { expect, test } from 'vitest'
import { createInput } from './input.ts'
import { localExec } from './local.test.helper.ts'
import { openRelay } from './relay.ts'

const { signal } = new AbortController()

/** A server on a free port; answers the port. */
async function serve(serving: (socket: Socket) => void): Promise<{ port: number; [Symbol.dispose](): void }> {
  const server = createServer({ allowHalfOpen: true }, serving).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return { port: (server.address() as AddressInfo).port, [Symbol.dispose]: () => void server.close() }
}

test('each side ends by itself, and what is said after the other has ended still comes', async () => {
  using server = await serve((socket) => {
    let got = 0
    socket.on('data', (data: Buffer) => (got += data.length)).on('end', () => socket.end(`${got} bytes`))
  })
  const input = createInput()
  for (let part = 0; part < 30; part++) input.push(Buffer.alloc(10_000))
  input.end()
  const relayed = await openRelay(localExec(), { port: server.port, input: input.bytes }, signal)
  expect(Buffer.concat(await Array.fromAsync(relayed ?? [])).toString()).toBe('300000 bytes')
})

test('where nobody listens is told before anything came', async () => {
  const server = await serve(() => undefined)
  server[Symbol.dispose]()
  const input = createInput()
  const relayed = await openRelay(localExec(), { port: server.port, input: input.bytes }, signal)
  await expect(Array.fromAsync(relayed ?? [])).rejects.toMatchObject({ code: 'transient', effect: 'none' })
})

test('one that is left early leaves no program behind, though the other side never ends', async () => {
  const open = new Set<Socket>()
  using server = await serve((socket) => {
    open.add(socket.on('error', () => undefined).resume())
    socket.write('here')
  })
  const ends: Promise<unknown>[] = []
  // As an API server does: a program goes on without whoever started it, and only its input ends.
  const raw: RawExec = async ({ argv, signal: left, stdin }) => {
    const input = createInput()
    left.addEventListener('abort', () => input.end(), { once: true })
    const session = await localExec()({ argv, signal, ...(stdin === undefined ? {} : { stdin: input.bytes }) })
    ends.push(session.exit.catch((error: unknown) => error))
    return session
  }
  const relayed = await openRelay(raw, { port: server.port, input: createInput().bytes }, signal)
  expect(Buffer.from((await relayed?.next())?.value ?? []).toString()).toBe('here')
  await relayed?.return(undefined)
  // Its own exit would be a code.
  expect(await ends[0]).toMatchObject({ message: 'the connection was lost' })
  for (const socket of open) socket.destroy()
  await ends[1]
})

test('an image without such a program has no relay, and nothing of the input is taken', async () => {
  await using temp = await tempFolder('relay')
  const path = join(temp.path, 'bin')
  await mkdir(path)
  await symlink('/bin/sh', join(path, 'sh'))
  let taken = false
  async function* input(): AsyncGenerator<Uint8Array> {
    taken = true
    yield Buffer.from('x')
  }
  expect(await openRelay(localExec({ path }), { port: 1, input: input() }, signal)).toBeUndefined()
  expect(taken).toBe(false)
})
