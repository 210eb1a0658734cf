import type { Handle, LaunchSpec } from '@muster/core'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { literal } from './pod/containers.ts'
import type { Container, PodSpec } from './objects.ts'
import { fields, id, refusal, specOf } from './testing/pure.test.helper.ts'
import { checkSpec, grantedOf, handleOf, isMarkedBy, podOf, uidOf } from './translate.ts'

const podSpec = (over: Partial<LaunchSpec> = {}): PodSpec => podOf(specOf(over), 'muster').spec
const worker = (over: Partial<LaunchSpec> = {}): Container => podSpec(over).containers[0] as Container

test('a worker is a Pod of its own name, at the level restricted', () => {
  const pod = podOf(specOf(), 'muster')
  expect(pod.metadata).toMatchObject({
    name: id,
    namespace: 'muster',
    labels: { 'muster-owner': 'owner', 'muster-worker': id },
    annotations: { 'cluster-autoscaler.kubernetes.io/safe-to-evict': 'false', 'karpenter.sh/do-not-disrupt': 'true' },
  })
  expect(pod.spec).toMatchObject({
    restartPolicy: 'Never',
    automountServiceAccountToken: false,
    enableServiceLinks: false,
    terminationGracePeriodSeconds: 30,
    securityContext: { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } },
    containers: [
      {
        name: 'worker',
        image: 'node:26',
        imagePullPolicy: 'IfNotPresent',
        workingDir: '/workspace',
        env: [{ name: 'HOME', value: '/tmp' }],
        securityContext: {
          runAsNonRoot: true,
          runAsUser: 1000,
          runAsGroup: 1000,
          allowPrivilegeEscalation: false,
          readOnlyRootFilesystem: true,
          capabilities: { drop: ['ALL'] },
          seccompProfile: { type: 'RuntimeDefault' },
        },
      },
    ],
  })
  expect(pod.spec.serviceAccountName).toBeUndefined()
  expect(worker().volumeMounts?.map(({ mountPath }) => mountPath)).toEqual(['/.muster', '/tmp', '/workspace'])
})

/** What a kubelet does with `$(NAME)` where no such variable is: k8s.io/kubernetes/third_party/forked/golang/expansion. */
const expanded = (text: string): string => text.replace(/\$(\$|\([^)]*\))?/g, (all) => (all === '$$' ? '$' : all))

test('text arrives as it is, whatever a cluster would put in', () => {
  fc.assert(fc.property(fc.string(), (text) => expanded(literal(text)) === text))
  expect(worker({ env: { A: '$(B) $$' } }).env).toContainEqual({ name: 'A', value: '$$(B) $$$$' })
  const work = { mode: 'command', command: ['echo', '$$'] } as const
  expect(worker({ work: { ...work, command: [...work.command] } })).toMatchObject({ command: ['echo', '$$$$'], args: [] })
})

test.each<[string, Partial<LaunchSpec>, object]>([
  ['cpu', { resources: { cpu: 0.5 } }, { requests: { cpu: '500m' }, limits: { cpu: '500m' } }],
  ['cpu in parts', { resources: { cpu: 0.29 } }, { requests: { cpu: '290m' }, limits: { cpu: '290m' } }],
  ['memory', { resources: { memoryBytes: 1024 } }, { requests: { memory: '1024' }, limits: { memory: '1024' } }],
  ['disk', { resources: { diskBytes: 9 } }, { requests: { 'ephemeral-storage': '9' }, limits: { 'ephemeral-storage': '9' } }],
  ['gpus', { resources: { gpus: 2 } }, { requests: { 'nvidia.com/gpu': '2' }, limits: { 'nvidia.com/gpu': '2' } }],
  [
    'gpus of another maker',
    { resources: { gpus: 1 }, settings: { gpu: 'amd.com/gpu' } },
    { requests: { 'amd.com/gpu': '1' }, limits: { 'amd.com/gpu': '1' } },
  ],
  ['no limit', { resources: { cpu: 1 }, settings: { limits: { cpu: 'none' } } }, { requests: { cpu: '1000m' }, limits: {} }],
  [
    'a higher limit',
    { resources: { cpu: 1 }, settings: { limits: { cpu: 2 } } },
    { requests: { cpu: '1000m' }, limits: { cpu: '2000m' } },
  ],
  [
    'extended',
    { settings: { extended: { 'a.example/b': 3 } } },
    { requests: { 'a.example/b': '3' }, limits: { 'a.example/b': '3' } },
  ],
])('resources: %s', (_what, over, resources) => {
  checkSpec(specOf(over), fields)
  expect(worker(over).resources).toEqual(resources)
})

test('what is rounded up is told', () => {
  expect(grantedOf(specOf({ resources: { cpu: 0.0005, memoryBytes: 5 } }))).toEqual({ cpu: 0.001, memoryBytes: 5 })
  expect(grantedOf(specOf({ resources: { cpu: 0.3 } }))).toBeUndefined()
  expect(grantedOf(specOf())).toBeUndefined()
})

test.each<[string, Partial<LaunchSpec>, Partial<PodSpec>]>([
  ['system', {}, { nodeSelector: { 'kubernetes.io/os': 'linux' } }],
  ['lifetime', { lifetimeMs: 1500 }, { activeDeadlineSeconds: 2 }],
  ['grace', { settings: { graceSeconds: 7 } }, { terminationGracePeriodSeconds: 7 }],
  [
    'place',
    { os: 'linux', arch: 'arm64', settings: { nodeSelector: { a: 'b' } } },
    { nodeSelector: { a: 'b', 'kubernetes.io/os': 'linux', 'kubernetes.io/arch': 'arm64' } },
  ],
  [
    'tolerations',
    { settings: { tolerations: [{ key: 'a', operator: 'Exists' }] } },
    { tolerations: [{ key: 'a', operator: 'Exists' }] },
  ],
  ['classes', { settings: { priorityClass: 'p', runtimeClass: 'r' } }, { priorityClassName: 'p', runtimeClassName: 'r' }],
  ['account', { settings: { serviceAccount: 's' } }, { serviceAccountName: 's', automountServiceAccountToken: false }],
  ['logins', { settings: { pullSecrets: ['a'] } }, { imagePullSecrets: [{ name: 'a' }] }],
])('the Pod has the %s', (_what, over, part) => {
  checkSpec(specOf(over), fields)
  expect(podSpec(over)).toMatchObject(part)
})

test('workers of a pool are spread among themselves', () => {
  expect(podSpec({ settings: { spread: [{ topologyKey: 'zone', hard: true }] } }).topologySpreadConstraints).toEqual([
    {
      topologyKey: 'zone',
      maxSkew: 1,
      whenUnsatisfiable: 'DoNotSchedule',
      labelSelector: { matchLabels: { 'muster-owner': 'owner', 'muster-pool': 'pool' } },
    },
  ])
})

test('volumes: of the node, of a claim of its own, of one that is there, and memory', () => {
  const mounts: LaunchSpec['mounts'] = [
    { target: '/a', source: { kind: 'volume', name: 'a' } },
    { target: '/b', source: { kind: 'volume', name: 'b' }, readOnly: true },
    { target: '/c', source: { kind: 'volume', name: '-c' } },
    { target: '/d', source: { kind: 'tmpfs', bytes: 5 } },
  ]
  const settings = { volumes: { b: { claim: 'cache', subPath: 'x' }, '-c': { sizeBytes: 9, storageClass: 'fast' } } }
  checkSpec(specOf({ mounts, settings }), fields)
  const own = podSpec({ mounts, settings }).volumes?.filter(({ name }) => !/^muster-(?:state|tmp|workspace)$/.test(name))
  const spec = { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '9' } }, storageClassName: 'fast' }
  expect(own).toEqual([
    { name: 'v-a-v', emptyDir: {} },
    { name: 'v-b-v', persistentVolumeClaim: { claimName: 'cache' } },
    { name: 'v--c-v', ephemeral: { volumeClaimTemplate: { spec } } },
    { name: 'muster-tmpfs-3', emptyDir: { medium: 'Memory', sizeLimit: '5' } },
  ])
  expect(worker({ mounts, settings }).volumeMounts).toContainEqual({
    name: 'v-b-v',
    mountPath: '/b',
    readOnly: true,
    subPath: 'x',
  })
})

test('what is mounted where we would mount takes its place', () => {
  const mounts: LaunchSpec['mounts'] = [{ target: '/tmp/', source: { kind: 'tmpfs' } }]
  expect(worker({ mounts, workdir: 'src' }).volumeMounts?.map(({ mountPath }) => mountPath)).toEqual([
    '/.muster',
    '/src',
    '/tmp/',
  ])
  expect(worker({ settings: { workspace: 'image' }, security: { readOnlyRoot: false } }).volumeMounts).toHaveLength(1)
})

test('tokens are for one audience, in a folder of their own', () => {
  const settings = { serviceAccount: 's', tokens: [{ path: '/run/vault/token', audience: 'vault', expirySeconds: 600 }] }
  checkSpec(specOf({ settings }), fields)
  expect(podSpec({ settings }).volumes).toContainEqual({
    name: 'muster-token-0',
    projected: { sources: [{ serviceAccountToken: { path: 'token', audience: 'vault', expirationSeconds: 600 } }] },
  })
  expect(worker({ settings }).volumeMounts).toContainEqual({ name: 'muster-token-0', mountPath: '/run/vault', readOnly: true })
  const two = ['/run/a', '/run/b'].map((path) => ({ path, audience: path }))
  const both = { serviceAccount: 's', tokens: two }
  checkSpec(specOf({ settings: both }), fields)
  expect(worker({ settings: both }).volumeMounts?.filter(({ mountPath }) => mountPath === '/run')).toHaveLength(1)
  expect(podSpec({ settings: both }).volumes?.at(-1)).toMatchObject({
    projected: { sources: [{ serviceAccountToken: { path: 'a' } }, { serviceAccountToken: { path: 'b' } }] },
  })
})

test('services are sidecars in their order, known by name, each ready before the next', () => {
  const readiness = { check: { kind: 'tcp', port: 5432 }, intervalMs: 200, timeoutMs: 1500, failures: 9 } as const
  const over: Partial<LaunchSpec> = {
    services: [
      { name: 'db', image: 'postgres', env: { A: '1' }, readiness },
      { name: 'cache', image: 'redis', command: ['--save'] },
    ],
    settings: { init: [{ name: 'seed', image: 'seed', command: ['go'] }], services: { cache: { user: 'image', cpu: 1 } } },
  }
  checkSpec(specOf(over), fields)
  const { initContainers, hostAliases } = podSpec(over)
  expect(hostAliases).toEqual([{ ip: '127.0.0.1', hostnames: ['db', 'cache'] }])
  expect(initContainers).toMatchObject([
    { name: 'i-seed', command: ['go'], securityContext: { runAsUser: 1000 } },
    {
      name: 's-db',
      restartPolicy: 'Always',
      securityContext: { runAsUser: 1001, allowPrivilegeEscalation: false },
      startupProbe: { tcpSocket: { port: 5432 }, periodSeconds: 1, timeoutSeconds: 2, failureThreshold: 9 },
    },
    { name: 's-cache', restartPolicy: 'Always', args: ['--save'], resources: { limits: { cpu: '1000m' } } },
  ])
  expect(initContainers?.[2]?.securityContext?.runAsUser).toBeUndefined()
})

const tokensAt = (...paths: string[]): object[] => paths.map((path) => ({ path, audience: 'a' }))
const adminWith = (security: object): Partial<LaunchSpec> => ({
  security: { capabilitiesAdd: ['SYS_ADMIN'], ...security },
  settings: { security: 'privileged' },
})

test.each<[string, string, Partial<LaunchSpec>]>([
  ['unsupported', 'work.mode', { work: { mode: 'agent', ticket: { $secret: 'x' }, url: 'http://a' } }],
  ['unsupported', 'mounts.bind', { mounts: [{ target: '/a', source: { kind: 'bind', path: '/a' } }] }],
  ['unsupported', 'resources.pids', { resources: { pids: 5 } }],
  ['unsupported', 'os', { os: 'windows' }],
  ['unsupported', 'security.user', { security: { user: 'node' } }],
  ['unsupported', 'security.user', { security: { user: '0' } }],
  ['unsupported', 'security.privileged', { security: { privileged: true } }],
  ['unsupported', 'security.noNewPrivileges', { security: { noNewPrivileges: false } }],
  ['unsupported', 'security.capabilitiesAdd', { security: { capabilitiesAdd: ['CHOWN'] } }],
  ['unsupported', 'security.privileged', { security: { privileged: true }, settings: { security: 'baseline' } }],
  ['invalid-spec', 'image', { image: '' }],
  ['invalid-spec', 'env', { env: { A: 'x'.repeat(125_000) } }],
  ['invalid-spec', 'settings', { settings: { nothing: 1 } }],
  ['invalid-spec', 'settings.limits.cpu', { resources: { cpu: 2 }, settings: { limits: { cpu: 1 } } }],
  ['invalid-spec', 'services.0.name', { services: [{ name: '-a', image: 'x' }] }],
  ['invalid-spec', 'services.1.name', { services: ['a', 'a'].map((name) => ({ name, image: 'x' })) }],
  ['invalid-spec', 'settings.services.b', { services: [{ name: 'a', image: 'x' }], settings: { services: { b: {} } } }],
  ['invalid-spec', 'mounts.0.target', { mounts: [{ target: '/.muster', source: { kind: 'tmpfs' } }] }],
  ['invalid-spec', 'security.noNewPrivileges', adminWith({ noNewPrivileges: true })],
  ['invalid-spec', 'settings.serviceAccount', { settings: { tokens: tokensAt('/run/a/b') } }],
  ...['/token', '/run/', '/workspace/token', '/tmp/token', '/.muster/x', '/m/token'].map(
    (path): [string, string, Partial<LaunchSpec>] => [
      'invalid-spec',
      'settings.tokens.0.path',
      {
        mounts: [{ target: '/m/', source: { kind: 'tmpfs' } }],
        settings: { serviceAccount: 's', tokens: tokensAt(path) },
      },
    ],
  ),
  ['invalid-spec', 'settings.tokens.1.path', { settings: { serviceAccount: 's', tokens: tokensAt('/run/a', '/run//a') } }],
  ['invalid-spec', 'settings.volumes.a.claim', { settings: { volumes: { a: { claim: 'c', sizeBytes: 1 } } } }],
  ['invalid-spec', 'settings.volumes.a.sizeBytes', { settings: { volumes: { a: { storageClass: 'c' } } } }],
])('%s at %s', (code, path, over) => {
  expect(() => checkSpec(specOf(over), fields)).toThrow(expect.objectContaining(refusal(code, path)) as Error)
})

test('what the operator allows is given', () => {
  const over: Partial<LaunchSpec> = { security: { user: '0:0', capabilitiesAdd: ['CHOWN'] }, settings: { security: 'baseline' } }
  checkSpec(specOf(over), fields)
  expect(worker(over).securityContext).toMatchObject({ runAsUser: 0, capabilities: { drop: ['ALL'], add: ['CHOWN'] } })
  expect(worker(over).securityContext?.runAsNonRoot).toBeUndefined()
  const all: Partial<LaunchSpec> = { security: { privileged: true }, settings: { security: 'privileged' } }
  checkSpec(specOf(all), fields)
  expect(worker(all).securityContext).toMatchObject({ privileged: true, allowPrivilegeEscalation: true })
})

test('a handle says whether its worker is to be told who holds it', () => {
  const handle = (drain?: 'waits' | 'waits-for-leases'): Handle =>
    handleOf(podOf(specOf({ settings: drain === undefined ? {} : { drain } }), 'ci').metadata)
  expect([handle(), handle('waits'), handle('waits-for-leases'), undefined].map(isMarkedBy)).toEqual([
    false,
    false,
    true,
    undefined,
  ])
})

test('a handle has the uid, and one of anything else has none', () => {
  expect(uidOf(handleOf({ name: 'w', uid: 'u' }))).toBe('u')
  for (const handle of [undefined, { v: 1, data: null }, { v: 1, data: { uid: 5 } }]) expect(uidOf(handle)).toBeUndefined()
})
