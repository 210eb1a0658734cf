import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { get } from 'node:http'
import { connect as connectTo, createServer } from 'node:net'
import { basename, join } from 'node:path'
import { connect } from '@muster/client'
import { requireSystem } from '@muster/test/require'
import { findIpv6 } from '@muster/test/systems/ipv6'
import { waitFor } from '@muster/test/systems/wait'
import { pino } from 'pino'
import { expect, test } from 'vitest'
import { endpointPath, socketPath, startApi } from './server.ts'
import { sealer } from '../store/seal.ts'
import { startTestDaemon, type TestDaemon } from './testing/daemon.ts'

function start(
  daemon: TestDaemon,
  dataDir: string,
  {
    port = 0,
    host = '127.0.0.1',
    ...more
  }: { port?: number; host?: string } & Pick<Parameters<typeof startApi>[0], 'socket'> = {},
): ReturnType<typeof startApi> {
  const { engine } = daemon.harness
  const deps = {
    engine,
    runs: daemon.runs,
    apply: daemon.apply,
    upgrade: daemon.upgrade,
    dev: daemon.dev,
    version: '1',
    log: pino({ level: 'silent' }),
  }
  return startApi({ ...deps, ...more, dataDir, listen: { host, port } })
}

test('says where it is, for this user alone, as long as it is there', async () => {
  await using daemon = await startTestDaemon()
  const path = endpointPath(daemon.dir)
  expect(JSON.parse(readFileSync(path, 'utf8'))).toEqual({
    pid: process.pid,
    url: daemon.api.url,
    socket: socketPath(daemon.dir, daemon.harness.engine.sealer),
  })
  expect(statSync(path).mode & 0o777).toBe(0o600)
  await daemon.stop()
  expect(existsSync(path)).toBe(false)
  expect(existsSync(socketPath(daemon.dir, daemon.harness.engine.sealer))).toBe(false)
  await daemon.start()
})

test('the name of the socket is known to whoever may read the data folder, the same at each start, and to nobody else', async () => {
  await using daemon = await startTestDaemon()
  const named = (one: TestDaemon): string => basename(one.api.socket ?? '')
  const before = named(daemon)
  // As the guide has it for curl.
  expect(readdirSync(daemon.dir).filter((name) => /^muster-[\w-]{8}\.sock$/.test(name))).toEqual([before])
  expect(readFileSync('/proc/net/unix', 'utf8')).not.toContain(before)
  await daemon.stop()
  await daemon.start()
  expect(named(daemon)).toBe(before)
  expect(basename(socketPath(daemon.dir, sealer(new Uint8Array(32).fill(1))))).not.toBe(before)
})

test('a socket that a killed daemon left is replaced', async () => {
  await using daemon = await startTestDaemon()
  await daemon.stop()
  // Its name is taken away before it closes, so that the file stays.
  const made = join(daemon.dir, 'left.sock')
  const left = createServer().listen(made)
  await once(left, 'listening')
  renameSync(made, socketPath(daemon.dir, daemon.harness.engine.sealer))
  left.close()
  await daemon.start()
  expect(statSync(socketPath(daemon.dir, daemon.harness.engine.sealer)).isSocket()).toBe(true)
})

test('a socket whose name was taken away is made again with its mode, and what came in by it goes on', async () => {
  await using daemon = await startTestDaemon()
  const path = socketPath(daemon.dir, daemon.harness.engine.sealer)
  const api = await start(daemon, daemon.dir, { socket: { path: join(daemon.dir, 'own.sock'), mode: 0o660 } })
  const own = api.socket ?? ''
  const open = connectTo(own)
  open.write('GET /v1/version HTTP/1.1\r\nHost: localhost\r\n')
  const isServed = async (socket: string): Promise<void> => {
    const client = connect({ socket })
    await client.version()
    client.close()
  }
  // It came after: what is open has been read by now.
  await isServed(own)
  for (const name of [own, path, own]) {
    rmSync(name)
    await waitFor('its name', () => existsSync(name))
    await isServed(name)
  }
  expect(statSync(own).mode & 0o777).toBe(0o660)
  open.write('Connection: close\r\n\r\n')
  const [answer] = (await once(open, 'data')) as [Buffer]
  expect(answer.toString()).toMatch(/^HTTP\/1.1 200/)
  // What stands there now is somebody's: it is left alone.
  rmSync(own)
  writeFileSync(own, 'precious')
  rmSync(path)
  await waitFor('the other look', () => existsSync(path))
  expect(readFileSync(own, 'utf8')).toBe('precious')
  await api.close()
  expect(readFileSync(own, 'utf8')).toBe('precious')
  await daemon.stop()
  expect(existsSync(path)).toBe(false)
  await daemon.start()
})

test('a socket that somebody listens on, and a file that is no socket, are left alone', async () => {
  await using daemon = await startTestDaemon()
  const path = join(daemon.dir, 'other.sock')
  const other = createServer().listen(path)
  await once(other, 'listening')
  const start_ = (): ReturnType<typeof startApi> => start(daemon, join(daemon.dir, 'second'), { socket: { path, mode: 0o600 } })
  mkdirSync(join(daemon.dir, 'second'))
  await expect(start_()).rejects.toMatchObject({ code: 'EADDRINUSE', port: path })
  other.close()
  await once(other, 'close')
  writeFileSync(path, 'precious')
  await expect(start_()).rejects.toMatchObject({ code: 'EEXIST' })
  expect(readFileSync(path, 'utf8')).toBe('precious')
})

test('a socket in a folder that is not there is refused with what is missing, not as one that this user may not make', async () => {
  await using daemon = await startTestDaemon()
  const path = join(daemon.dir, 'none', 'own.sock')
  await expect(start(daemon, join(daemon.dir, 'second'), { socket: { path, mode: 0o600 } })).rejects.toMatchObject({
    code: 'ENOENT',
    message: `the unix socket ${path} cannot be opened: there is no folder ${join(daemon.dir, 'none')}`,
    hint: 'Make that folder, or choose another: host.socket.path.',
  })
})

test('the socket is where the configuration wants it, and open to whom it says', async () => {
  await using daemon = await startTestDaemon()
  const path = join(daemon.dir, 'open.sock')
  mkdirSync(join(daemon.dir, 'second'))
  const api = await start(daemon, join(daemon.dir, 'second'), { socket: { path, mode: 0o660 } })
  expect([api.socket, statSync(path).mode & 0o777]).toEqual([path, 0o660])
  expect(JSON.parse(readFileSync(endpointPath(join(daemon.dir, 'second')), 'utf8'))).toMatchObject({ socket: path })
  await api.close()
  expect(existsSync(path)).toBe(false)
})

test('a port that is taken is an error that names it', async () => {
  await using daemon = await startTestDaemon()
  const port = Number(new URL(daemon.api.url).port)
  await expect(start(daemon, daemon.dir, { port })).rejects.toMatchObject({ code: 'EADDRINUSE', port })
})

test('a client whose machine or way is gone is noticed also while nothing is sent to it', async () => {
  await using daemon = await startTestDaemon()
  const port = Number(new URL(daemon.api.url).port)
  const client = connectTo({ host: '127.0.0.1', port })
  await once(client, 'connect')
  const from = client.localPort ?? 0
  const ends = [port, from].map((one) => `:${one.toString(16).toUpperCase().padStart(4, '0')}`)
  await waitFor('the kernel to look after its side', () => {
    const rows = readFileSync('/proc/self/net/tcp', 'utf8').split('\n')
    const row = rows
      .map((line) => line.trim().split(/\s+/))
      .find((words) => ends.every((end, at) => words[at + 1]?.endsWith(end)))
    // `tr`: the timer that runs is that of keep-alive.
    return row?.[5]?.startsWith('02:') === true
  })
  client.destroy()
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
      expect([method, path, status]).toEqual([
        method,
        path,
        /^\/(healthz|readyz|v1\/health|v1\/ready|v1\/openapi.json)$/.test(path) ? 200 : 401,
      ])
    }
})

function statusAt(url: string, host: string): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    get(`${url}/healthz`, { headers: { host } }, (answer) => {
      answer.resume()
      resolve(answer.statusCode)
    }).on('error', reject)
  })
}

test('listens on the loopback of IPv6, and says so as a URL', async (context) => {
  await using daemon = await startTestDaemon()
  await requireSystem(context, { name: 'ipv6', probe: async () => (await findIpv6()).absent })
  mkdirSync(join(daemon.dir, 'second'))
  const api = await start(daemon, join(daemon.dir, 'second'), { host: '::1' })
  expect(api.url).toMatch(/^http:\/\/\[::1\]:\d+$/)
  const client = connect({ url: api.url, token: daemon.token }, { patienceMs: 0 })
  expect(await client.version()).toMatchObject({ api: 'v1' })
  client.close()
  const { port } = new URL(api.url)
  // As other spellings of the same address name themselves; another server's name is refused there too.
  for (const [host, status] of [
    [`[::1]:${port}`, 200],
    [`[0:0:0:0:0:0:0:1]:${port}`, 200],
    [`[::ffff:127.0.0.1]:${port}`, 200],
    [`localhost:${port}`, 200],
    [`[::]:${port}`, 403],
    ['[2001:db8::7]', 403],
  ] as const)
    expect([host, await statusAt(api.url, host)]).toEqual([host, status])
  await api.close()
})
