/** The way to a port through a program, with this machine's own in the place of a worker's. */
import { once } from 'node:events'
import { accessSync } from 'node:fs'
import { mkdir, symlink } from 'node:fs/promises'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import type { RawExec } from '@muster/core'
import { suiteWith } from '@muster/test/systems/presence'
import { type TempFolder, tempFolder } from '@muster/test/systems/temp'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { localExec, losing } from './local.test.helper.ts'
import { openRelay } from './relay.ts'

const { signal } = new AbortController()
const host = '127.0.0.1'

/** A server on a free port. */
async function serve(serving: (socket: Socket) => void): Promise<{ port: number; [Symbol.dispose](): void }> {
  const server = createServer({ allowHalfOpen: true }, serving).listen(0, host)
  await once(server, 'listening')
  return { port: (server.address() as AddressInfo).port, [Symbol.dispose]: () => void server.close() }
}

/** It says at the end of its input what it had. */
function say(socket: Socket): void {
  const got: Buffer[] = []
  socket.on('data', (data: Buffer) => got.push(data)).on('end', () => socket.end(Buffer.concat(got)))
}

/** Each byte is in it, in pieces of many sizes. */
const bytes = Buffer.from(Array.from({ length: 300_000 }, (_one, at) => (at * 7 + (at >> 8)) % 256))
async function* parts(until?: Promise<unknown>): AsyncGenerator<Uint8Array> {
  const sizes = [1, 10, 70_000, 0, 255, 99_734, 130_000]
  for (let at = 0; at < bytes.length; at += sizes[0] ?? 0, sizes.push(sizes.shift() ?? 0))
    yield bytes.subarray(at, at + (sizes[0] ?? 0))
  await until
}
/** Several times what the buffers on the way hold. */
const PIECES = 512
const never = new Promise<never>(() => undefined)

function find(program: string): { name: string; system: string } | { name: string; absent: string } {
  const file = ['/bin', '/usr/bin', '/usr/local/bin'].map((folder) => join(folder, program)).find(isThere)
  return file === undefined ? { name: program, absent: 'it is not installed' } : { name: program, system: file }
}

function isThere(path: string): boolean {
  try {
    accessSync(path)
    return true
  } catch {
    return false
  }
}

/** What takes the end of an input that broke off for a whole one cannot be told of it. */
const ways = [
  { way: 'node', needs: { name: 'node', system: process.execPath }, links: ['node'], resets: true },
  { way: 'python3', needs: find('python3'), links: ['python3'], resets: true },
  { way: "BusyBox's nc", needs: find('busybox'), links: ['nc', 'dd', 'grep', 'cat', 'sleep'], resets: false },
  { way: 'BusyBox alone', needs: find('busybox'), links: ['nc', 'dd', 'grep', 'cat', 'sleep', 'sh'], resets: false },
]

for (const { way, needs, links, resets } of ways)
  suiteWith(needs, `a relay through ${way}`, (program) => {
    let temp: TempFolder
    let raw: RawExec
    beforeAll(async () => {
      temp = await tempFolder('relay')
      for (const name of links) await symlink(program, join(temp.path, name))
      if (!links.includes('grep')) await symlink('/bin/grep', join(temp.path, 'grep'))
      const local = localExec({ path: temp.path })
      const shell = links.includes('sh') ? join(temp.path, 'sh') : '/bin/sh'
      raw = ({ argv: [_shell, ...words], ...rest }) => local({ argv: [shell, ...words], ...rest })
    })
    afterAll(() => temp[Symbol.asyncDispose]())

    const reach = async (port: number, { input = parts(), by = raw } = {}): Promise<Buffer> =>
      Buffer.concat(await Array.fromAsync((await openRelay(by, { host, port, input }, signal)) ?? []))

    test('each side ends by itself, and what is said after the other has ended still comes', async () => {
      using server = await serve(say)
      expect((await reach(server.port)).equals(bytes)).toBe(true)
    })

    test('a node that ends an input before the last of it has come through loses nothing of it', async () => {
      using server = await serve(say)
      expect((await reach(server.port, { by: losing(raw) })).equals(bytes)).toBe(true)
    })

    test('the other side ends first, and what is still to be said is not waited for', async () => {
      using server = await serve((socket) => {
        let got = 0
        socket.on('data', (data: Buffer) => (got += data.length) === bytes.length && socket.end('enough'))
      })
      expect((await reach(server.port, { input: parts(never) })).toString()).toBe('enough')
    })

    test('a slow reader at the port holds the sender', async () => {
      const begun = Promise.withResolvers<Socket>()
      using server = await serve((socket) => begun.resolve(socket.pause()))
      let taken = 0
      async function* endless(): AsyncGenerator<Uint8Array> {
        for (; taken < PIECES; taken++) yield Buffer.alloc(65_536)
      }
      const relayed = await openRelay(raw, { host, port: server.port, input: endless() }, signal)
      const said = Array.fromAsync(relayed ?? [])
      const socket = await begun.promise
      let before = -1
      while (before !== taken) {
        before = taken
        // paced: what still moves goes on
        await new Promise((resolve) => setTimeout(resolve, 300))
      }
      expect(taken).toBeLessThan(PIECES / 2)
      let got = 0
      socket.on('data', (data: Buffer) => (got += data.length)).on('end', () => socket.end(String(got)))
      socket.resume()
      expect(Buffer.concat(await said).toString()).toBe(String(PIECES * 65_536))
    })

    test('an input that breaks off is no end of it', async () => {
      const seen = Promise.withResolvers<string>()
      using server = await serve((socket) => {
        socket.resume().on('end', () => socket.end('all of it?'))
        socket.on('error', ({ message }) => seen.resolve(message)).on('close', () => seen.resolve('closed'))
      })
      // As a node does with a client that is gone.
      const gone: RawExec = ({ stdin, ...rest }) => {
        const stopped = async function* (): AsyncGenerator<Uint8Array> {
          let left = 4
          for await (const part of stdin ?? [])
            if (left-- > 0) yield part
            else return
        }
        return raw({ ...rest, ...(stdin === undefined ? {} : { stdin: stopped() }) })
      }
      await expect(reach(server.port, { by: gone })).rejects.toMatchObject({ code: 'transient', effect: 'possible' })
      expect(await seen.promise).toBe(resets ? 'read ECONNRESET' : 'closed')
    })

    test('where nobody listens is told before anything came', async () => {
      const server = await serve(() => undefined)
      server[Symbol.dispose]()
      await expect(reach(server.port)).rejects.toMatchObject({ code: 'transient', effect: 'none' })
    })

    test('one that is left early leaves no program behind, though the port never takes what it is sent', async () => {
      const open = new Set<Socket>()
      using server = await serve((socket) => {
        open.add(socket.on('error', () => undefined).pause())
        socket.write('here')
      })
      const ends: Promise<unknown>[] = []
      // As an API server does: a program goes on without whoever started it, and only its input ends.
      const apart: RawExec = async ({ argv, signal: left, stdin }) => {
        const gone = Promise.withResolvers<undefined>()
        left.addEventListener('abort', () => gone.resolve(undefined), { once: true })
        const session = await raw({ argv, signal, ...(stdin === undefined ? {} : { stdin: untilGone(stdin, gone.promise) }) })
        ends.push(session.exit.catch((error: unknown) => error))
        return session
      }
      async function* flood(): AsyncGenerator<Uint8Array> {
        for (;;) yield Buffer.alloc(65_536)
      }
      const relayed = await openRelay(apart, { host, port: server.port, input: flood() }, signal)
      expect(Buffer.from((await relayed?.next())?.value ?? []).toString()).toBe('here')
      await relayed?.return(undefined)
      await ends[0]
      await ends[1]
      for (const socket of open) socket.destroy()
    })
  })

async function* untilGone(input: AsyncIterable<Uint8Array>, gone: Promise<undefined>): AsyncGenerator<Uint8Array> {
  const source = input[Symbol.asyncIterator]()
  for (;;) {
    const next = await Promise.race([source.next(), gone])
    if (next === undefined || next.done === true) return
    yield next.value
  }
}

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
  expect(await openRelay(localExec({ path }), { host, port: 1, input: input() }, signal)).toBeUndefined()
  expect(taken).toBe(false)
})
