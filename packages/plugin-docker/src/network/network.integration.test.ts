import { connect } from 'node:net'
import type { LaunchSpec } from '@muster/core'
import { findDocker } from '@muster/test/systems/docker'
import { askEngine, engineJson } from '@muster/test/systems/engine'
import { ensureImage } from '@muster/test/systems/images'
import { inventoryOf } from '@muster/test/systems/inventory'
import { suiteWith } from '@muster/test/systems/presence'
import { waitFor } from '@muster/test/systems/wait'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { callOf, createHarness, type Harness } from '../testing/harness.test.helper.ts'
import { rulesOf } from '../rules.ts'

interface Published {
  HostIp: string
  HostPort?: string
}

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

suiteWith(await findDocker(), 'networks on a real engine', (docker) => {
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

    test('restricted or not, a port inside is forwarded over the engine', async () => {
      const spec = await launched(harness.hold({ network: { egress: 'restricted' } }))
      await harness.exec(spec.id, [
        'sh',
        '-c',
        'nc -l -p 7000 -e echo heard >/dev/null 2>&1 & until netstat -ltn | grep -q :7000; do :; done',
      ])
      const input = (async function* () {})()
      let text = ''
      for await (const chunk of harness.provider.forward({ id: spec.id }, { port: 7000, input }, callOf()))
        text += Buffer.from(chunk).toString()
      expect(text).toBe('heard\n')
      await harness.gone(spec.id, 0)
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

  test("workers of a pool hear each other by name on the pool's network, those of another pool or of none do not, and it goes with the last of them", async () => {
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
    const opened = 'nc -ll -p 7000 -e echo heard >/dev/null 2>&1 & until netstat -ltn | grep -q :7000; do :; done'
    await harness.exec(first.id, ['sh', '-c', opened])
    const address = (await asked(second.id, 'first.example')).trim()
    const heard = async (id: string): Promise<string> =>
      (await harness.exec(id, ['sh', '-c', `nc -w 3 ${address} 7000 </dev/null 2>/dev/null`])).stdout
    const strangers = await Promise.all(
      [{ scope: 'pool' as const }, {}].map((network) => {
        const spec = node({ settings: { network } })
        return launched({ ...spec, tags: { ...spec.tags, 'muster-pool': 'other' } })
      }),
    )
    expect(await heard(second.id)).toBe('heard\n')
    for (const { id } of strangers) {
      expect(await heard(id)).toBe('')
      await harness.gone(id, 0)
    }
    await waitFor("the end of the other pool's network", networks, { until: (lines) => lines.length === 1 })
    await harness.gone(first.id, 0)
    expect(await networks()).toHaveLength(1)
    await harness.gone(second.id, 0)
    await waitFor("the end of the pool's network", networks, { until: (lines) => lines.length === 0 })
  })

  test('a port is published on the address that is chosen, and reached there', async () => {
    const settings = {
      network: {
        publish: [
          { port: 8080, address: '127.0.0.1' },
          { port: 53, protocol: 'udp' as const },
        ],
      },
    }
    const spec = await launched(harness.hold({ network: { egress: 'full' }, settings }))
    const { NetworkSettings } = await engineJson<{ NetworkSettings: { Ports: Record<string, Published[] | null> } }>(
      docker.socket,
      { path: `/containers/muster-${spec.id}/json` },
    )
    expect(
      Object.entries(NetworkSettings.Ports).map(([port, at]) => `${port} ${at?.map(({ HostIp }) => HostIp).join()}`),
    ).toEqual(['53/udp 127.0.0.1', '8080/tcp 127.0.0.1'])
    const opened = 'nc -ll -p 8080 -e echo heard >/dev/null 2>&1 & until netstat -ltn | grep -q :8080; do :; done'
    await harness.exec(spec.id, ['sh', '-c', opened])
    const [{ HostPort = '' } = {}] = NetworkSettings.Ports['8080/tcp'] ?? []
    const connection = connect({ host: '127.0.0.1', port: Number(HostPort) })
    expect(Buffer.concat(await Array.fromAsync(connection as AsyncIterable<Buffer>)).toString()).toBe('heard\n')
    await harness.gone(spec.id, 0)
  })
})
