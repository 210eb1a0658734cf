import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { type AddressInfo, connect, createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { makeAuthority } from '@muster/test/systems/authority'
import { type DockerEngine, findDocker, findStartDocker } from '@muster/test/systems/docker'
import { ensureImage } from '@muster/test/systems/images'
import { suiteWith } from '@muster/test/systems/presence'
import { type RunningProcess, startProcess } from '@muster/test/systems/process'
import { findSshd, type SshServer } from '@muster/test/systems/sshd'
import { tempFolder, type TempFolder } from '@muster/test/systems/temp'
import { waitFor } from '@muster/test/systems/wait'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parseConfig } from '../config.ts'
import { createHarness, type Harness, type HarnessOptions, tarOf } from '../testing/harness.test.helper.ts'

/** In the engine's own network, where only its loopback is. */
const ENGINE_PORT = 2376

const nearby = await findDocker()

suiteWith(findStartDocker(), 'an engine behind TLS and behind ssh', (startEngine) => {
  suiteWith(findSshd(), 'of a real machine', (startServer) => {
    let folder: TempFolder
    let engine: DockerEngine
    let door: Door
    let server: SshServer
    let secrets: Record<'tls-ca' | 'tls-cert' | 'tls-key', string>
    let foreign: { cert: string; key: string }
    const harnesses: Harness[] = []

    beforeAll(async () => {
      folder = await tempFolder('remote')
      const [authority, other] = await Promise.all([makeAuthority(folder.path, 'ours'), makeAuthority(folder.path, 'other')])
      const [own, client, stranger] = await Promise.all([
        authority.issue('engine', ['DNS:engine.test']),
        authority.issue('client', ['DNS:client.test']),
        other.issue('client', ['DNS:client.test']),
      ])
      const read = (file: string): Promise<string> => readFile(file, 'utf8')
      secrets = { 'tls-ca': await read(authority.file), 'tls-cert': await read(client.cert), 'tls-key': await read(client.key) }
      foreign = { cert: await read(stranger.cert), key: await read(stranger.key) }
      engine = await startEngine({
        args: [
          ...['--live-restore', `--host=tcp://127.0.0.1:${ENGINE_PORT}`, '--tlsverify'],
          ...[`--tlscacert=${authority.file}`, `--tlscert=${own.cert}`, `--tlskey=${own.key}`],
        ],
      })
      door = await openDoor(engine, join(folder.path, 'door'))
      // One session would be the most; channels to a socket are no sessions.
      server = await startServer(['MaxSessions 1'])
    })
    afterAll(async () => {
      for (const harness of harnesses) await harness.clean()
      await server.stop()
      await door.close()
      await engine.stop()
      await folder.remove()
      expect(await engine.traces()).toEqual([])
    })

    const harnessOf = async (options: HarnessOptions): Promise<Harness> => {
      const harness = await createHarness(engine.socket, options)
      harnesses.push(harness)
      return harness
    }
    const overTls = (more: Record<string, string> = {}, name = 'engine.test'): Promise<Harness> =>
      harnessOf({
        endpoint: parseConfig({ address: `127.0.0.1:${door.port}`, tls: { name } }).endpoint,
        secrets: { ...secrets, ...more },
      })
    const overSsh = (more: { hostKeys?: string[]; socket?: string; secrets?: Record<string, string> } = {}): Promise<Harness> => {
      const { hostKeys = [server.hostKey], socket = engine.socket, secrets: own = { 'ssh-key': server.userKey } } = more
      const url = `ssh://${server.user}@127.0.0.1:${server.port}`
      return harnessOf({ endpoint: parseConfig({ socket, ssh: { url, hostKeys } }).endpoint, secrets: own })
    }

    /** Each side may end first, and a port where nobody listens is said so. */
    const reachedPorts = async (harness: Harness): Promise<string[]> => {
      const size = 300_000
      const script = `nc -ll -p 7000 -e wc -c & nc -ll -p 7001 -e head -c ${size} & sleep 1000`
      const spec = harness.spec({
        work: { mode: 'command', command: ['sh', '-c', script] },
        network: { egress: 'full', ports: [7000, 7001, 7003] },
      })
      await harness.provider.launch(spec, harness.call())
      const forward = async (port: number, input: AsyncIterable<Uint8Array>): Promise<Buffer> =>
        Buffer.concat(await Array.fromAsync(harness.provider.forward({ id: spec.id }, { port, input }, harness.call())))
      const sent = Buffer.from(Array.from({ length: size }, (_one, index) => index % 251))
      const pieces = async function* (last: Promise<void>): AsyncGenerator<Uint8Array> {
        for (let at = 0; at < size; at += 50_000) yield sent.subarray(at, at + 50_000)
        await last
      }
      const counted = await waitFor('the server', () => forward(7000, pieces(Promise.resolve())))
      // The worker's side ends while ours would go on.
      const held = Promise.withResolvers<void>()
      const echoed = await waitFor('the other server', () => forward(7001, pieces(held.promise)))
      held.resolve()
      await expect(forward(7003, pieces(Promise.resolve()))).rejects.toMatchObject({ code: 'transient', effect: 'none' })
      await expect(forward(7002, pieces(Promise.resolve()))).rejects.toMatchObject({ code: 'invalid-spec', path: 'port' })
      await harness.gone(spec.id, 0)
      return [counted.toString().trim(), echoed.equals(sent) ? 'the same' : 'other bytes']
    }

    test('over TLS a port of a worker is reached by a program of its image', async () => {
      expect(await reachedPorts(await overTls())).toEqual(['300000', 'the same'])
    })

    // The other engine is in a network of its own, which the server is not in.
    suiteWith(nearby, 'with the server on the machine of the engine', (docker) => {
      test('over ssh a port of a worker is reached', async () => {
        await ensureImage(docker.socket, 'busybox')
        expect(await reachedPorts(await overSsh({ socket: docker.socket }))).toEqual(['300000', 'the same'])
      })
    })

    describe.each([
      ['TLS', () => overTls()],
      ['ssh', () => overSsh()],
    ])('over %s', (way, open) => {
      test('a worker runs, with files and commands, and says what it writes', async () => {
        const harness = await open()
        const { exit, stdout } = await harness.run(harness.command('sh', '-c', 'echo whole; exit 3'))
        expect([exit.code, stdout.toString()]).toEqual([3, 'whole\n'])
        // Whether the engine made this end of it is asked over a connection of its own.
        expect((await harness.run(harness.command('sh', '-c', 'exit 143'))).exit).toMatchObject({ code: 143 })
        const held = harness.hold({ files: [{ path: '/a', base64: Buffer.from('text').toString('base64') }] })
        await harness.provider.launch(held, harness.call())
        expect(await harness.exec(held.id, ['cat', '/a', '/none'])).toMatchObject({ exit: { code: 1 }, stdout: 'text' })
        const input = (async function* () {
          for (let part = 0; part < 8; part++) yield Buffer.alloc(100_000, part)
        })()
        expect((await harness.exec(held.id, ['wc', '-c'], { stdin: true, input })).stdout).toBe('800000\n')
        await harness.gone(held.id, 0)
      })

      test('the engine is killed and comes back: the worker lives, watch and log go on', async () => {
        const harness = await open()
        const spec = harness.command('sh', '-c', 'echo one; until [ -e /go ]; do sleep 0.1; done; echo two; exit 4')
        await harness.provider.launch(spec, harness.call())
        const tags = { 'muster-owner': harness.owner, 'muster-provider': 'docker' }
        const seen: string[] = []
        const watch = async (): Promise<void> => {
          for await (const { phase } of harness.provider.watch({ tags, limit: 100 }, harness.call())) seen.push(phase)
        }
        const first = watch()
        first.catch(() => {})
        await waitFor('the worker', () => seen.includes('running'))
        await engine.kill()
        await expect(first).rejects.toMatchObject({ code: 'transient', effect: 'none' })
        await expect(harness.observe(spec.id)).rejects.toMatchObject({ code: 'transient', effect: 'none' })
        await engine.start()
        const { workers } = await harness.provider.list({ tags, limit: 100 }, harness.call())
        expect(workers).toMatchObject([{ id: spec.id, phase: 'running' }])
        seen.length = 0
        const second = watch()
        second.catch(() => {})
        await waitFor('the worker again', () => seen.includes('running'))
        const tar = harness.provider.copyOut({ id: spec.id }, '/etc/passwd', harness.call())
        expect((await Array.fromAsync(tar)).length).toBeGreaterThan(0)
        // Whatever is copied in: its name is what the worker waits for.
        await harness.provider.copyIn({ id: spec.id }, { path: '/', tar: tarOf('go') }, harness.call())
        await waitFor('its end', () => seen.includes('exited'))
        const log: string[] = []
        for await (const { data } of harness.provider.logs({ id: spec.id }, { follow: true }, harness.call()))
          log.push(Buffer.from(data).toString())
        expect(log.join('')).toBe('one\ntwo\n')
        expect(await harness.exit(spec.id)).toMatchObject({ code: 4 })
        await harness.gone(spec.id, 0)
        expect([way, await harness.left()]).toEqual([way, []])
      })
    })

    const probed = async (harness: Harness): Promise<unknown> => {
      const failure = await harness.provider.launch(harness.hold(), harness.call()).then(
        () => 'launched',
        (error: unknown) => error,
      )
      return failure
    }

    test.each<[string, () => Promise<Harness>, object]>([
      ['another name', () => overTls({}, 'other.test'), { code: 'auth', message: /does not match certificate's altnames/ }],
      ['another authority', () => overTls({ 'tls-ca': foreign.cert }), { code: 'auth', message: /unable to/ }],
      ['a client of another authority', () => overTls({ 'tls-cert': foreign.cert, 'tls-key': foreign.key }), { code: 'auth' }],
      ['a key that is none', () => overTls({ 'tls-key': 'secret canary' }), { code: 'auth', message: /^((?!canary).)*$/ }],
      ['another host key', () => overSsh({ hostKeys: [`SHA256:${'x'.repeat(43)}`] }), { code: 'auth', message: /both/ }],
      ['a user key that nobody knows', () => overSsh({ secrets: { 'ssh-key': foreign.key } }), { code: 'auth' }],
      [
        'a user key that is none',
        () => overSsh({ secrets: { 'ssh-key': 'secret canary' } }),
        { code: 'auth', message: /^((?!canary).)*$/ },
      ],
      ['no user key', () => overSsh({ secrets: {} }), { code: 'auth', message: /'ssh-key'/ }],
      ['a socket that is not there', () => overSsh({ socket: '/nonexistent/docker.sock' }), { code: 'transient' }],
    ])('%s is refused before anything was sent', async (_name, open, { code, message }: { code?: string; message?: RegExp }) => {
      const failure = (await probed(await open())) as Error & { code: string; effect: string }
      expect(failure).toMatchObject({ code, effect: 'none' })
      if (String(message) === '/both/') {
        expect(failure.message).toContain(server.fingerprint)
        expect(failure.message).toContain(`SHA256:${'x'.repeat(43)}`)
      } else if (message !== undefined) expect(failure.message).toMatch(message)
    })

    test('a locked key is opened with its passphrase; many streams at once are few connections', async () => {
      const harness = await overSsh({ secrets: { 'ssh-key': server.lockedKey, 'ssh-passphrase': server.passphrase } })
      const logins = async (): Promise<number> => (await server.log()).match(/Accepted publickey/g)?.length ?? 0
      const before = await logins()
      const spec = harness.command('sh', '-c', 'echo line; until [ -e /go ]; do sleep 0.1; done')
      await harness.provider.launch(spec, harness.call())
      const logs = Array.from({ length: 80 }, async () => {
        let text = ''
        for await (const { data } of harness.provider.logs({ id: spec.id }, { follow: true }, harness.call()))
          text += Buffer.from(data).toString()
        return text
      })
      await harness.provider.copyIn({ id: spec.id }, { path: '/', tar: tarOf('go') }, harness.call())
      expect(await Promise.all(logs)).toEqual(logs.map(() => 'line\n'))
      expect((await logins()) - before).toBeLessThanOrEqual(3)
      await harness.gone(spec.id, 0)
    })

    test('the machine ends the connections and is back: streams end as a passing trouble, and the next call works', async () => {
      const harness = await overSsh({ hostKeys: [server.fingerprint] })
      const spec = harness.hold()
      await harness.provider.launch(spec, harness.call())
      const tags = { 'muster-owner': harness.owner, 'muster-provider': 'docker' }
      const watching = Array.fromAsync(harness.provider.watch({ tags, limit: 100 }, harness.call()))
      watching.catch(() => {})
      expect(await harness.phase(spec.id)).toBe('running')
      await server.restart()
      await expect(watching).rejects.toMatchObject({ code: 'transient', effect: 'none' })
      expect(await harness.phase(spec.id)).toBe('running')
      await harness.gone(spec.id, 0)
    })
  })
})

interface Door {
  port: number
  close(): Promise<void>
}

/** From a port of this machine into the engine's network: bytes as they are, each way to its own end, by a process that is in there. */
async function openDoor(engine: DockerEngine, path: string): Promise<Door> {
  const script = `const net = require('node:net')
net.createServer({ allowHalfOpen: true }, (a) => {
  const b = net.connect({ port: ${ENGINE_PORT}, host: '127.0.0.1', allowHalfOpen: true })
  for (const [from, to] of [[a, b], [b, a]]) from.on('error', () => to.destroy()).on('close', () => to.destroy()).pipe(to)
}).listen(process.argv[1], () => console.log('ready'))`
  const inner: RunningProcess = await startProcess([
    ...(['nsenter', `--net=/proc/${engine.pid()}/ns/net`] as const),
    ...[process.execPath, '-e', script, path],
  ])
  await waitFor('the door', () => inner.stdout().includes('ready'))
  const server: Server = createServer({ allowHalfOpen: true }, (outer) => {
    const socket = connect({ path, allowHalfOpen: true })
    outer.on('error', () => socket.destroy()).on('close', () => socket.destroy())
    socket.on('error', () => outer.destroy()).on('close', () => outer.destroy())
    outer.pipe(socket).pipe(outer)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: (server.address() as AddressInfo).port,
    async close() {
      server.close()
      await inner.stop()
    },
  }
}
