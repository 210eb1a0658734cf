/** What the conformance suite must be told of this plugin and of an engine. */
import { fileURLToPath } from 'node:url'
import { type LaunchSpec, ProviderError, type SpecField, type WorkerPluginManifest } from '@muster/core'
import { type ErrorCase, type FieldCheck, processPlugin, type ProviderSetup } from '@muster/core/testing'
import { engineJson } from '@muster/test/systems/engine'
import { ensureImage } from '@muster/test/systems/images'
import { inventoryOf } from '@muster/test/systems/inventory'
import manifest from '../../muster-plugin.json' with { type: 'json' }
import { label } from '../labels.ts'
import { type EngineProxy, startEngineProxy } from './proxy.test.helper.ts'

const MiB = 1024 * 1024

export interface SetupParts {
  /** Runs a command where the engine's bridge is reached. */
  inside?: (command: [string, ...string[]]) => [string, ...string[]]
  /** Of all workers. */
  spec?: Partial<LaunchSpec>
  /** Of an engine that refuses some. */
  fields?: NonNullable<ProviderSetup['fields']>
  /** What another engine does not tell, and why. */
  without?: NonNullable<ProviderSetup['without']>
}

/** The setup for one engine, and what takes its helpers away. */
export async function dockerSetup(
  socket: string,
  { inside = (command) => command, spec = {}, fields = {}, without = {} }: SetupParts = {},
): Promise<ProviderSetup & { stop(): Promise<void> }> {
  const image = await ensureImage(socket, 'busybox')
  const firewall = await ensureImage(socket, 'firewall')
  const proxy = await startEngineProxy(socket)
  const entry = fileURLToPath(new URL('../plugin.ts', import.meta.url))
  return {
    manifest: manifest as unknown as WorkerPluginManifest,
    start: processPlugin(inside([process.execPath, '--conditions=@muster/source', entry])),
    config: { socket: proxy.socket, binds: [{ path: '/usr/share' }], firewall: { image: firewall } },
    spec: { image, ...spec },
    scripts: {
      ...(without.oom === undefined
        ? { oom: { script: 'exec tail /dev/zero', spec: { resources: { memoryBytes: 16 * MiB } } } }
        : {}),
      user: { script: 'id -u', user: '1000:1000', expect: '1000' },
      echoServer: {
        script: 'nc -l -p 7000 -e /bin/cat & until netstat -ltn | grep -q :7000; do sleep 0.05; done; echo listening; wait',
        port: 7000,
      },
    },
    fields: { ...fieldChecks(socket, image), ...fields },
    leftovers: async (ids) => [
      ...(await containersOf(socket, ids)),
      ...(await volumesOf(socket, ids)),
      ...(await inventoryOf(socket, ['muster-worker'])).filter((line) => ids.some((id) => line.includes(id))),
    ],
    hooks: { stall: () => Promise.resolve(stall(proxy)), errorCases },
    without: {
      outage: 'an engine is one machine: it is seen whole or not at all',
      lateProblem: 'an engine refuses at once what it cannot start',
      oldHandles: 'there is no older version yet',
      secrets: 'an engine on a unix socket asks for none: those of TLS, ssh and registries have tests of their own',
      ...without,
    },
    stop: () => proxy.stop(),
  }
}

/** Requests stand still before the engine hears of them, until the returned function is called. */
function stall(proxy: EngineProxy): () => Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>()
  proxy.at = (moment) => (moment === 'before' ? promise : undefined)
  return async () => {
    proxy.at = () => {}
    resolve()
  }
}

async function containersOf(socket: string, ids: readonly string[]): Promise<string[]> {
  const filters = JSON.stringify({ label: ['muster-worker'] })
  const rows = await engineJson<{ Names: string[]; Labels: Record<string, string> }[]>(socket, {
    path: '/containers/json',
    query: { all: '1', filters },
  })
  return rows.filter(({ Labels }) => ids.includes(Labels['muster-worker'] ?? '')).map(({ Names }) => `container ${Names[0]}`)
}

/** Volumes have no labels of ours: those of a worker that is gone are known by being used by nobody. */
async function volumesOf(socket: string, ids: readonly string[]): Promise<string[]> {
  if (ids.length === 0) return []
  const filters = JSON.stringify({ dangling: ['true'] })
  const { Volumes } = await engineJson<{ Volumes: { Name: string; CreatedAt: string }[] | null }>(socket, {
    path: '/volumes',
    query: { filters },
  })
  return (Volumes ?? []).filter(({ CreatedAt }) => Date.parse(CreatedAt) >= started).map(({ Name }) => `volume ${Name}`)
}

const started = Math.floor(Date.now() / 1000) * 1000

type Inspected = { Config: { Image: string; Labels: Record<string, string> }; HostConfig: { NanoCpus: number } }

/** How each declared field is seen; those of `refusable` only by their refusal here. */
export function fieldChecks(socket: string, image: string): NonNullable<ProviderSetup['fields']> {
  const look =
    (read: (container: Inspected) => unknown): NonNullable<FieldCheck['look']> =>
    async (id) =>
      String(read(await engineJson<Inspected>(socket, { path: `/containers/muster-${id}/json` })))
  const checks: Record<string, { spec: Partial<LaunchSpec> } & Omit<FieldCheck, 'spec'>> = {
    // Podman says it in full.
    image: { spec: { image }, look: look(({ Config }) => Config.Image.replace(/^docker\.io\//, '')), expect: image },
    'resources.cpu': {
      spec: { resources: { cpu: 0.5 } },
      look: look(({ HostConfig }) => HostConfig.NanoCpus),
      expect: '500000000',
    },
    'resources.memoryBytes': {
      spec: { resources: { memoryBytes: 64 * MiB } },
      script: 'cd /sys/fs/cgroup; cat memory.max 2>/dev/null || cat memory/memory.limit_in_bytes',
      expect: '67108864',
    },
    'resources.pids': {
      spec: { resources: { pids: 50 } },
      script: 'cd /sys/fs/cgroup; cat pids.max 2>/dev/null || cat pids/pids.max',
      expect: '50',
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
    'mounts.bind': {
      spec: { mounts: [{ target: '/mnt/bind', source: { kind: 'bind', path: '/usr/share' }, readOnly: true }] },
      script: 'ls /mnt/bind >/dev/null && (: >/mnt/bind/written) 2>/dev/null || echo read-only',
      expect: 'read-only',
    },
    'mounts.volume': {
      spec: { mounts: [{ target: '/mnt/volume', source: { kind: 'volume', name: 'data' } }] },
      script: 'echo kept >/mnt/volume/file && cat /mnt/volume/file; grep -c " /mnt/volume " /proc/self/mountinfo',
      expect: 'kept\n1',
    },
    // No machine of these tests has one; what an engine says then is the promise that is kept.
    'resources.gpus': refused({ resources: { gpus: 1 } }, 'resources.gpus'),
    'security.privileged': refused({ security: { privileged: true } }, 'security.privileged'),
    settings: {
      spec: { settings: { shmBytes: 8 * MiB, pull: 'never' } },
      script: 'df -k /dev/shm | tail -n 1 | tr -s " " | cut -d" " -f2',
      expect: '8192',
    },
    'network.egress.none': { spec: { network: { egress: 'none' } }, script: 'ls /sys/class/net', expect: 'lo' },
    'network.egress.full': { spec: { network: { egress: 'full' } }, script: 'ls /sys/class/net', expect: /^eth0$/m },
    'network.egress.restricted': {
      spec: { network: { egress: 'restricted' } },
      // The machine itself, where nothing listens either: only the rules answer so for every address.
      script: 'nc -w 5 192.0.2.1 9 </dev/null 2>&1 | grep -o refused',
      expect: 'refused',
    },
    'network.allow': {
      spec: { network: { egress: 'restricted', allow: ['localhost:9'] } },
      look: async (id) => {
        const gate = await engineJson<{ HostConfig: { ExtraHosts: string[] } }>(socket, {
          path: `/containers/muster-${id}-gate/json`,
        })
        return gate.HostConfig.ExtraHosts.join()
      },
      expect: /^localhost:(127\.0\.0\.1|::1)\b/,
    },
    services: {
      spec: { services: [{ name: 'beside', image, command: ['sleep', '1000'] }] },
      look: async (id) => {
        const path = `/containers/muster-${id}-s-beside/json`
        return String((await engineJson<{ State: { Running: boolean } }>(socket, { path })).State.Running)
      },
      expect: 'true',
    },
    'network.ports': {
      spec: { network: { ports: [8080, 9090] } },
      look: look(({ Config }) => Config.Labels[label.ports]),
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
    'security.capabilitiesAdd': {
      spec: { security: { capabilitiesDrop: ['ALL'], capabilitiesAdd: ['NET_ADMIN'] } },
      script: 'grep CapEff /proc/self/status',
      expect: /\t0000000000001000$/m,
    },
    'security.capabilitiesDrop': {
      spec: { security: { capabilitiesDrop: ['ALL'] } },
      script: 'grep CapBnd /proc/self/status',
      expect: /\t0000000000000000$/m,
    },
    labels: {
      spec: { labels: { colour: 'blue' } },
      look: look(({ Config }) => Config.Labels[`${label.user}colour`]),
      expect: 'blue',
    },
  }
  return checks
}

/** Fields that an engine's machine or a pool's settings may not have. */
export const refusable: readonly SpecField[] = ['resources.gpus', 'security.privileged']

/** A field that is declared, and that this engine or this pool's settings refuse by its path. */
export function refused(parts: Partial<LaunchSpec>, path: string): FieldCheck {
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

/** Rows of the error table that an engine can be made to answer with; the unit tests go through all of them. */
const errorCases: ErrorCase[] = (
  [
    ['an image whose registry nobody runs', 'transient', undefined, { image: '127.0.0.1:1/none:1' }],
    ['an image name that is none', 'invalid-spec', 'image', { image: 'UPPER' }],
    ['a user that is not there', 'invalid-spec', 'security.user', { security: { user: 'nobody-here' } }],
    ['a capability that is none', 'invalid-spec', 'security', { security: { capabilitiesAdd: ['CAP_NONE'] } }],
    ['a workdir that is a file', 'invalid-spec', 'workdir', { workdir: '/etc/passwd' }],
    ['more cpus than there are', 'unsupported', 'resources.cpu', { resources: { cpu: 100_000 } }],
    ['more memory than there is', 'unsupported', 'resources.memoryBytes', { resources: { memoryBytes: 2 ** 50 } }],
    ['another system', 'unsupported', 'os', { os: 'windows' }],
    ['another processor', 'unsupported', 'arch', { arch: process.arch === 'arm64' ? 'amd64' : 'arm64' }],
  ] satisfies [string, ErrorCase['code'], string | undefined, Partial<LaunchSpec>][]
).map(([name, code, path, spec]) => ({
  name,
  code,
  ...(path === undefined ? {} : { path }),
  effect: 'none',
  provoke: async (bench) => await (await bench.session()).launch(bench.hold(spec)),
}))
