/** What the conformance suite must be told of the fake provider. */
import { randomUUID } from 'node:crypto'
import { mkdirSync, mkdtempSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import process from 'node:process'
import type { SecretValue } from '../../provider.ts'
import type { LaunchSpec, SpecField } from '../../spec.ts'
import { inProcessPlugin, processPlugin, type StartPlugin } from '../suite/link.ts'
import type { ErrorCase, FieldCheck, Hooks, ProviderSetup, Scripts } from '../suite/setup.ts'
import type { FakeConfig } from './config.ts'
import { type FakeControl, fakeControl } from './control.ts'
import { type FakeOptions, fakeManifest, fakePlugin } from './plugin.ts'
import { absentImage } from './translate.ts'

export interface FakeSetup extends ProviderSetup {
  control: FakeControl
  config: FakeConfig
}

export interface FakeSetupOptions extends Pick<FakeOptions, 'capabilities'> {
  /** The plugin's process; default: in this process. */
  command?: readonly string[]
  start?: StartPlugin
}

/** A vendor of its own in a temporary folder; `control.destroy()` takes it away. */
export async function fakeSetup(options: FakeSetupOptions = {}): Promise<FakeSetup> {
  const dir = mkdtempSync(join(tmpdir(), 'muster-fake-'))
  const control = fakeControl(dir)
  const inProcess = inProcessPlugin((life) => fakePlugin({ ...options, life }))
  const { command, start = command === undefined ? inProcess : processPlugin(command) } = options
  const manifest = fakeManifest(options)
  return {
    control,
    manifest,
    start,
    config: { dir, parts: ['a', 'b', 'c'], secret: 'token' },
    scripts: {
      oom: { script: ': >"$MUSTER_FAKE_OOM"; kill -KILL $$' },
      user: { script: 'echo "$MUSTER_FAKE_USER"', user: '1000:1000', expect: '1000:1000' },
      echoServer: echoServer(await freePort()),
      agent: {
        spec: (script) => ({ settings: { agent: ['/bin/sh', '-c', script] } }),
        url: 'printf %s "$MUSTER_AGENT_URL"',
        ticket: 'cat "$MUSTER_AGENT_TICKET"',
        post: `'${process.execPath}' -e '${POST}' "$1" "$2"`,
      },
    },
    fields: fieldChecks(dir),
    leftovers: (ids) => Promise.resolve(control.leftovers(ids)),
    hooks: fakeHooks(control, manifest.capabilities.fields),
  }
}

function fakeHooks(control: FakeControl, fields: readonly SpecField[]): Hooks {
  const restoring = (restore: () => void) => Promise.resolve(() => Promise.resolve(restore()))
  return {
    outage: ({ part = '' }) => restoring(control.outage(part)),
    stall: () => restoring(control.stall()),
    lateProblem(bench) {
      const spec = bench.lasting()
      control.faults([{ id: 'late', method: 'launch', worker: spec.id, action: { kind: 'late', code: 'capacity' } }])
      return Promise.resolve({ spec, code: 'capacity' as const })
    },
    oldHandles: ({ id }) => [{ v: 1, data: id }],
    errorCases: [...refusalsOf(fields), ...failuresOf(control)],
    secrets: secretServer(control),
  }
}

/** What the provider refuses by itself, where it knows the field at all. */
function refusalsOf(fields: readonly SpecField[]): ErrorCase[] {
  const rows: { name: string; field: SpecField; code: ErrorCase['code']; path?: string; spec: Partial<LaunchSpec> }[] = [
    { name: 'an image that is not there', field: 'image', code: 'invalid-spec', spec: { image: absentImage } },
    { name: 'a profile that is not there', field: 'profile', code: 'invalid-spec', spec: { profile: 'huge' } },
    { name: 'another system', field: 'os', code: 'unsupported', spec: { os: 'windows' } },
    {
      name: 'a read-only mount',
      field: 'mounts.tmpfs',
      code: 'unsupported',
      path: 'mounts.0.readOnly',
      spec: { mounts: [{ target: '/m', source: { kind: 'tmpfs' }, readOnly: true }] },
    },
    {
      name: 'settings with a wrong value',
      field: 'settings',
      code: 'invalid-spec',
      path: 'settings.colour',
      spec: { settings: { colour: 'blue' } },
    },
  ]
  return rows
    .filter(({ field }) => fields.includes(field))
    .map(({ name, field, code, path = field, spec }) => ({
      name,
      code,
      path,
      effect: 'none',
      provoke: async (bench) => await (await bench.session()).launch(bench.lasting(spec)),
    }))
}

/** What its vendor may answer. */
function failuresOf(control: FakeControl): ErrorCase[] {
  return (['capacity', 'quota', 'throttled', 'auth', 'transient', 'internal'] as const).map((code) => ({
    name: `the vendor says ${code}`,
    code,
    effect: 'none',
    async provoke(bench) {
      const spec = bench.lasting()
      control.faults([{ id: `says-${code}`, method: 'launch', worker: spec.id, action: { kind: 'fail', code, effect: 'none' } }])
      return await (await bench.session()).launch(spec)
    },
  }))
}

/** Gives what it gave before, until that is refused: as a host that keeps what it has read. */
function secretServer(control: FakeControl): NonNullable<Hooks['secrets']> {
  const values: string[] = []
  const renew = (): SecretValue => {
    const value = `secret-${randomUUID()}`
    values.push(value)
    control.token(value)
    return { value, version: String(values.length) }
  }
  let newest = renew()
  let given = newest
  return {
    name: 'token',
    read(refused) {
      if (refused === given.version) given = newest
      return given
    },
    rotate() {
      newest = renew()
      return Promise.resolve()
    },
    revoke() {
      control.token('nobody has this one')
      return Promise.resolve(() => Promise.resolve(control.token(newest.value)))
    },
    values: () => values,
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo
      server.close(() => resolve(port))
    })
  })
}

function echoServer(port: number): NonNullable<Scripts['echoServer']> {
  const code = `require('node:net').createServer((one) => one.pipe(one)).listen(${port}, '127.0.0.1', () => console.log('listening'))`
  return { script: `'${process.execPath}' -e "${code}"`, port, spec: { network: { ports: [port] } } }
}

/** No machine must have curl for the fake provider's sake. */
const POST = `fetch(process.argv[1], { method: "POST", headers: { authorization: "Bearer " + process.argv[2] } })
  .then((answer) => (answer.ok ? answer.text() : Promise.reject(new Error(String(answer.status)))))
  .then((text) => process.stdout.write(text))`

/** A plain process cannot have most fields: the vendor shows it what it was asked to make. */
function fieldChecks(dir: string): Partial<Record<SpecField, FieldCheck>> {
  const shown = (spec: Partial<LaunchSpec>): FieldCheck => ({
    spec,
    script: 'cat "$MUSTER_FAKE_MACHINE"',
    expect: new RegExp(
      Object.entries(spec)
        .map(([name, value]) => RegExp.escape(`"${name}":${JSON.stringify(value)}`))
        .join('.*'),
    ),
  })
  const bound = join(dir, 'bound')
  mkdirSync(bound)
  writeFileSync(join(bound, 'mark'), 'bound\n')
  return {
    image: shown({ image: 'fake/any' }),
    profile: shown({ profile: 'small' }),
    'resources.cpu': shown({ resources: { cpu: 0.5 } }),
    'resources.memoryBytes': shown({ resources: { memoryBytes: 1024 * 1024 } }),
    'resources.diskBytes': shown({ resources: { diskBytes: 1000 } }),
    'resources.pids': shown({ resources: { pids: 7 } }),
    'resources.gpus': shown({ resources: { gpus: 1 } }),
    os: shown({ os: 'linux' }),
    arch: shown({ arch: 'arm64' }),
    'mounts.bind': {
      spec: { mounts: [{ target: '/mnt/bound', source: { kind: 'bind', path: bound } }] },
      script: 'cat "$MUSTER_FAKE_ROOT/mnt/bound/mark"',
      expect: 'bound',
    },
    'mounts.volume': {
      spec: { mounts: [{ target: 'shared', source: { kind: 'volume', name: 'v' } }] },
      script: 'test -d shared && echo there',
      expect: 'there',
    },
    'mounts.tmpfs': {
      spec: { mounts: [{ target: 'scratch', source: { kind: 'tmpfs' } }] },
      script: ': >scratch/x && echo there',
      expect: 'there',
    },
    'network.egress.none': shown({ network: { egress: 'none' } }),
    'network.egress.restricted': shown({ network: { egress: 'restricted' } }),
    'network.egress.full': shown({ network: { egress: 'full' } }),
    'network.allow': shown({ network: { allow: ['127.0.0.1:80'] } }),
    'network.ports': shown({ network: { ports: [8080] } }),
    'security.user': shown({ security: { user: '7:7' } }),
    'security.readOnlyRoot': shown({ security: { readOnlyRoot: true } }),
    'security.noNewPrivileges': shown({ security: { noNewPrivileges: true } }),
    'security.privileged': shown({ security: { privileged: true } }),
    'security.capabilitiesAdd': shown({ security: { capabilitiesAdd: ['NET_ADMIN'] } }),
    'security.capabilitiesDrop': shown({ security: { capabilitiesDrop: ['CHOWN'] } }),
    services: {
      spec: { services: [{ name: 'side', image: 'any', command: ['/bin/sh', '-c', 'echo up >up; exec sleep 1000'] }] },
      script: 'while ! test -e up; do sleep 0.02; done; cat up',
      expect: 'up',
    },
    labels: shown({ labels: { colour: 'blue' } }),
    settings: shown({ settings: { colour: 'red' } }),
  }
}
