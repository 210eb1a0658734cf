import type { LaunchSpec, ServiceSpec } from '@muster/core'
import { findDocker } from '@muster/test/systems/docker'
import { askEngine, engineJson } from '@muster/test/systems/engine'
import { ensureImage } from '@muster/test/systems/images'
import { inventoryOf } from '@muster/test/systems/inventory'
import { suiteWith } from '@muster/test/systems/presence'
import { waitFor } from '@muster/test/systems/wait'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { busybox, callOf, createHarness, type Harness } from './harness.test.helper.ts'
import { rulesOf } from './rules.ts'

/** On the engine's own network: a web server that redirects, one that does not, and something that answers datagrams. */
const serverScript = `
const http = require('node:http'), dgram = require('node:dgram')
const host = process.argv[1]
const open = http.createServer((q, r) => r.writeHead(302, { location: 'http://' + host + ':' + closed.address().port + '/' }).end())
const closed = http.createServer((q, r) => r.end('forbidden'))
const udp = dgram.createSocket(host.includes(':') ? 'udp6' : 'udp4')
udp.on('message', (m, from) => udp.send(m, from.port, from.address))
open.listen(0, host, () => closed.listen(0, host, () => udp.bind(0, host, () =>
  console.log(JSON.stringify({ open: open.address().port, closed: closed.address().port, udp: udp.address().port })))))`

/** Inside a worker: what of all that is reached. */
const clientScript = `
const net = require('node:net'), dgram = require('node:dgram'), dns = require('node:dns/promises')
const { host, open, closed, udp, v6, name } = JSON.parse(process.argv[1])
const tcp = (host, port) => new Promise((done) => {
  const socket = net.connect({ host, port, timeout: 3000 })
  socket.on('connect', () => { socket.destroy(); done('reached') })
  socket.on('error', () => done('not'))
  socket.on('timeout', () => { socket.destroy(); done('not') })
})
const datagram = (host, port) => new Promise((done) => {
  const socket = dgram.createSocket('udp4')
  const end = (word) => { socket.close(); done(word) }
  const timer = setTimeout(end, 1500, 'not')
  socket.on('message', () => { clearTimeout(timer); end('reached') })
  socket.send('x', port, host, () => {})
  socket.on('error', () => { clearTimeout(timer); end('not') })
})
const said = (work) => work.then(() => 'reached', () => 'not')
;(async () => console.log(JSON.stringify({
  open: await tcp(host, open),
  named: name === undefined ? 'none' : await tcp(name, open),
  closed: await tcp(host, closed),
  udp: await datagram(host, udp),
  resolver: await said(new Promise((ok, no) => {
    const resolver = new dns.Resolver({ timeout: 1000, tries: 1 })
    resolver.setServers([host + ':' + udp])
    resolver.resolve4('forbidden.example').then(ok, (e) => e.code === 'ETIMEOUT' || e.code === 'ECONNREFUSED' ? no(e) : ok())
  })),
  answer: await fetch('http://' + host + ':' + open, { redirect: 'manual' }).then((r) => String(r.status), () => 'not'),
  redirect: await said(fetch('http://' + host + ':' + open)),
  v6: v6 === undefined ? 'none' : await tcp(v6, 7000),
})))()`

suiteWith(await findDocker(), 'networks and services on a real engine', (docker) => {
  let harness: Harness
  let image: string
  let gateway: string
  let place: { host: string; open: number; closed: number; udp: number }
  const made: string[] = []
  const run = async (body: object): Promise<string> => {
    const path = '/containers/create'
    const { Id } = await engineJson<{ Id: string }>(docker.socket, { method: 'POST', path, body })
    made.push(Id)
    await engineJson(docker.socket, { method: 'POST', path: `/containers/${Id}/start` })
    return Id
  }
  const output = async (container: string): Promise<string> => {
    const { body } = await askEngine(docker.socket, {
      path: `/containers/${container}/logs`,
      query: { stdout: '1', stderr: '1' },
    })
    return body.toString()
  }

  beforeAll(async () => {
    image = await ensureImage(docker.socket, 'node')
    harness = await createHarness(docker.socket, {
      rules: rulesOf({ firewall: { image: await ensureImage(docker.socket, 'firewall') } }, docker.socket),
    })
    const { IPAM } = await engineJson<{ IPAM: { Config: { Gateway: string }[] } }>(docker.socket, { path: '/networks/bridge' })
    gateway = IPAM.Config[0]?.Gateway ?? ''
    const server = await run({ Image: image, Cmd: ['node', '-e', serverScript, gateway], HostConfig: { NetworkMode: 'host' } })
    const ports = await waitFor('the server', async () => /\{.*\}/.exec(await output(server))?.[0])
    place = { host: gateway, ...(JSON.parse(ports as string) as { open: number; closed: number; udp: number }) }
  }, 120_000)
  afterAll(async () => {
    for (const id of made) await engineJson(docker.socket, { method: 'DELETE', path: `/containers/${id}`, query: { force: '1' } })
    await harness.clean()
  })

  const of = async (id: string): Promise<string[]> => (await inventoryOf(docker.socket)).filter((line) => line.includes(id))
  const node = (parts: Partial<LaunchSpec>, work: LaunchSpec['work'] = { mode: 'hold' }): LaunchSpec =>
    harness.spec({ image, work, ...parts })
  const launched = async (spec: LaunchSpec): Promise<LaunchSpec> => {
    await harness.provider.launch(spec, callOf())
    return spec
  }

  /** Another container on the worker's network, with an IPv6 server; its address. */
  async function neighbour(network: string): Promise<string> {
    const cmd = ['node', '-e', "require('node:net').createServer((s) => s.end()).listen(7000, '::', () => console.log('up'))"]
    const id = await run({ Image: image, Cmd: cmd, HostConfig: { NetworkMode: network } })
    await waitFor('the neighbour', async () => (await output(id)).includes('up'))
    const path = `/containers/${id}/json`
    const { NetworkSettings } = await engineJson<{
      NetworkSettings: { Networks: Record<string, { GlobalIPv6Address: string }> }
    }>(docker.socket, { path })
    return NetworkSettings.Networks[network]?.GlobalIPv6Address ?? ''
  }
  const forget = async (): Promise<void> => {
    const id = made.pop()
    await engineJson(docker.socket, { method: 'DELETE', path: `/containers/${id}`, query: { force: '1' } })
  }
  async function attempts(spec: LaunchSpec, network: string, name?: string): Promise<unknown> {
    await launched(spec)
    const v6 = await neighbour(network)
    const given = JSON.stringify({ ...place, v6, name })
    const { stdout, stderr } = await harness.exec(spec.id, ['node', '-e', clientScript, given])
    await forget()
    await harness.gone(spec.id, 0)
    expect(await of(spec.id)).toEqual([])
    expect(stderr).toBe('')
    return JSON.parse(stdout)
  }

  describe('egress', () => {
    test('full reaches everything that stands there for the next test', async () => {
      const spec = node({ network: { egress: 'full' }, settings: { network: { scope: 'worker', ipv6: true } } })
      expect(await attempts(spec, `muster-${spec.id}-net`)).toEqual({
        ...{ open: 'reached', named: 'none', closed: 'reached', udp: 'reached', resolver: 'reached' },
        ...{ answer: '302', redirect: 'reached', v6: 'reached' },
      })
    })

    test('restricted reaches what is allowed, and nothing else by TCP, UDP, another resolver, a redirect or IPv6', async () => {
      const spec = node({
        network: { egress: 'restricted', allow: [`${gateway}:${place.open}`] },
        settings: { network: { ipv6: true, hosts: { 'named.example': gateway } }, capabilities: 'engine' },
      })
      expect(await attempts(spec, `muster-${spec.id}-out`, 'named.example')).toEqual({
        ...{ open: 'reached', named: 'reached', closed: 'not', udp: 'not', resolver: 'not' },
        ...{ answer: '302', redirect: 'not', v6: 'not' },
      })
    })

    test('restricted, launched twice at once and again: one gate, one network', async () => {
      const spec = node({ network: { egress: 'restricted' } })
      await Promise.all([harness.provider.launch(spec, callOf()), harness.another().launch(spec, callOf())])
      await launched(spec)
      expect((await of(spec.id)).map((line) => line.split(' ')[0])).toEqual(['container', 'container', 'network'])
      await harness.gone(spec.id, 0)
      expect(await of(spec.id)).toEqual([])
    })

    test.each<[string, Partial<LaunchSpec>, string, string]>([
      ['with NET_ADMIN', { security: { capabilitiesAdd: ['CAP_NET_ADMIN'] } }, 'unsupported', 'security.capabilitiesAdd'],
      ['with raw packets', { security: { capabilitiesAdd: ['net_raw'] } }, 'unsupported', 'security.capabilitiesAdd'],
      [
        'privileged',
        { security: { privileged: true }, settings: { allow: ['privileged'] } },
        'unsupported',
        'security.privileged',
      ],
      ["with the engine's socket", { settings: { allow: ['engine-socket'] } }, 'invalid-spec', 'settings.allow'],
      ["on the machine's network", { settings: { hostNamespaces: ['network'] } }, 'invalid-spec', 'settings.hostNamespaces'],
      ['with a place that is none', { network: { egress: 'restricted', allow: ['a b'] } }, 'invalid-spec', 'network.allow.0'],
    ])('restricted %s is refused, with nothing left', async (...[, parts, code, path]) => {
      const spec = harness.hold({ network: { egress: 'restricted' }, ...parts })
      await expect(harness.provider.launch(spec, callOf())).rejects.toMatchObject({ code, path, effect: 'none' })
      expect(await of(spec.id)).toEqual([])
    })

    test('restricted is refused by name where the operator has given no image for it', async () => {
      const other = await createHarness(docker.socket)
      await expect(other.provider.launch(other.hold({ network: { egress: 'restricted' } }), callOf())).rejects.toMatchObject({
        code: 'unsupported',
        path: 'network.egress.restricted',
        effect: 'none',
      })
    })
  })

  test("workers of a pool hear each other by name on the pool's network, which goes with the last of them", async () => {
    const settings = { network: { scope: 'pool' as const, aliases: ['first.example'], hosts: { 'set.example': '192.0.2.7' } } }
    const [first, second] = await Promise.all([
      launched(node({ settings })),
      launched(node({ settings: { network: { scope: 'pool' } } })),
    ])
    const script = "require('node:dns').lookup(process.argv[1], (e, a) => console.log(e?.code ?? a))"
    const asked = async (id: string, name: string): Promise<string> =>
      (await harness.exec(id, ['node', '-e', script, name])).stdout
    expect(await asked(second.id, 'first.example')).toMatch(/^\d+\.\d+\.\d+\.\d+\n$/)
    expect(await asked(first.id, 'set.example')).toBe('192.0.2.7\n')
    const networks = async (): Promise<string[]> =>
      (await inventoryOf(docker.socket, [`muster-owner=${harness.owner}`])).filter((line) => line.startsWith('network'))
    expect(await networks()).toHaveLength(1)
    await harness.gone(first.id, 0)
    expect(await networks()).toHaveLength(1)
    await harness.gone(second.id, 0)
    expect(await networks()).toEqual([])
  })

  test('a port is published on the address that is chosen', async () => {
    const settings = {
      network: {
        publish: [
          { port: 8080, address: '127.0.0.1' },
          { port: 53, protocol: 'udp' as const },
        ],
      },
    }
    const spec = await launched(harness.hold({ network: { egress: 'full' }, settings }))
    const { NetworkSettings } = await engineJson<{ NetworkSettings: { Ports: Record<string, { HostIp: string }[] | null> } }>(
      docker.socket,
      { path: `/containers/muster-${spec.id}/json` },
    )
    expect(
      Object.entries(NetworkSettings.Ports).map(([port, at]) => `${port} ${at?.map(({ HostIp }) => HostIp).join()}`),
    ).toEqual(['53/udp 127.0.0.1', '8080/tcp 127.0.0.1'])
    await harness.gone(spec.id, 0)
  })

  // At once: most of their time is the engine's.
  describe.concurrent('services', () => {
    const check = { kind: 'exec' as const, command: ['test', '-e', '/tmp/ready'] }
    const readiness = { check, intervalMs: 100, timeoutMs: 5_000, failures: 100 }
    const database: ServiceSpec = {
      name: 'db',
      image: busybox,
      env: { WORD: 'stored' },
      command: ['sh', '-c', 'sleep 0.3; touch /tmp/ready; while :; do echo "$WORD" | nc -l -p 5432; done'],
      readiness,
    }
    const ask = (host: string): string =>
      `const s = require('node:net').connect(5432, '${host}'); s.on('error', (e) => console.log(e.code)); s.pipe(process.stdout)`
    const queue = (): ServiceSpec => ({
      name: 'queue',
      image,
      // It needs the first one when it starts.
      command: [
        'node',
        '-e',
        `${ask('db')}; s.on('end', () => { require('node:fs').writeFileSync('/tmp/ready', ''); setTimeout(() => {}, 1e6) })`,
      ],
      readiness,
    })

    test.each(['full', 'none', 'restricted'] as const)(
      'stand in their order before the job, are reached by name with egress %s, and go with the worker',
      async (egress) => {
        const spec = node(
          { network: { egress }, services: [database, queue()] },
          { mode: 'command', command: ['node', '-e', ask('db')] },
        )
        const { exit, stdout } = await harness.run(spec)
        expect({ code: exit.code, stdout: stdout.toString() }).toEqual({ code: 0, stdout: 'stored\n' })
        const names = (await of(spec.id)).map((line) => line.split(' ')[2]?.replace(`muster-${spec.id}`, ''))
        expect(names).toEqual(expect.arrayContaining(['', '-s-db', '-s-queue', '-net']))
        expect((await harness.provider.list({ tags: spec.tags, limit: 500 }, callOf())).workers.map(({ id }) => id)).toContain(
          spec.id,
        )
        await harness.gone(spec.id, 0)
        expect(await of(spec.id)).toEqual([])
      },
    )

    test('with a port or a page to look at are ready when that answers', async () => {
      const look = { intervalMs: 100, timeoutMs: 2_000, failures: 100 }
      const page = 'sleep 0.3; mkdir /tmp/w; echo yes >/tmp/w/index.html; httpd -p 8080 -h /tmp/w; touch /tmp/up; sleep 1000'
      const spec = harness.hold({
        services: [
          {
            ...{ name: 'port', image: busybox, command: ['sh', '-c', 'sleep 0.3; touch /tmp/up; while :; do nc -l -p 70; done'] },
            readiness: { ...look, check: { kind: 'tcp', port: 70 } },
          },
          {
            ...{ name: 'page', image: busybox, command: ['sh', '-c', page] },
            readiness: { ...look, check: { kind: 'http', port: 8080, path: '/' } },
          },
        ],
      })
      await launched(spec)
      for (const name of ['port', 'page']) {
        const { status } = await askEngine(docker.socket, {
          method: 'HEAD',
          path: `/containers/muster-${spec.id}-s-${name}/archive`,
          query: { path: '/tmp/up' },
        })
        expect({ name, status }).toEqual({ name, status: 200 })
      }
      await harness.gone(spec.id, 0)
    })

    test.each<[string, ServiceSpec, string]>([
      ['that ends', { name: 'a', image: busybox, command: ['sh', '-c', 'exit 3'], readiness }, 'services.1'],
      [
        'that does not get ready',
        { name: 'a', image: busybox, command: ['sleep', '1000'], readiness: { ...readiness, failures: 2 } },
        'services.1.readiness',
      ],
    ])('one %s fails the launch, with nothing left', async (...[, service, path]) => {
      const spec = harness.hold({ services: [database, service] })
      await expect(harness.provider.launch(spec, callOf())).rejects.toMatchObject({ code: 'invalid-spec', path, effect: 'none' })
      expect(await of(spec.id)).toEqual([])
    })
  })
})
