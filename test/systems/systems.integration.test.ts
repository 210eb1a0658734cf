/** The systems themselves: each starts, does what tests need of it, and leaves nothing behind. */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'

import { expect, test } from 'vitest'

import { findDocker, findStartDocker, sweepDocker, type DockerEngine } from './docker.ts'
import { askEngine, engineJson, engineProgress, engineVersion, runContainer } from './engine.ts'
import { ensureImage, pullImage, pushImage, removeImage, tagImage } from './images.ts'
import { suiteWith } from './presence.ts'
import { identityOf, mustRun, runProcess, startProcess } from './process.ts'
import { findRegistry } from './registry.ts'
import { tempFolder } from './temp.ts'
import { waitFor } from './wait.ts'

/** The two ways in which nobody answers at a unix socket: no file, or nobody behind it. */
const NOBODY_ANSWERS = /ENOENT|ECONNREFUSED/

const MEBIBYTE = 1024 * 1024

suiteWith(await findDocker(), 'the engine tests use', ({ socket, version }) => {
  test('answers', async () => {
    expect(await engineVersion(socket)).toMatchObject({ version })
  })

  test('runs a command to its exit code, with its output by stream', async () => {
    const image = await ensureImage(socket, 'busybox')
    const result = await runContainer(socket, { image, command: ['sh', '-c', 'echo out; echo err >&2; exit 3'] })
    expect(result).toEqual({ code: 3, oomKilled: false, stdout: 'out\n', stderr: 'err\n' })
  })

  test('ends one over its memory limit with 137 and says OOM', async () => {
    const image = await ensureImage(socket, 'busybox')
    const hostConfig = { Memory: 32 * MEBIBYTE, MemorySwap: 32 * MEBIBYTE }
    const result = await runContainer(socket, { image, command: ['tail', '/dev/zero'], hostConfig })
    expect(result).toMatchObject({ code: 137, oomKilled: true })
  })

  test('has a shell for root and for user 1000', async () => {
    const image = await ensureImage(socket, 'busybox')
    const command = ['sh', '-c', 'id -u; echo x > /tmp/x && cat /tmp/x; cd ~ && pwd; /usr/bin/env sh -c "exit 7"']
    expect(await runContainer(socket, { image, command })).toMatchObject({ code: 7, stdout: '0\nx\n/root\n' })
    const asUser = await runContainer(socket, { image, command, user: '1000' })
    expect(asUser).toMatchObject({ code: 7, stdout: '1000\nx\n/home/user\n' })
  })

  test('has Node, which loads all its libraries', async () => {
    const image = await ensureImage(socket, 'node')
    const version = await runContainer(socket, { image, command: ['node', '--version'] })
    expect(version).toMatchObject({ code: 0, stdout: `${process.version}\n`, stderr: '' })
    const script = "import('node:tls').then((tls) => console.log(tls.rootCertificates.length > 0, process.getuid()))"
    const tls = await runContainer(socket, { image, command: ['node', '-e', script], user: '1000' })
    expect(tls).toMatchObject({ code: 0, stdout: 'true 1000\n' })
  })

  test('an image that is there is not made again', async () => {
    const image = await ensureImage(socket, 'busybox')
    const id = async (): Promise<string> => (await engineJson<{ Id: string }>(socket, { path: `/images/${image}/json` })).Id
    const before = await id()
    await ensureImage(socket, 'busybox')
    expect(await id()).toBe(before)
  })

  suiteWith(findRegistry(), 'with a registry', (startRegistry) => {
    test('pushes and pulls with the password, and not without', async () => {
      await using registry = await startRegistry()
      const tag = `${registry.host}/team/tool:1`
      await tagImage(socket, await ensureImage(socket, 'busybox'), tag)
      try {
        await expect(pushImage(socket, tag)).rejects.toThrow('no basic auth credentials')
        const digest = await pushImage(socket, tag, registry.engineAuth)
        expect(digest).toMatch(/^sha256:[0-9a-f]{64}$/)
        await removeImage(socket, tag)
        await expect(pullImage(socket, tag)).rejects.toThrow('no basic auth credentials')
        await pullImage(socket, tag, registry.engineAuth)
        const pulled = await engineJson<{ RepoDigests: string[] }>(socket, { path: `/images/${tag}/json` })
        expect(pulled.RepoDigests).toContain(`${registry.host}/team/tool@${digest}`)
        await expect(pullImage(socket, `${registry.host}/team/tool:2`, registry.engineAuth)).rejects.toThrow('not found')
      } finally {
        await removeImage(socket, tag)
      }
    })
  })
})

suiteWith(findRegistry(), 'an image registry', (startRegistry) => {
  test('asks for the password, takes it, and is gone after stop', async () => {
    const registry = await startRegistry({ user: 'ci', password: 'pä ss' })
    const catalog = (headers: Record<string, string>): Promise<Response> => fetch(`${registry.url}/v2/_catalog`, { headers })
    const refused = await catalog({})
    expect(refused.status).toBe(401)
    expect(refused.headers.get('www-authenticate')).toBe('Basic realm="tests"')
    expect((await catalog({ authorization: 'Basic Y2k6d3Jvbmc=' })).status).toBe(401)
    const allowed = await catalog({ authorization: registry.authorization })
    expect([allowed.status, await allowed.json()]).toEqual([200, { repositories: [] }])
    await registry.stop()
    await registry.stop()
    expect(await identityOf(registry.pid)).toBeUndefined()
    await expect(catalog({})).rejects.toThrow('fetch failed')
  })
})

suiteWith(findStartDocker(), 'a private engine', (startDocker) => {
  /** A container that ends at once on SIGTERM, and its state now. */
  const startSleeper = async ({ socket }: DockerEngine): Promise<() => Promise<unknown>> => {
    const Image = await ensureImage(socket, 'busybox')
    const Cmd = ['sh', '-c', "trap 'exit 5' TERM; while :; do sleep 0.1; done"]
    await engineJson(socket, { method: 'POST', path: '/containers/create?name=sleeper', body: { Image, Cmd } })
    await engineJson(socket, { method: 'POST', path: '/containers/sleeper/start' })
    return async () => {
      const { State } = await engineJson<{ State: { Status: string; ExitCode: number; Pid: number } }>(socket, {
        path: '/containers/sleeper/json',
      })
      return [State.Status, State.ExitCode]
    }
  }

  test('stops and starts again on the same data, and leaves nothing', async () => {
    const engine = await startDocker()
    try {
      const state = await startSleeper(engine)
      await engineJson(engine.socket, { method: 'POST', path: '/networks/create', body: { Name: 'other' } })
      expect(await state()).toEqual(['running', 0])
      await engine.halt()
      expect(engine.pid()).toBeUndefined()
      await expect(engineVersion(engine.socket)).rejects.toThrow(NOBODY_ANSWERS)
      await engine.start()
      expect(await state()).toEqual(['exited', 5])
      await expect(engine.start()).rejects.toThrow('dockerd runs already')
    } finally {
      await engine.stop()
    }
    await engine.stop()
    expect(await engine.traces()).toEqual([])
  })

  test('all it holds is as before after a container with a network, a volume and a port; each kind of leak is seen', async () => {
    await using engine = await startDocker()
    const { socket } = engine
    const post = (path: string, body: object = {}): Promise<{ Id: string }> => engineJson(socket, { method: 'POST', path, body })
    const drop = (path: string): Promise<unknown> => engineJson(socket, { method: 'DELETE', path, query: { force: '1', v: '1' } })
    const run = (...command: string[]): Promise<string> => mustRun(engine.inside(command))
    const image = await ensureImage(socket, 'busybox')
    const before = await engine.holds()
    const leaks = async (): Promise<string[]> => (await engine.holds()).filter((line) => !before.includes(line))
    const none = (): Promise<string[]> => waitFor('the engine to be as before', leaks, { until: (lines) => lines.length === 0 })

    await post('/networks/create', { Name: 'own' })
    const HostConfig = { NetworkMode: 'own', PortBindings: { '80/tcp': [{ HostPort: '' }] }, Binds: ['data:/data'] }
    const body = {
      Image: image,
      Cmd: ['sleep', '1000'],
      ExposedPorts: { '80/tcp': {} },
      Volumes: { '/anonymous': {} },
      HostConfig,
    }
    const { Id } = await post('/containers/create', body)
    await post(`/containers/${Id}/start`)
    const kinds = new Set((await leaks()).map((line) => line.split(' ')[0] ?? ''))
    expect([...kinds].toSorted()).toEqual(['container', 'interface', 'iptables', 'mount', 'network', 'process', 'volume'])
    const images = async (): Promise<string[]> => (await leaks()).filter((line) => line.startsWith('image '))
    const nameless = await post(`/commit?container=${Id}`)
    expect(await images()).toEqual([`image ${nameless.Id} <none>`])
    for (const path of [`/containers/${Id}`, '/networks/own', '/volumes/data', `/images/${nameless.Id}`]) await drop(path)
    await none()
    // A test image that is made anew leaves its former self without a name, which is no leak.
    await engineProgress(socket, {
      method: 'POST',
      path: '/images/create',
      query: { fromSrc: '-', repo: image, changes: ['LABEL muster-test.content=other'] },
      headers: { 'content-type': 'application/x-tar' },
      body: Readable.from([Buffer.alloc(1024)]),
    })
    expect(await images()).toEqual([])
    await ensureImage(socket, 'busybox')
    expect(await images()).toEqual([])

    const rule = ['FORWARD', '-s', '192.0.2.1', '-j', 'DROP']
    const plants: [kind: string, plant: () => Promise<unknown>, pull: () => Promise<unknown>][] = [
      ['container', () => post('/containers/create?name=leak', { Image: image, Cmd: ['x'] }), () => drop('/containers/leak')],
      ['volume', () => post('/volumes/create', { Name: 'leak' }), () => drop('/volumes/leak')],
      ['image', () => tagImage(socket, image, 'leak:1'), () => removeImage(socket, 'leak:1')],
      ['interface', () => run('ip', 'link', 'add', 'leak0', 'type', 'bridge'), () => run('ip', 'link', 'del', 'leak0')],
      ['iptables', () => run('iptables', '-A', ...rule), () => run('iptables', '-D', ...rule)],
    ]
    for (const [kind, plant, pull] of plants) {
      await plant()
      expect((await leaks()).map((line) => line.split(' ')[0])).toEqual([kind])
      await pull()
      await none()
    }
    await post('/networks/create', { Name: 'leak' })
    expect(await leaks()).toContainEqual(expect.stringMatching(/^network \w+ leak$/))
    await drop('/networks/leak')
    await none()
  })

  test('killed, its containers go on; with live restore the next start has them again', async () => {
    const engine = await startDocker({ args: ['--live-restore'] })
    try {
      const state = await startSleeper(engine)
      await engine.kill()
      await expect(engineVersion(engine.socket)).rejects.toThrow(NOBODY_ANSWERS)
      await engine.start()
      expect(await state()).toEqual(['running', 0])
      await engine.kill()
    } finally {
      await engine.stop()
    }
    expect(await engine.traces()).toEqual([])
  })

  test('two at once do not disturb each other', async () => {
    const [one, two] = await Promise.all([startDocker(), startDocker()])
    try {
      await Promise.all([startSleeper(one), startSleeper(two)])
      await one.stop()
      expect(await engineVersion(two.socket)).toMatchObject({ version: two.version })
    } finally {
      await Promise.all([one.stop(), two.stop()])
    }
    expect([...(await one.traces()), ...(await two.traces())]).toEqual([])
  })

  test('in the network of the machine it leaves that as it was, and is the only one there', async () => {
    // The machine's own network may have an engine: this process gets another as "the machine's".
    const script = `import { startDocker } from ${JSON.stringify(join(import.meta.dirname, 'docker.ts'))};
      import { mustRun } from ${JSON.stringify(join(import.meta.dirname, 'process.ts'))};
      const seen = async () => (await mustRun(['sh', '-c', 'iptables -S; iptables -t nat -S; ip -br link; cat /proc/sys/net/ipv4/ip_forward']));
      await mustRun(['sh', '-c', 'echo 0 > /proc/sys/net/ipv4/ip_forward']);
      const before = await seen();
      const engine = await startDocker({ network: 'host' });
      const during = await seen();
      const second = await startDocker({ network: 'host' }).catch((error) => error.message);
      await engine.stop();
      console.log(JSON.stringify({ before, during, second, after: await seen(), traces: await engine.traces() }));`
    const result = await mustRun(['unshare', '--net', process.execPath, '--input-type=module', '--eval', script])
    const { before, during, second, after, traces } = JSON.parse(result) as Record<string, string>
    expect(during).toContain('-A FORWARD -o muster0 -j DOCKER')
    expect(second).toMatch(/^another engine has its rules in this machine's iptables \(bridge muster0\)/)
    expect(after).toBe(before)
    expect(traces).toEqual([])
  })

  test('one that cannot start says why and leaves nothing', async () => {
    await using folder = await tempFolder('socket')
    const socket = join(folder.path, 'docker.sock')
    await expect(startDocker({ socket, args: ['--no-such-flag'] })).rejects.toThrow('unknown flag: --no-such-flag')
    await expect(engineVersion(socket)).rejects.toThrow(NOBODY_ANSWERS)
  })

  test('the command line holds one up between processes and takes it down', async () => {
    await using folder = await tempFolder('socket')
    const socket = join(folder.path, 'docker.sock')
    const docker = (...args: string[]): ReturnType<typeof runProcess> =>
      runProcess([process.execPath, join(import.meta.dirname, 'docker.ts'), ...args])
    const up = await docker('up', '--socket', socket, '--network', 'own')
    try {
      expect([up.code, up.stdout]).toEqual([0, `unix://${socket}\n`])
      const answering = await engineVersion(socket)
      expect(answering.version).not.toBe('')
      const again = await docker('up', '--socket', socket, '--network', 'own')
      expect([again.code, again.stdout]).toEqual([0, `unix://${socket}\n`])
      await sweepDocker()
      expect(await engineVersion(socket)).toEqual(answering)
    } finally {
      expect((await docker('down', '--socket', socket)).code).toBe(0)
    }
    await expect(engineVersion(socket)).rejects.toThrow(NOBODY_ANSWERS)
    const twice = await docker('down', '--socket', socket)
    expect([twice.code, twice.stderr]).toEqual([1, `docker: no engine of ours has the socket ${socket}\n`])
  })

  test('an engine ends with a killed starter, and a sweep removes what it left', async () => {
    await using folder = await tempFolder('socket')
    const socket = join(folder.path, 'docker.sock')
    const script = `import { startDocker } from ${JSON.stringify(join(import.meta.dirname, 'docker.ts'))};
      const engine = await startDocker({ socket: ${JSON.stringify(socket)} });
      console.log(JSON.stringify([engine.pid(), engine.log]));
      setInterval(() => {}, 1000);`
    const starter = await startProcess([process.execPath, '--input-type=module', '--eval', script])
    const line = await waitFor("the engine's pid", () => /^\[.*\]$/m.exec(starter.stdout())?.[0])
    const [pid, log] = JSON.parse(line ?? '[]') as [number, string]
    starter.kill('SIGKILL')
    await waitFor('the end of dockerd', async () => (await identityOf(pid)) === undefined)
    await sweepDocker()
    await expect(rm(log)).rejects.toMatchObject({ code: 'ENOENT' })
    expect((await askEngine(socket, { path: '/_ping' }).catch(() => undefined))?.status).toBeUndefined()
  })
})
