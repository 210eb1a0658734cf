import { once } from 'node:events'
import { createServer } from 'node:http'
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
/** An engine whose clock was set back: the end of what is asked for is far away. */
beforeEach(async () => {
  const folder = await tempFolder('told')
  const seen = Promise.withResolvers<void>()
  asked = seen.promise
  const server = createServer((request, reply) => {
    if (!request.url?.includes('/events')) return void reply.setHeader('api-version', '1.41').end('{"ApiVersion":"1.41"}')
    reply.writeHead(200, { 'content-type': 'application/json' }).flushHeaders()
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
  await vi.advanceTimersByTimeAsync(10_000)
  expect(await told).toBe(answer)
})

test('whoever asked and goes away is told so, not an answer', async () => {
  const leaving = new AbortController()
  const told = killedBeside(engine, container, leaving.signal)
  await asked
  leaving.abort()
  await expect(told).rejects.toBeDefined()
})
