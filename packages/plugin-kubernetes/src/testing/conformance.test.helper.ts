/** What the conformance suite must be told of this plugin and of a cluster. */
import { fileURLToPath } from 'node:url'
import { type LaunchSpec, ProviderError, type SpecField, type WorkerPluginManifest } from '@muster/core'
import { type ErrorCase, type FieldCheck, processPlugin, type ProviderSetup } from '@muster/core/testing'
import { CLUSTER_IMAGES, type KubernetesCluster } from '@muster/test/systems/kubernetes'
import { waitFor } from '@muster/test/systems/wait'
import manifest from '../../muster-plugin.json' with { type: 'json' }
import type { Place } from './cluster.test.helper.ts'
import { userPrefix } from '../labels.ts'
import type { WorkerKind } from '../workers.ts'
import type { NetworkPolicy, Pod, PodList } from '../objects.ts'

const MiB = 1024 * 1024

const base64 = (text: string): string => Buffer.from(text).toString('base64')

type Asks = Pick<KubernetesCluster, 'ask'>

/** The setup for one place of a cluster. */
export function kubernetesSetup(cluster: Asks, { namespace, kubeconfig, context }: Place, as: WorkerKind = 'pod'): ProviderSetup {
  const entry = fileURLToPath(new URL('../plugin.ts', import.meta.url))
  const image = CLUSTER_IMAGES.busybox
  return {
    manifest: manifest as unknown as WorkerPluginManifest,
    start: processPlugin([process.execPath, '--conditions=@muster/source', entry]),
    config: { kubeconfig, context, namespace, gate: { image }, ...(as === 'pod' ? {} : { as }) },
    spec: { image },
    // A node of tests makes two or three Pods a second.
    many: 8,
    crowd: 8,
    scripts: {
      oom: { script: 'exec tail /dev/zero', spec: { resources: { memoryBytes: 16 * MiB } } },
      echoServer: {
        script: 'nc -l -p 7000 -e /bin/cat & until netstat -ltn | grep -q :7000; do sleep 0.05; done; echo listening; wait',
        port: 7000,
      },
    },
    fields: fieldChecks(cluster, { namespace, image, as }),
    leftovers: async (ids) => {
      const resources = { pods: 'api/v1', networkpolicies: 'apis/networking.k8s.io/v1', jobs: 'apis/batch/v1' }
      const found = Object.entries(resources).map(async ([resource, group]) => {
        const { items } = await cluster.ask<PodList>({ path: `/${group}/namespaces/${namespace}/${resource}` })
        // A Job's Pod has a name that begins with the Job's.
        const left = items.filter(({ metadata }) => ids.includes(metadata.name.replace(/-.*$/, '')))
        return left.map(({ metadata }) => `${resource} ${metadata.name}`)
      })
      return (await Promise.all(found)).flat()
    },
    hooks: {
      lateProblem: (bench) => Promise.resolve({ spec: bench.hold({ image: 'not/valid:::' }), code: 'invalid-spec' }),
      errorCases,
    },
    without: {
      user: 'a cluster runs commands as the user of the worker only',
      outage: 'a namespace is seen whole or not at all',
      stall: 'a silent API server is tried by the tests of the client',
      oldHandles: 'there is no older version yet',
      secrets: 'what a kubeconfig names is no secret of the host',
    },
  }
}

/** How each declared field is seen; those of `refusable` only by their refusal here. */
export function fieldChecks(
  cluster: Asks,
  { namespace, image, as = 'pod' }: { namespace: string; image: string; as?: WorkerKind },
): NonNullable<ProviderSetup['fields']> {
  const look =
    (read: (pod: Pod) => unknown): NonNullable<FieldCheck['look']> =>
    async (id) => {
      const pods = `/api/v1/namespaces/${namespace}/pods`
      if (as === 'pod') return String(read(await cluster.ask<Pod>({ path: `${pods}/${id}` })))
      const path = `${pods}?labelSelector=muster-worker%3D${id}`
      const podOf = async (): Promise<Pod | undefined> => (await cluster.ask<PodList>({ path })).items[0]
      const pod = await waitFor("the Job's Pod", podOf, { until: (found) => found !== undefined })
      return String(pod === undefined ? undefined : read(pod))
    }
  const worker = (pod: Pod): Pod['spec']['containers'][number] | undefined => pod.spec.containers[0]
  return {
    image: { spec: { image }, look: look((pod) => worker(pod)?.image), expect: image },
    // One in a folder of the worker's own, one over what a read-only image has.
    files: {
      spec: {
        files: [
          { path: 'own/file', base64: base64('own') },
          { path: '/etc/passwd', base64: base64(' image'), mode: 0o444 },
        ],
      },
      script: 'cat own/file /etc/passwd',
      expect: 'own image',
    },
    env: { spec: { env: { A: '$(B) $$ $C' } }, script: 'printf %s "$A"', expect: '$(B) $$ $C' },
    'resources.cpu': {
      spec: { resources: { cpu: 0.25 } },
      script: 'cd /sys/fs/cgroup; cut -d" " -f1 cpu.max 2>/dev/null || cat cpu/cpu.cfs_quota_us',
      expect: '25000',
    },
    'resources.memoryBytes': {
      spec: { resources: { memoryBytes: 64 * MiB } },
      script: 'cd /sys/fs/cgroup; cat memory.max 2>/dev/null || cat memory/memory.limit_in_bytes',
      expect: '67108864',
    },
    'resources.diskBytes': {
      spec: { resources: { diskBytes: 64 * MiB } },
      look: look((pod) => worker(pod)?.resources?.limits?.['ephemeral-storage']),
      expect: '67108864',
    },
    // No node of these tests has one: the scheduler waits for it.
    'resources.gpus': {
      spec: { resources: { gpus: 1 } },
      look: look((pod) => worker(pod)?.resources?.limits?.['nvidia.com/gpu']),
      expect: '1',
    },
    os: { spec: { os: 'linux' }, script: 'uname -s', expect: 'Linux' },
    arch:
      process.arch === 'arm64'
        ? { spec: { arch: 'arm64' }, script: 'uname -m', expect: 'aarch64' }
        : { spec: { arch: 'amd64' }, script: 'uname -m', expect: 'x86_64' },
    'mounts.tmpfs': {
      spec: { mounts: [{ target: '/mnt/tmpfs', source: { kind: 'tmpfs', bytes: MiB } }] },
      script: 'df -k /mnt/tmpfs | tail -n 1 | tr -s " " | cut -d" " -f1,2',
      expect: 'tmpfs 1024',
    },
    'mounts.volume': {
      spec: { mounts: [{ target: '/mnt/volume', source: { kind: 'volume', name: 'data' } }] },
      script: 'echo kept >/mnt/volume/file && cat /mnt/volume/file; grep -c " /mnt/volume " /proc/self/mountinfo',
      expect: 'kept\n1',
    },
    'network.egress.none': { spec: { network: { egress: 'none' } }, script: forbidden, expect: 'refused' },
    'network.egress.restricted': { spec: { network: { egress: 'restricted' } }, script: forbidden, expect: 'refused' },
    'network.egress.full': { spec: { network: { egress: 'full' } }, script: forbidden, expect: 'answered' },
    'network.allow': {
      spec: { network: { egress: 'restricted', allow: ['192.0.2.0/24:443'] } },
      look: async (id) => {
        const path = `/apis/networking.k8s.io/v1/namespaces/${namespace}/networkpolicies/${id}`
        const [rule] = (await cluster.ask<NetworkPolicy>({ path })).spec.egress ?? []
        const ports = rule?.ports?.map(({ protocol, port }) => `${protocol} ${port}`)
        return [...(rule?.to ?? []).map(({ ipBlock }) => ipBlock?.cidr), ...(ports ?? [])].join(', ')
      },
      expect: '192.0.2.0/24, TCP 443, UDP 443',
    },
    'network.ports': {
      spec: { network: { ports: [8080, 9090] } },
      look: look((pod) => worker(pod)?.ports?.map(({ containerPort }) => containerPort)),
      expect: '8080,9090',
    },
    'security.user': { spec: { security: { user: '12345:12345' } }, script: 'id -u; id -g', expect: /^12345\n12345$/m },
    'security.readOnlyRoot': {
      spec: { security: { readOnlyRoot: true } },
      script: 'if (: >/written) 2>/dev/null; then echo writable; else echo read-only; fi',
      expect: 'read-only',
    },
    'security.noNewPrivileges': {
      spec: { security: { noNewPrivileges: true } },
      script: 'grep NoNewPrivs /proc/self/status',
      expect: /\t1$/m,
    },
    'security.privileged': refused({ security: { privileged: true } }, 'security.privileged'),
    // One that is added without root is no more than a bound.
    'security.capabilitiesAdd': {
      spec: { security: { capabilitiesAdd: ['NET_BIND_SERVICE'] } },
      script: 'grep CapBnd /proc/self/status',
      expect: /\t0000000000000400$/m,
    },
    'security.capabilitiesDrop': {
      spec: { security: { capabilitiesDrop: ['CHOWN'] } },
      script: 'grep CapBnd /proc/self/status',
      expect: /\t0000000000000000$/m,
    },
    services: {
      spec: { services: [{ name: 'beside', image, command: ['sleep', '1000'] }] },
      look: look((pod) => `${pod.spec.initContainers?.[0]?.name} ${pod.spec.initContainers?.[0]?.restartPolicy}`),
      expect: 's-beside Always',
    },
    labels: {
      spec: { labels: { colour: 'blue' } },
      look: look((pod) => pod.metadata.labels?.[`${userPrefix}colour`]),
      expect: 'blue',
    },
    settings: {
      spec: { settings: { graceSeconds: 7 } },
      look: look((pod) => pod.spec.terminationGracePeriodSeconds),
      expect: '7',
    },
  }
}

/** The API server answers every Pod whose way is open. */
const forbidden =
  'if nc -w 5 $KUBERNETES_SERVICE_HOST $KUBERNETES_SERVICE_PORT </dev/null >/dev/null 2>&1; then echo answered; else echo refused; fi'

/** Fields that a pool's settings may refuse. */
export const refusable: readonly SpecField[] = ['security.privileged']

/** A field that is declared, and that this pool's settings refuse by its path. */
function refused(parts: Partial<LaunchSpec>, path: string): FieldCheck {
  return {
    spec: {},
    async look(_id, bench) {
      const session = await bench.session()
      const error: unknown = await session.launch(bench.hold(parts)).catch((reason: unknown) => reason)
      return error instanceof ProviderError ? `${error.code} ${error.effect} ${error.path}` : 'no refusal'
    },
    expect: `unsupported none ${path}`,
  }
}

/** Rows of the error table that a cluster can be made to answer with; the unit tests go through all of them. */
const errorCases: ErrorCase[] = (
  [
    ['a user by name', 'unsupported', 'security.user', { security: { user: 'nobody' } }],
    ['root', 'unsupported', 'security.user', { security: { user: '0:0' } }],
    [
      'a capability beyond the level',
      'unsupported',
      'security.capabilitiesAdd',
      { security: { capabilitiesAdd: ['SYS_ADMIN'] } },
    ],
    [
      'more than the namespace enforces',
      'unsupported',
      'security',
      { security: { user: '0:0' }, settings: { security: 'baseline' } },
    ],
    ['another system', 'unsupported', 'os', { os: 'windows' }],
    ['no such priority', 'invalid-spec', 'settings.priorityClass', { settings: { priorityClass: 'none' } }],
    ['no such runtime', 'invalid-spec', 'settings.runtimeClass', { settings: { runtimeClass: 'none' } }],
    ['no such account', 'transient', undefined, { settings: { serviceAccount: 'none' } }],
    ['a toleration that is none', 'invalid-spec', 'settings.tolerations', { settings: { tolerations: [{ value: 'x' }] } }],
  ] satisfies [string, ErrorCase['code'], string | undefined, Partial<LaunchSpec>][]
).map(([name, code, path, spec]) => ({
  name,
  code,
  ...(path === undefined ? {} : { path }),
  effect: 'none',
  provoke: async (bench) => await (await bench.session()).launch(bench.hold(spec)),
}))
