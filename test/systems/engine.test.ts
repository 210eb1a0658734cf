import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import { join } from 'node:path'

import { afterAll, beforeAll, expect, test } from 'vitest'

import { engineJson, engineProgress, EngineError, splitOutput } from './engine.ts'
import { tempFolder, type TempFolder } from './temp.ts'

let folder: TempFolder
let server: Server
let socket: string

// Answers as an engine does, with what the path asks for.
beforeAll(async () => {
  folder = await tempFolder('engine')
  socket = join(folder.path, 'socket')
  server = createServer((request, response) => {
    if (request.url === '/refused') response.writeHead(409).end('{"message":"name is in use"}\n')
    else if (request.url === '/late-failure') response.end('{"status":"pushing"}\n{"error":"denied"}\n')
    else response.end(JSON.stringify({ method: request.method, url: request.url }))
  }).listen(socket)
  await once(server, 'listening')
})

afterAll(async () => {
  server.close()
  await folder.remove()
})

test('sends method and repeated query values', async () => {
  const answer = await engineJson(socket, { method: 'POST', path: '/x', query: { changes: ['A=1', 'B=2'], tag: 't' } })
  expect(answer).toEqual({ method: 'POST', url: '/x?changes=A%3D1&changes=B%3D2&tag=t' })
})

test("a refusal carries the engine's status and words", async () => {
  const refused = engineJson(socket, { method: 'POST', path: '/refused' })
  await expect(refused).rejects.toThrow('POST /refused: 409 {"message":"name is in use"}')
  await expect(refused).rejects.toBeInstanceOf(EngineError)
  await expect(refused).rejects.toMatchObject({ status: 409 })
})

test('a failure inside a stream of status 200 is a failure', async () => {
  await expect(engineProgress(socket, { path: '/late-failure' })).rejects.toThrow('{"error":"denied"}')
})

test('output is taken apart by stream, whatever the frames', () => {
  const frame = (stream: number, text: string): Buffer => {
    const head = Buffer.from([stream, 0, 0, 0, 0, 0, 0, 0])
    head.writeUInt32BE(Buffer.byteLength(text), 4)
    return Buffer.concat([head, Buffer.from(text)])
  }
  const raw = Buffer.concat([frame(1, 'a'), frame(2, 'warning\n'), frame(1, ''), frame(1, 'é\n')])
  expect(splitOutput(raw)).toEqual({ stdout: 'aé\n', stderr: 'warning\n' })
})
