import type { LaunchSpec } from '@muster/core'
import { describe, expect, test } from 'vitest'
import type { CreateBody } from '../client.ts'
import type { EngineFacts } from '../engine/facts.ts'
import { destinationOf, parseAllow, rulesFor } from './firewall.ts'
import { hasParts } from '../labels.ts'
import { checkNetwork, checkUnreached, networkOf, planOf } from './network.ts'
import { facts, id, refusal, spec, tags } from '../testing/pure.test.helper.ts'
import { rulesOf } from '../rules.ts'
import { serviceBody } from '../workers/services.ts'
import { type DockerSettings, settingsOf } from '../settings.ts'

const open = rulesOf({ firewall: { image: 'f' } })

describe('the network', () => {
  test.each<[Partial<LaunchSpec>, string | undefined, string[]]>([
    [{}, undefined, []],
    [{ network: { egress: 'full' } }, 'bridge', []],
    [{ network: { egress: 'none' } }, 'none', []],
    [{ settings: { hostNamespaces: ['network'] } }, 'host', []],
    [{ settings: { network: { scope: 'worker' } } }, `muster-${id}-net`, [`muster-${id}-net`]],
    [{ services: [{ name: 's', image: 'i' }] }, `muster-${id}-net`, [`muster-${id}-net`]],
    [{ services: [{ name: 's', image: 'i' }], network: { egress: 'none' } }, `muster-${id}-net`, [`muster-${id}-net internal`]],
    [{ network: { egress: 'restricted' } }, `container:muster-${id}-gate`, [`muster-${id}-out`]],
    [
      { network: { egress: 'restricted' }, services: [{ name: 's', image: 'i' }] },
      `container:muster-${id}-gate`,
      [`muster-${id}-out`, `muster-${id}-net internal`],
    ],
  ])('%j', (parts, mode, networks) => {
    const wanted = spec(parts)
    const plan = planOf(wanted, settingsOf(wanted))
    expect(plan.mode).toBe(mode)
    expect(plan.networks.map(({ name, internal }) => (internal ? `${name} internal` : name))).toEqual(networks)
    expect(hasParts(wanted)).toBe(networks.length > 0)
    // The name belongs to whoever has the network.
    expect(networkOf(wanted, settingsOf(wanted)).Hostname).toBe(mode === 'host' || plan.gate !== undefined ? undefined : id)
  })

  test.each<[LaunchSpec['network'], object]>([
    [undefined, {}],
    [{ egress: 'full' }, {}],
    [{ egress: 'none' }, { Dns: ['127.0.0.1'] }],
    [{ egress: 'restricted' }, { Dns: ['127.0.0.1'] }],
  ])('%j with a service: whoever is on a network without a way out asks no resolver of the machine', (network, expected) => {
    const service = { name: 's', image: 'i' }
    const wanted = spec({ services: [service], ...(network === undefined ? {} : { network }) })
    const dns = ({ HostConfig: { Dns } = {} }: CreateBody): object => (Dns === undefined ? {} : { Dns })
    expect(dns(serviceBody(wanted, service, { network: 'net', facts }))).toEqual(expected)
    // Behind a gate it is the gate's.
    if (network?.egress !== 'restricted') expect(dns(networkOf(wanted, {}))).toEqual(expected)
  })

  test("the pool's is the same for its workers, and has no worker's tag", () => {
    const settings: DockerSettings = { network: { scope: 'pool', ipv6: true } }
    const [first, second] = [spec({ settings }), spec({ settings, id: `${id.slice(0, -1)}x` })].map((one) =>
      planOf(one, settings),
    )
    expect(first?.networks).toEqual(second?.networks)
    expect(first?.networks[0]?.labels).not.toHaveProperty('muster-worker')
    expect(first?.networks[0]?.ipv6).toMatch(/^fd[0-9a-f]{2}(:[0-9a-f]{4}){3}::\/64$/)
  })

  test.each<[Partial<LaunchSpec>, string]>([
    [
      {
        network: { egress: 'none' },
        services: [
          {
            ...{ name: 's', image: 'i' },
            readiness: { check: { kind: 'tcp', port: 1 }, intervalMs: 1, timeoutMs: 1, failures: 1 },
          },
        ],
      },
      'unsupported services.0.readiness.check',
    ],
    [{ network: { allow: ['a'] } }, 'invalid-spec network.allow'],
    [{ network: { egress: 'restricted', allow: ['a:0'] } }, 'invalid-spec network.allow.0'],
    [{ network: { egress: 'none' }, settings: { network: { publish: [{ port: 1 }] } } }, 'invalid-spec settings.network.publish'],
    [{ network: { egress: 'none' }, settings: { network: { scope: 'pool' } } }, 'invalid-spec settings.network.scope'],
    [{ network: { egress: 'none' }, settings: { network: { hosts: {} } } }, 'invalid-spec settings.network.hosts'],
    [{ settings: { network: { aliases: ['a'] } } }, 'invalid-spec settings.network.aliases'],
    [{ settings: { network: {}, hostNamespaces: ['network'] } }, 'invalid-spec settings.hostNamespaces'],
    [{ network: { egress: 'restricted' }, settings: { network: { scope: 'pool' } } }, 'invalid-spec settings.network.scope'],
    [{ network: { egress: 'restricted' }, settings: { network: { dns: ['192.0.2.1'] } } }, 'unsupported settings.network.dns'],
    [{ network: { egress: 'restricted' }, security: { capabilitiesAdd: ['all'] } }, 'unsupported security.capabilitiesAdd'],
    [
      { network: { egress: 'restricted' }, security: { capabilitiesAdd: ['CAP_NET_RAW'] } },
      'unsupported security.capabilitiesAdd',
    ],
    [
      { network: { egress: 'restricted' }, security: { capabilitiesAdd: ['dac_read_search'] } },
      'unsupported security.capabilitiesAdd',
    ],
    [{ network: { egress: 'restricted' }, security: { capabilitiesAdd: ['SYS_RAWIO'] } }, 'unsupported security.capabilitiesAdd'],
    [{ network: { egress: 'restricted' }, security: { capabilitiesAdd: ['CHOWN'] } }, 'none'],
  ])('%j: %s', (parts, expected) => {
    const wanted = spec(parts)
    expect(refusal(() => checkNetwork(wanted, settingsOf(wanted), open))).toBe(expected)
  })
})

describe('the rules of restricted egress', () => {
  test.each<[string, object | string]>([
    ['example.org', { host: 'example.org', kind: 'name' }],
    ['example.org:443', { host: 'example.org', kind: 'name', port: 443 }],
    ['192.0.2.1', { host: '192.0.2.1', kind: 'address' }],
    ['192.0.2.1:80', { host: '192.0.2.1', kind: 'address', port: 80 }],
    ['192.0.2.0/24', { host: '192.0.2.0/24', kind: 'address' }],
    ['2001:db8::1', { host: '2001:db8::1', kind: 'address' }],
    ['[2001:db8::1]:80', { host: '2001:db8::1', kind: 'address', port: 80 }],
    ['2001:db8::/32', { host: '2001:db8::/32', kind: 'address' }],
    ['192.0.2.0/33', 'invalid-spec x'],
    ['example.org/24', 'invalid-spec x'],
    ['example.org:0', 'invalid-spec x'],
    ['example.org:65536', 'invalid-spec x'],
    ['a b', 'invalid-spec x'],
    ['-A OUTPUT', 'invalid-spec x'],
    ['x\n-A OUTPUT -j ACCEPT', 'invalid-spec x'],
    ['', 'invalid-spec x'],
  ])('%j', (text, expected) => {
    if (typeof expected === 'string') expect(refusal(() => parseAllow(text, 'x'))).toBe(expected)
    else expect(parseAllow(text, 'x')).toEqual(expected)
  })

  test('let out what is named, of its family, and refuse all else', () => {
    const all = [destinationOf('192.0.2.0/24'), destinationOf('198.51.100.1', 443), destinationOf('2001:db8::1', 80)]
    const v4 = rulesFor(4, all).split('\n')
    expect(v4.filter((line) => line.includes(' -d '))).toEqual([
      '-A OUTPUT -d 192.0.2.0/24 -j ACCEPT',
      '-A OUTPUT -d 198.51.100.1 -p tcp --dport 443 -j ACCEPT',
      '-A OUTPUT -d 198.51.100.1 -p udp --dport 443 -j ACCEPT',
    ])
    expect(v4).toContain(':OUTPUT DROP [0:0]')
    expect(v4.slice(-3)).toEqual(['-A OUTPUT -j REJECT', 'COMMIT', ''])
    expect(rulesFor(6, all)).toContain('-d 2001:db8::1 -p tcp --dport 80')
    expect(rulesFor(6, [])).not.toContain(' -d ')
  })
})

test('a service has its own program and health, and what its image was made for', () => {
  const readiness = { check: { kind: 'exec' as const, command: ['ready'] }, intervalMs: 1, timeoutMs: 2_000, failures: 3 }
  const service = { name: 'db', image: 'd', env: { A: 'b' }, command: ['x'], readiness }
  expect(serviceBody(spec(), service, { network: 'net', facts })).toMatchObject({
    ...{ Image: 'd', Env: ['A=b'], Cmd: ['x'], Hostname: 'db' },
    Labels: { ...tags, 'muster-part': 'service' },
    Healthcheck: { Test: ['CMD', 'ready'], Interval: 50e6, Timeout: 2e9, Retries: 3 },
    NetworkingConfig: { EndpointsConfig: { net: { Aliases: ['db'] } } },
    HostConfig: { NetworkMode: 'net', CapDrop: ['NET_RAW'], SecurityOpt: ['no-new-privileges=true'] },
  })
  const tcp = { ...readiness, check: { kind: 'tcp' as const, port: 1 } }
  expect(serviceBody(spec(), { name: 'db', image: 'd', readiness: tcp }, { network: 'net', facts })).toMatchObject({
    Healthcheck: { Test: ['NONE'] },
  })
  expect(serviceBody(spec(), { name: 'db', image: 'd' }, { network: 'net', facts })).not.toHaveProperty('Healthcheck')
})

test('where no bridge is reached, checks that are made from here are refused by name', () => {
  const readiness = (check: object): object => ({ readiness: { check, intervalMs: 9, timeoutMs: 8, failures: 3 } })
  const services = (check: object): LaunchSpec =>
    spec({
      services: [
        { name: 'a', image: 'i' },
        { name: 'b', image: 'i', ...readiness(check) },
      ],
    })
  for (const check of [
    { kind: 'tcp', port: 1 },
    { kind: 'http', port: 1, path: '/' },
  ])
    expect(refusal(() => checkUnreached(services(check)))).toBe('unsupported services.1.readiness.check')
  expect(refusal(() => checkUnreached(services({ kind: 'exec', command: ['true'] })))).toBe('none')
  expect(refusal(() => checkUnreached(spec()))).toBe('none')
})

test("a service has its worker's limits, and one of its processes in any case", () => {
  const service = { name: 'db', image: 'd' }
  const limits = (parts: Partial<LaunchSpec>, engine: EngineFacts = facts): unknown => {
    const { NanoCpus, Memory, MemorySwap, PidsLimit } =
      serviceBody(spec(parts), service, { network: 'net', facts: engine }).HostConfig ?? {}
    return { NanoCpus, Memory, MemorySwap, PidsLimit }
  }
  const resources = { cpu: 0.5, memoryBytes: 1e9, pids: 50 }
  expect(limits({ resources, settings: { swapBytes: 5 } })).toEqual({
    NanoCpus: 5e8,
    Memory: 1e9,
    MemorySwap: 1e9 + 5,
    PidsLimit: 50,
  })
  expect(limits({ settings: { shmBytes: 1 } })).toEqual({ PidsLimit: 4096 })
  expect(limits({}, { ...facts, limits: { ...facts.limits, pids: false } })).toEqual({})
})

test("a service's log and init are what its engine has", () => {
  const podman = { ...facts, init: false, logDriver: 'k8s-file' }
  expect(serviceBody(spec(), { name: 'db', image: 'd' }, { network: 'net', facts: podman }).HostConfig).toMatchObject({
    Init: false,
    LogConfig: { Type: 'k8s-file', Config: { 'max-size': '10m' } },
  })
})
