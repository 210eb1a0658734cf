import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import { join } from 'node:path'
import { tempFolder } from '@muster/test/systems/temp'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { createEngine, type Engine } from '../client.ts'
import { killedBeside } from './killed-beside.ts'
import { killedForMemory } from './memory-kill.ts'

const at = '2026-01-02T03:04:05Z'
const State = { ExitCode: 137, StartedAt: at, FinishedAt: at, OOMKilled: false }
const container = { Id: 'c', State, HostConfig: { Memory: 1 } } as never
const never = new AbortController().signal

let close: () => Promise<void>
let engine: Engine
let asked: Promise<void>
/** What the engine does when it is asked for events. */
let tell: (reply: ServerResponse) => void
/** An engine whose clock was set back: the end of what is asked for is far away. */
beforeEach(async () => {
  const folder = await tempFolder('told')
  tell = (reply) => reply.writeHead(200, { 'content-type': 'application/json' }).flushHeaders()
  const seen = Promise.withResolvers<void>()
  asked = seen.promise
  const server = createServer((request, reply) => {
    if (!request.url?.includes('/events')) return void reply.setHeader('api-version', '1.41').end('{"ApiVersion":"1.41"}')
    tell(reply)
    seen.resolve()
  }).listen(join(folder.path, 's'))
  await once(server, 'listening')
  engine = createEngine({ socketPath: join(folder.path, 's') })
  close = async () => {
    engine.close()
    server.closeAllConnections()
    server.close()
    await folder.remove()
  }
})
afterEach(async () => {
  vi.useRealTimers()
  await close()
})

test.each([
  ['a signal from outside', () => killedBeside(engine, container, never), undefined],
  ['a kill for memory', () => killedForMemory(engine, container, never), false],
])('word of %s is not waited for as long as the clock of the engine was set back by', async (_what, ask, answer) => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  const told = ask()
  await asked
  let over = false
  void told.then(() => (over = true))
  // The head of its answer is on its way yet.
  while (!over) {
    await vi.advanceTimersByTimeAsync(1000)
    await new Promise(setImmediate)
  }
  expect(await told).toBe(answer)
})

test('an engine that is slow to answer at all is waited for by whoever asked: its silence tells nothing', async () => {
  const replies: ServerResponse[] = []
  tell = (reply) => void replies.push(reply)
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  const told = killedForMemory(engine, container, never)
  await asked
  await vi.advanceTimersByTimeAsync(20_000)
  replies[0]?.writeHead(200, { 'content-type': 'application/json' }).end('{"Action":"oom"}\n')
  expect(await told).toBe(true)
})

test('whoever asked and goes away is told so, not an answer', async () => {
  const leaving = new AbortController()
  const told = killedBeside(engine, container, leaving.signal)
  await asked
  leaving.abort()
  await expect(told).rejects.toBeDefined()
})
