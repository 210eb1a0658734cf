import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { endpointPath, socketPath, startApi } from './server.ts'
import { startTestDaemon, type TestDaemon } from './testing/daemon.ts'

function start(daemon: TestDaemon, dataDir: string, port = 0): ReturnType<typeof startApi> {
  const { engine } = daemon.harness
  const deps = { engine, runs: daemon.runs, version: '1', log: pino({ level: 'silent' }) }
  return startApi({ ...deps, dataDir, listen: { host: '127.0.0.1', port } })
}

test('says where it is, for this user alone, as long as it is there', async () => {
  await using daemon = await startTestDaemon()
  const path = endpointPath(daemon.dir)
  expect(JSON.parse(readFileSync(path, 'utf8'))).toEqual({
    pid: process.pid,
    url: daemon.api.url,
    socket: socketPath(daemon.dir),
  })
  expect(statSync(path).mode & 0o777).toBe(0o600)
  await daemon.stop()
  expect(existsSync(path)).toBe(false)
  expect(existsSync(socketPath(daemon.dir))).toBe(false)
  await daemon.start()
})

test('a socket that a killed daemon left is replaced', async () => {
  await using daemon = await startTestDaemon()
  await daemon.stop()
  writeFileSync(socketPath(daemon.dir), '')
  await daemon.start()
  expect(statSync(socketPath(daemon.dir)).isSocket()).toBe(true)
})

test('a port that is taken is an error that names it', async () => {
  await using daemon = await startTestDaemon()
  const port = Number(new URL(daemon.api.url).port)
  await expect(start(daemon, daemon.dir, port)).rejects.toMatchObject({ code: 'EADDRINUSE', port })
})

test('without room for a socket path it listens on TCP alone', async () => {
  await using daemon = await startTestDaemon()
  const deep = join(daemon.dir, 'd'.repeat(100))
  const { mkdirSync } = await import('node:fs')
  mkdirSync(deep)
  const api = await start(daemon, deep)
  expect(api.socket).toBeUndefined()
  expect(JSON.parse(readFileSync(endpointPath(deep), 'utf8'))).toEqual({ pid: process.pid, url: api.url })
  await api.close()
})

test('every route says who may use it', async () => {
  await using daemon = await startTestDaemon()
  const document = JSON.parse((await daemon.ask('GET', '/v1/openapi.json')).text) as {
    paths: Record<string, Record<string, unknown>>
  }
  for (const [path, methods] of Object.entries(document.paths))
    for (const method of Object.keys(methods)) {
      const filled = path.replaceAll(/\{\w+\}/g, 'x')
      const { status } = await daemon.ask(method.toUpperCase(), filled, { token: null })
      expect([method, path, status]).toEqual([method, path, /^\/(healthz|readyz|v1\/openapi.json)$/.test(path) ? 200 : 401])
    }
})
