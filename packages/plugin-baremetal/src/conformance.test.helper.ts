/** What the conformance suite must be told of this plugin and of this machine. */
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type LaunchSpec, ProviderError, type Resources, type WorkerPluginManifest } from '@muster/core'
import { type Bench, type ErrorCase, type FieldCheck, processPlugin, type ProviderSetup } from '@muster/core/testing'
import manifest from '../muster-plugin.json' with { type: 'json' }
import type { BaremetalConfig } from './config.ts'
import { defaultLedger } from './user.ts'

const MIB = 1024 * 1024
const isRoot = process.getuid?.() === 0

export interface LocalSetup extends ProviderSetup {
  /** Why not all limits can be set here; undefined when they can. */
  noLimits: string | undefined
  stop(): Promise<void>
}

/** A folder for the workers, and one that they may bind. */
export async function localSetup(limits: string | undefined): Promise<LocalSetup> {
  const dir = await mkdtemp(join(tmpdir(), 'muster-conformance-local-'))
  const root = join(dir, 'root')
  const bound = join(dir, 'bound')
  await chmod(dir, 0o711)
  await mkdir(bound)
  await writeFile(join(bound, 'mark'), 'bound\n')
  if (isRoot) await chmod(bound, 0o777)
  const entry = fileURLToPath(new URL('plugin.ts', import.meta.url))
  const config: BaremetalConfig = { transport: 'local', root, binds: [bound] }
  const noLimits = limits === 'cpu, memory, pids' ? undefined : `limits that can be set here: ${limits ?? 'none'}`
  return {
    manifest: manifest as unknown as WorkerPluginManifest,
    start: processPlugin([process.execPath, '--conditions=@muster/source', entry]),
    config,
    scripts: {
      ...(noLimits === undefined
        ? { oom: { script: 'exec tail /dev/zero', spec: { resources: { memoryBytes: 32 * MIB } } } }
        : {}),
      echoServer: echoServer(await freePort()),
      agent: {
        spec: (script) => ({ settings: { agent: ['sh', '-c', script] } }),
        url: 'printf %s "$MUSTER_AGENT_URL"',
        ticket: 'cat "$MUSTER_AGENT_TICKET"',
        post: `node -e '${POST}' "$1" "$2"`,
      },
    },
    fields: { ...fieldChecks(root, bound), ...(noLimits === undefined ? limitChecks : refusedLimits) },
    leftovers: (ids) => leftoversOf(root, ids),
    hooks: { errorCases },
    without: {
      ...(noLimits === undefined ? {} : { oom: noLimits }),
      user: 'a worker is one user: exec as another is refused',
      outage: "the host's own machine is one part: it is seen whole or not at all",
      stall: 'the vendor is the kernel: it does not keep silent',
      lateProblem: 'what cannot be made is refused at once',
      oldHandles: 'there is no older version yet',
      secrets: 'it asks for no secret',
    },
    noLimits,
    stop: () => rm(dir, { recursive: true, force: true }),
  }
}

/** As any agent would with what its machine has; every machine of the tests has Node. */
const POST = `fetch(process.argv[1], { method: "POST", headers: { authorization: "Bearer " + process.argv[2] } })
  .then((answer) => (answer.ok ? answer.text() : Promise.reject(new Error(String(answer.status)))))
  .then((text) => process.stdout.write(text))`

/** Folders, cgroups, entries of users and processes that bear a worker's id. */
async function leftoversOf(root: string, ids: readonly string[]): Promise<string[]> {
  const wanted = new Set(ids)
  const named = async (path: string): Promise<string[]> => {
    const names = await readdir(path).catch(() => [])
    return names.filter((name) => wanted.has(name.split('.')[0] ?? '')).map((name) => join(path, name))
  }
  const found = await Promise.all(['workers', 'trash', 'changes'].map((name) => named(join(root, name))))
  const groups = await readdir('/sys/fs/cgroup', { recursive: false }).catch(() => [])
  for (const group of groups) {
    for (const parent of await readdir(join('/sys/fs/cgroup', group)).catch(() => []))
      if (parent.startsWith('muster-')) found.push(await named(join('/sys/fs/cgroup', group, parent)))
  }
  for (const uid of await readdir(defaultLedger).catch(() => [])) found.push(await named(join(defaultLedger, uid)))
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    const text =
      (await readFile(`/proc/${pid}/environ`, 'latin1').catch(() => '')) +
      (await readFile(`/proc/${pid}/cmdline`, 'latin1').catch(() => ''))
    if (ids.some((id) => text.includes(`${root}/workers/${id}`))) found.push([`process ${pid}`])
  }
  return found.flat()
}

type Checks = NonNullable<ProviderSetup['fields']>

/** In each hierarchy the worker is in, whatever its version: what the limit's file says. */
function limitCheck(resources: Resources, files: string, expect: string | RegExp): FieldCheck {
  const script = `while IFS=: read -r n c p; do for f in ${files}; do cat /sys/fs/cgroup$p/$f /sys/fs/cgroup/\${c:-none}$p/$f; done; done 2>/dev/null </proc/self/cgroup; true`
  return { spec: { resources }, script, expect }
}

const limitChecks: Checks = {
  'resources.cpu': limitCheck({ cpu: 0.5 }, 'cpu.max cpu.cfs_quota_us', /^50000( 100000)?\n$/),
  'resources.memoryBytes': limitCheck({ memoryBytes: 64 * MIB }, 'memory.max memory.limit_in_bytes', String(64 * MIB)),
  'resources.pids': limitCheck({ pids: 50 }, 'pids.max', '50'),
}

/** The manifest cannot know the machine. Where no cgroup can be made, the promise is kept by a refusal that names the field. */
function refusedLimit(field: keyof Resources): FieldCheck {
  return {
    spec: {},
    async look(_id, bench) {
      const error: unknown = await (
        await bench.session()
      )
        .launch(bench.hold({ resources: { [field]: 1 } }))
        .catch((reason: unknown) => reason)
      return error instanceof ProviderError ? `${error.code} ${error.effect} ${error.path}` : 'no refusal'
    },
    expect: `unsupported none resources.${field}`,
  }
}

const refusedLimits: Checks = {
  'resources.cpu': refusedLimit('cpu'),
  'resources.memoryBytes': refusedLimit('memoryBytes'),
  'resources.pids': refusedLimit('pids'),
}

function fieldChecks(root: string, bound: string): Checks {
  const arch = process.arch === 'arm64' ? (['arm64', 'aarch64'] as const) : (['amd64', 'x86_64'] as const)
  return {
    os: { spec: { os: 'linux' }, script: 'uname -s', expect: 'Linux' },
    arch: { spec: { arch: arch[0] }, script: 'uname -m', expect: arch[1] },
    'mounts.bind': {
      spec: { mounts: [{ target: 'mnt/bound', source: { kind: 'bind', path: bound } }] },
      script: 'cat mnt/bound/mark',
      expect: 'bound',
    },
    'network.egress.full': { spec: { network: { egress: 'full' } }, script: 'readlink /proc/self/ns/net', expect: /^net:/ },
    'network.ports': { spec: { network: { ports: [8080] } }, look: stateOf(root, 'ports'), expect: '[8080]' },
    'security.noNewPrivileges': {
      spec: { security: { noNewPrivileges: true } },
      script: 'grep NoNewPrivs /proc/self/status',
      expect: /1\s*$/,
    },
    labels: { spec: { labels: { colour: 'blue' } }, look: stateOf(root, 'labels'), expect: '{"colour":"blue"}' },
    settings: { spec: {}, look: (_id, bench) => agentOf(root, bench), expect: `http://127.0.0.1:9 600 the-ticket` },
  }
}

/** What an agent named by the settings finds: where the host is, and its ticket, which nobody else reads. */
async function agentOf(root: string, bench: Bench): Promise<string> {
  const script = 'echo "$MUSTER_AGENT_URL $(stat -c %a "$MUSTER_AGENT_TICKET") $(cat "$MUSTER_AGENT_TICKET")"'
  const work = { mode: 'agent' as const, ticket: { $secret: 'the-ticket' }, url: 'http://127.0.0.1:9' }
  const spec = bench.spec(work, { settings: { agent: ['sh', '-c', script] } })
  await (await bench.session()).launch(spec)
  return bench.until('the agent has spoken', async () => {
    const text = await readFile(join(root, 'workers', spec.id, 'out'), 'utf8')
    return text.endsWith('\n') ? text : undefined
  })
}

function stateOf(root: string, name: string): NonNullable<FieldCheck['look']> {
  return async (id) => {
    const state = JSON.parse(await readFile(join(root, 'workers', id, 'worker.json'), 'utf8')) as Record<string, unknown>
    return JSON.stringify(state[name])
  }
}

/** Refusals that any machine can be made to give; the unit tests go through the table of system errors. */
const errorCases: ErrorCase[] = (
  [
    ['another system', 'unsupported', 'os', { os: 'windows' }],
    ['another processor', 'unsupported', 'arch', { arch: process.arch === 'arm64' ? 'amd64' : 'arm64' }],
    ['a working folder of its own root', 'unsupported', 'workdir', { workdir: '/build' }],
    ['a working folder outside', 'invalid-spec', 'workdir', { workdir: '../../elsewhere' }],
    ['a file outside', 'invalid-spec', 'files.0.path', { files: [{ path: '../../x', base64: '' }] }],
    [
      'a mount that is not allowed',
      'unsupported',
      'mounts.0.source.path',
      { mounts: [{ target: 'm', source: { kind: 'bind', path: '/etc' } }] },
    ],
    ['a variable of the worker itself', 'unsupported', 'env.MUSTER_WORKER', { env: { MUSTER_WORKER: 'x' } }],
  ] satisfies [string, ErrorCase['code'], string, Partial<LaunchSpec>][]
).map(([name, code, path, spec]) => ({
  name,
  code,
  path,
  effect: 'none',
  provoke: async (bench) => await (await bench.session()).launch(bench.hold(spec)),
}))

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(0, '127.0.0.1', resolve)
  })
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => {
    server.close(resolve)
  })
  return port
}

function echoServer(port: number): { script: string; port: number; spec: Partial<LaunchSpec> } {
  const code = `require('node:net').createServer((one) => one.pipe(one)).listen(${port}, '127.0.0.1', () => console.log('listening'))`
  return { script: `node -e "${code}"`, port, spec: { network: { ports: [port] } } }
}
