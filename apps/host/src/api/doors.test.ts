import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { tempFolder } from '@muster/test/systems/temp'
import { afterEach, expect, test } from 'vitest'
import { type Doors, doorsOf, openFileLimit } from './doors.ts'

const sockets: Socket[] = []
const servers: Server[] = []
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy()
  for (const server of servers.splice(0)) server.close()
})

async function open(doors: Doors, where: { host: string; port: number } | { path: string }): Promise<Server> {
  const server = createServer((request, response) => void response.end(doors.crowdOf(request.socket) ?? 'in'))
  servers.push(server)
  if ('path' in where) doors.watchLocal(server)
  else doors.watch(server)
  server.listen(where)
  await once(server, 'listening')
  return server
}

/** What a new connection is told, and `closed` when that is nothing. */
async function ask(where: { path: string } | { host: string; port: number; localAddress?: string }): Promise<string> {
  const socket = connect(where)
  sockets.push(socket)
  socket.on('error', () => undefined)
  const closed = once(socket, 'close').then(() => 'closed')
  socket.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n')
  const told = once(socket, 'data').then(([data]) => (data as Buffer).toString().split('\r\n\r\n')[1] ?? '')
  return Promise.race([told, closed])
}

async function askOften(times: number, where: Parameters<typeof ask>[0]): Promise<Record<string, number>> {
  const answers: Record<string, number> = {}
  for (let count = 0; count < times; count++) {
    const answer = await ask(where)
    answers[answer] = (answers[answer] ?? 0) + 1
  }
  return answers
}

test('streams leave some places to others, and a small limit leaves some too', () => {
  expect(doorsOf(256).streams).toEqual({ most: 38, kept: 9 })
  expect(doorsOf(20).streams).toEqual({ most: 9, kept: 2 })
  expect(doorsOf(1_048_576).streams).toEqual({ most: 2000, kept: 250 })
  expect(openFileLimit()).toBeGreaterThan(15)
})

test('beyond its places a connection gets a word only; a place that is free again is given again', async () => {
  const doors = doorsOf(146, { connectionsPerAddress: 15 })
  const server = await open(doors, { host: '127.0.0.1', port: 0 })
  const { port } = server.address() as AddressInfo
  const [here, there] = ['127.0.0.1', '127.0.0.2'].map((localAddress) => ({ host: '127.0.0.1', port, localAddress })) as [
    Parameters<typeof ask>[0],
    Parameters<typeof ask>[0],
  ]
  expect(await askOften(12, here)).toEqual({ in: 12 })
  expect(await askOften(5, there)).toEqual({ in: 3, all: 2 })
  for (const socket of sockets.splice(0, 10)) {
    const closed = once(socket, 'close')
    socket.end()
    await closed
  }
  expect(await ask(there)).toBe('in')
})

test('one address takes a part, is told so beyond it, and a flood of it is closed unread', async () => {
  const doors = doorsOf(146)
  const { port } = (await open(doors, { host: '127.0.0.1', port: 0 })).address() as AddressInfo
  expect(await askOften(25, { host: '127.0.0.1', port })).toEqual({ in: 11, address: 6, closed: 8 })
  expect(await askOften(4, { host: '127.0.0.1', port, localAddress: '127.0.0.2' })).toEqual({ in: 4 })
})

test('both bounds are as they are given, as long as the open files allow them', async () => {
  for (const [given, wanted] of [
    [{ connections: 5 }, { in: 3, address: 6, closed: 3 }],
    [
      { connections: 5, connectionsPerAddress: 2 },
      { in: 2, address: 6, closed: 4 },
    ],
    [{ connections: 1 }, { in: 1, address: 6, closed: 5 }],
    [{ connections: 900, connectionsPerAddress: 800 }, { in: 12 }],
  ] as const) {
    const { port } = (await open(doorsOf(146, given), { host: '127.0.0.1', port: 0 })).address() as AddressInfo
    expect([given, await askOften(12, { host: '127.0.0.1', port })]).toEqual([given, wanted])
  }
})

test('whatever comes over TCP, the unix socket has places', async () => {
  await using folder = await tempFolder('doors')
  const path = join(folder.path, 'sock')
  const doors = doorsOf(146, { connectionsPerAddress: 15 })
  const { port } = (await open(doors, { host: '127.0.0.1', port: 0 })).address() as AddressInfo
  await open(doors, { path })
  const flood = await askOften(30, { host: '127.0.0.1', port })
  expect(flood['in']).toBe(15)
  expect(await askOften(6, { path })).toEqual({ in: 4, all: 2 })
})
