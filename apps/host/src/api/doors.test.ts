import { once } from 'node:events'
import { createServer } from 'node:http'
import { type AddressInfo, connect, type Socket } from 'node:net'
import { expect, test } from 'vitest'
import { doorsOf, openFileLimit } from './doors.ts'

test('streams leave some places to others, and a small limit leaves some too', () => {
  expect(doorsOf(256).streams).toBe(51)
  expect(doorsOf(20).streams).toBe(12)
  expect(doorsOf(1_048_576).streams).toBe(2000)
  expect(openFileLimit()).toBeGreaterThan(15)
})

test('beyond its places a connection gets a word only; a place that is free again is given again', async () => {
  const doors = doorsOf(146)
  const server = createServer((request, response) => void response.end(String(doors.isCrowded(request.socket))))
  doors.watch(server)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const sockets: Socket[] = []
  const ask = async (): Promise<string> => {
    const socket = connect(port, '127.0.0.1')
    sockets.push(socket)
    socket.write('GET / HTTP/1.1\r\nhost: x\r\n\r\n')
    const [data] = (await once(socket, 'data')) as [Buffer]
    return data.toString().split('\r\n\r\n')[1] ?? ''
  }
  const answers: string[] = []
  for (let count = 0; count < 25; count++) answers.push(await ask())
  expect(answers).toEqual([...Array.from({ length: 20 }, () => 'false'), ...Array.from({ length: 5 }, () => 'true')])
  for (const socket of sockets.splice(0, 10)) {
    const closed = once(socket, 'close')
    socket.end()
    await closed
  }
  expect(await ask()).toBe('false')
  for (const socket of sockets) socket.destroy()
  server.close()
})
