import type { LaunchSpec, NetworkSpec } from '@muster/core'
import { expect, test } from 'vitest'
import { addressOf, cidrOf, isWithin } from './addresses.ts'
import { groupServiceOf, poolServiceOf } from '../pools/discovery.ts'
import { gateContainer, gateOf, gateProblem, verdictOf } from './gate.ts'
import { poolName } from '../labels.ts'
import { checkNetwork, type GateConfig, parseAllow, policyOf, poolPolicyOf } from './network.ts'
import type { Pod, PolicyPeer } from '../objects.ts'
import { observe } from '../workers/observe.ts'
import { id, refusal, specOf } from '../testing/pure.test.helper.ts'
import { podOf } from '../translate.ts'

const gate: GateConfig = { image: 'busybox:1', seconds: 60 }
const { tags } = specOf()
const restricted = (...allow: string[]): LaunchSpec => specOf({ network: { egress: 'restricted', allow } })

test.each<[string, object]>([
  ['10.0.0.1', { kind: 'cidr', cidr: '10.0.0.1/32' }],
  ['10.0.0.1:443', { kind: 'cidr', cidr: '10.0.0.1/32', port: 443 }],
  ['10.0.0.0/8', { kind: 'cidr', cidr: '10.0.0.0/8' }],
  ['10.0.0.0/8:443', { kind: 'cidr', cidr: '10.0.0.0/8', port: 443 }],
  ['fd00::1', { kind: 'cidr', cidr: 'fd00::1/128' }],
  ['fd00::/8', { kind: 'cidr', cidr: 'fd00::/8' }],
  ['[fd00::1]:443', { kind: 'cidr', cidr: 'fd00::1/128', port: 443 }],
  ['Registry.example:5000', { kind: 'name', host: 'registry.example', port: 5000 }],
  ['registry.example', { kind: 'name', host: 'registry.example' }],
  ['*.team-a.svc', { kind: 'namespace', namespace: 'team-a' }],
  ['*.team-a.svc.cluster.local:8080', { kind: 'namespace', namespace: 'team-a', port: 8080 }],
])('%s is a place', (text, place) => {
  expect(parseAllow(text, 'network.allow.0')).toEqual(place)
})

test.each<[string, string]>([
  ['10.0.0.0/33', 'invalid-spec'],
  ['10.0.0.1:0', 'invalid-spec'],
  ['10.0.0.1:70000', 'invalid-spec'],
  ['*.example', 'invalid-spec'],
  ['a b', 'invalid-spec'],
  ['[registry.example]:1', 'invalid-spec'],
  ['web.team-a.svc', 'unsupported'],
])('%s is no place', (text, code) => {
  expect(() => parseAllow(text, 'network.allow.3')).toThrow(expect.objectContaining(refusal(code, 'network.allow.3')) as Error)
})

test.each<[string, Partial<LaunchSpec>, { code: string; path: string; by?: GateConfig }]>([
  ['a list without a use', { network: { allow: ['a'] } }, { code: 'invalid-spec', path: 'network.allow' }],
  ['a list beside none', { network: { egress: 'none', allow: [] } }, { code: 'invalid-spec', path: 'network.allow' }],
  [
    'the gate’s own address',
    { network: { egress: 'restricted', allow: ['10.0.0.1', '10.9.0.0/16:443'] } },
    { code: 'unsupported', path: 'network.allow.1', by: { ...gate, address: { host: '10.9.8.7', port: 443 } } },
  ],
  [
    'root of the node',
    { network: { egress: 'none' }, security: { privileged: true }, settings: { security: 'privileged' } },
    { code: 'unsupported', path: 'security.privileged' },
  ],
  [
    'raw packets',
    { network: { egress: 'none' }, security: { capabilitiesAdd: ['CAP_NET_RAW'] } },
    { code: 'unsupported', path: 'security.capabilitiesAdd' },
  ],
  [
    'the network of the node',
    { network: { egress: 'none' }, settings: { template: { spec: { hostNetwork: true } } } },
    { code: 'unsupported', path: 'settings.template.spec.hostNetwork' },
  ],
])('a closed network with %s is refused', (_what, over, { code, path, by = gate }) => {
  const spec = specOf(over)
  expect(() => checkNetwork(spec, spec.settings ?? {}, by)).toThrow(expect.objectContaining(refusal(code, path)) as Error)
})

test.each<NonNullable<NetworkSpec['egress']>>(['none', 'restricted'])('egress %s needs somebody who sees it closed', (egress) => {
  const refused = expect.objectContaining(refusal('unsupported', `network.egress.${egress}`)) as Error
  expect(() => checkNetwork(specOf({ network: { egress } }), {}, undefined)).toThrow(refused)
  expect(() => checkNetwork(specOf({ network: { egress: 'full' } }), {}, undefined)).not.toThrow()
})

test('a worker’s policy is of that worker alone, and has what is allowed', () => {
  const hosts = [{ ip: '192.0.2.1', hostnames: ['a.example'] }]
  const of = (spec: LaunchSpec, resolvers?: string[]): object[] =>
    policyOf(spec, { namespace: 'ci', hosts, resolvers }).spec.egress ?? []
  const { metadata, spec } = policyOf(restricted('a.example:443'), { namespace: 'ci', hosts })
  expect(metadata).toMatchObject({ name: id, namespace: 'ci', labels: { 'muster-worker': id } })
  expect(spec.podSelector.matchLabels).toMatchObject({ 'muster-worker': id, 'muster-owner': 'owner' })
  expect(spec).toMatchObject({ policyTypes: ['Egress'] })
  const ports = (port: number): object[] => ['TCP', 'UDP'].map((protocol) => ({ protocol, port }))
  expect(spec.egress).toEqual([{ to: [{ ipBlock: { cidr: '192.0.2.1/32' } }], ports: ports(443) }])
  expect(of(specOf({ network: { egress: 'none' } }))).toEqual([])
  const namespace: PolicyPeer = { namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'team' } } }
  // Whoever has names in the cluster needs its resolver, and nobody else gets it.
  expect(of(restricted('*.team.svc'), ['10.0.0.53/32'])).toEqual([
    { to: [namespace] },
    { to: [{ ipBlock: { cidr: '10.0.0.53/32' } }], ports: ports(53) },
  ])
  expect(of(restricted('*.team.svc'))).toMatchObject([{}, { to: [{ podSelector: { matchLabels: { 'k8s-app': 'kube-dns' } } }] }])
})

test('an empty list of addresses is never everywhere', () => {
  // In a policy, a rule without places is one for all places.
  const [rule] = policyOf(restricted('10.0.0.0/8'), { namespace: 'ci', hosts: [] }).spec.egress ?? []
  expect(rule?.to).toHaveLength(1)
  expect(policyOf(restricted('a.example'), { namespace: 'ci', hosts: [] }).spec.egress).toEqual([])
})

test('a pool’s policy shuts every closed worker of the pool, and opens it to its mates and to its Service', () => {
  const { spec } = poolPolicyOf(tags, { service: { name: 'web', ports: [{ port: 80, target: 8080 }] } }, 'ci')
  expect(spec).toMatchObject({
    podSelector: {
      matchLabels: { 'muster-pool': 'pool' },
      matchExpressions: [{ key: 'muster.dev/egress', operator: 'In', values: ['none', 'restricted'] }],
    },
    policyTypes: ['Ingress', 'Egress'],
    ingress: [
      { from: [{ podSelector: { matchLabels: { 'muster-pool': 'pool' } } }] },
      { from: [{ podSelector: {} }], ports: [{ protocol: 'TCP', port: 8080 }] },
    ],
  })
  expect(spec.egress).toBeUndefined()
})

test('the gate stands before everything else of its Pod, whatever the template says', () => {
  const settings = { init: [{ name: 'first', image: 'a', command: ['b'] }] }
  const closed = specOf({ network: { egress: 'none' }, resources: { cpu: 1 }, settings })
  const { metadata, spec } = podOf(closed, 'ci', { gate, hosts: [{ ip: '192.0.2.1', hostnames: ['a.example'] }] })
  expect(spec.initContainers?.map(({ name }) => name)).toEqual([gateContainer, 'i-first'])
  expect(spec.initContainers?.[0]?.resources).toEqual(spec.containers[0]?.resources)
  expect(spec.initContainers?.[0]?.securityContext).toMatchObject({
    runAsNonRoot: true,
    allowPrivilegeEscalation: false,
    readOnlyRootFilesystem: true,
    capabilities: { drop: ['ALL'] },
  })
  expect(spec.hostAliases).toEqual([{ ip: '192.0.2.1', hostnames: ['a.example'] }])
  expect(metadata.labels).toMatchObject({ 'muster.dev/egress': 'none' })
  expect(gateOf({ ...gate, address: { host: '10.0.0.1', port: 1 } }).command?.slice(-3)).toEqual(['60', '10.0.0.1', '1'])
  const template = { metadata: { labels: { 'muster.dev/egress': 'full' } } }
  const refused = expect.objectContaining({ code: 'unsupported' }) as Error
  expect(() => podOf({ ...closed, settings: { template } }, 'ci', { gate })).toThrow(refused)
})

const ended = (exitCode: number, message: string): Pod => ({
  ...podOf(specOf({ network: { egress: 'none' } }), 'ci', { gate }),
  status: {
    phase: 'Failed',
    initContainerStatuses: [
      { name: gateContainer, state: { terminated: { exitCode, message, finishedAt: '2026-01-01T00:00:00Z' } } },
    ],
  },
})

test('a gate that was never shut is the worker’s problem; one that could not tell says nothing of policies', () => {
  const at = Date.parse('2026-01-01T00:00:00Z')
  expect(verdictOf(ended(0, ''))).toMatchObject({ enforced: true, at })
  expect(verdictOf(ended(1, 'it answered\n'))).toEqual({ enforced: false, at, message: 'it answered' })
  expect(verdictOf(ended(2, 'no nc'))).toBeUndefined()
  expect(observe(ended(1, 'it answered'), tags, { now: at }).problem).toEqual({
    code: 'unsupported',
    message: 'its network is not closed: it answered',
    final: true,
  })
  expect(gateProblem({ exitCode: 2 })).toMatchObject({ code: 'invalid-spec', final: true })
})

test('Services select the workers of one pool, and nothing else that a pool has', () => {
  const headless = poolServiceOf(tags, 'ci')
  expect(headless.metadata.name).toMatch(/^muster-pool-[0-9a-f]{8}$/)
  expect(headless.spec).toMatchObject({ clusterIP: 'None', selector: { 'muster-pool': 'pool', 'muster.dev/part': 'worker' } })
  const group = groupServiceOf(tags, { service: { name: 'web', ports: [{ port: 53, protocol: 'UDP' }] } }, 'ci')
  expect(group).toMatchObject({
    metadata: { name: 'web' },
    spec: {
      selector: { 'muster.dev/service': 'web' },
      ports: [{ name: 'udp-53', port: 53, targetPort: 53, protocol: 'UDP' }],
    },
  })
  const { metadata, spec } = podOf(specOf({ settings: { service: { name: 'web', ports: [{ port: 1 }] } } }), 'ci')
  expect(metadata.labels).toMatchObject({ ...headless.spec.selector, ...group?.spec.selector })
  expect(spec).toMatchObject({ hostname: id, subdomain: poolName(tags) })
})

test('addresses are what they are, and nothing that looks like one', () => {
  expect(addressOf('10.0.0.1:443')).toEqual({ host: '10.0.0.1', port: 443 })
  expect(addressOf('[fd00::1]:443')).toEqual({ host: 'fd00::1', port: 443 })
  for (const text of ['api.example:443', '10.0.0.1', '10.0.0.1:0', '[10.0.0.1]:1', 'fd00::1:443', ''])
    expect([text, addressOf(text)]).toEqual([text, undefined])
  expect([cidrOf('10.0.0.1'), cidrOf('fd00::/8'), cidrOf('10.0.0.0/8/8'), cidrOf('a/8')]).toEqual([
    '10.0.0.1/32',
    'fd00::/8',
    undefined,
    undefined,
  ])
  expect([isWithin('10.9.8.7', '10.0.0.0/8'), isWithin('11.0.0.1', '10.0.0.0/8'), isWithin('fd00::1', '10.0.0.0/8')]).toEqual([
    true,
    false,
    false,
  ])
})
