import type { LaunchSpec, SpecField } from '@muster/core'
import { describe, expect, test } from 'vitest'
import manifest from '../muster-plugin.json' with { type: 'json' }
import type { ContainerInspect } from './client.ts'
import { type EngineFacts, factsOf } from './engine/facts.ts'
import { containerName, label, labelsOf, ownerFilter, specDigest, tagsOf } from './labels.ts'
import { describe as describeEngine, headroomOf } from './workers/engine-state.ts'
import { grantedOf } from './workers/limits.ts'
import { rulesOf } from './rules.ts'
import { checkSpec, createBody, exitInDoubt, exitOf, exitUnheard, instantOf, observe, phaseOf, platformOf } from './translate.ts'

const id = 'w0123456789abcdefghijklmnop'
const tags = { 'muster-owner': 'o', 'muster-provider': 'docker', 'muster-pool': 'p', 'muster-worker': id, 'muster-epoch': '1' }
const spec = (parts: Partial<LaunchSpec> = {}): LaunchSpec => ({
  id,
  tags,
  image: 'busybox',
  work: { mode: 'command', command: ['make', 'all'] },
  ...parts,
})

const facts: EngineFacts = {
  ...{ version: '20.10.24', api: '1.41', oldestApi: '1.12', name: 'here', os: 'linux', arch: 'amd64' },
  ...{
    cpus: 4,
    memoryBytes: 8e9,
    limits: { cpu: true, cpuShares: true, cpuset: true, memory: true, swap: true, pids: true },
    init: true,
  },
  ...{ security: { apparmor: false, seccomp: true, userns: false } },
  ...{ cgroup: '2', storage: 'overlay2', rootless: false, liveRestore: true, logDriver: 'local' },
  ...{ deviceRequests: true, volumeLabels: true, lateNetworks: true },
}

const honoured = { fields: manifest.capabilities.fields as SpecField[], rules: rulesOf({}), reaches: true }

describe('the body of a create', () => {
  test('of a command: nothing of the image before or behind it, never removed by the engine', () => {
    const body = createBody(spec(), facts)
    expect(body).toMatchObject({
      Image: 'busybox',
      Entrypoint: ['make'],
      Cmd: ['all'],
      Hostname: id,
      Healthcheck: { Test: ['NONE'] },
    })
    expect(body.HostConfig).toEqual({
      AutoRemove: false,
      RestartPolicy: { Name: 'no' },
      Init: true,
      CapDrop: ['ALL'],
      SecurityOpt: ['no-new-privileges=true'],
      LogConfig: { Type: 'local', Config: { 'max-size': '16g', 'max-file': '2', compress: 'false' } },
    })
  })

  test('of a holding worker: a shell that waits, ended by SIGTERM', () => {
    const body = createBody(spec({ work: { mode: 'hold' } }), facts)
    expect(body.Entrypoint).toEqual(['/bin/sh'])
    expect(body.StopSignal).toBe('SIGTERM')
    expect(body.Volumes).toBeUndefined()
    expect(createBody(spec({ work: { mode: 'hold' }, security: { readOnlyRoot: true } }), facts).Volumes).toEqual({
      '/.muster': {},
    })
  })

  test.each<[string, Partial<LaunchSpec>, object]>([
    ['cpu', { resources: { cpu: 1.5 } }, { NanoCpus: 1.5e9 }],
    ['memory, without swap', { resources: { memoryBytes: 1e9 } }, { Memory: 1e9, MemorySwap: 1e9 }],
    ['pids', { resources: { pids: 9 } }, { PidsLimit: 9 }],
    ['no network', { network: { egress: 'none' } }, { NetworkMode: 'none' }],
    ['a network', { network: { egress: 'full' } }, { NetworkMode: 'bridge' }],
    ['a read-only root', { security: { readOnlyRoot: true } }, { ReadonlyRootfs: true }],
    ['no new privileges', { security: { noNewPrivileges: true } }, { SecurityOpt: ['no-new-privileges=true'] }],
    ['new privileges allowed', { security: { noNewPrivileges: false } }, { SecurityOpt: ['no-new-privileges=false'] }],
    ['capabilities', { security: { capabilitiesAdd: ['A'], capabilitiesDrop: ['B'] } }, { CapAdd: ['A'], CapDrop: ['ALL', 'B'] }],
    [
      'a tmpfs',
      { mounts: [{ target: '/t', source: { kind: 'tmpfs', bytes: 9 } }] },
      { Tmpfs: { '/t': 'rw,exec,nosuid,nodev,mode=1777,size=9' } },
    ],
    [
      'a read-only tmpfs',
      { mounts: [{ target: '/t', source: { kind: 'tmpfs' }, readOnly: true }] },
      { Tmpfs: { '/t': 'ro,exec,nosuid,nodev,mode=1777' } },
    ],
  ])('with %s', (_name, parts, expected) => {
    expect(createBody(spec(parts), facts).HostConfig).toMatchObject(expected)
  })

  test('with env, workdir and user; no docker-init where the engine has none', () => {
    const body = createBody(spec({ env: { A: 'b=c', D: '' }, workdir: '/w', security: { user: 'u' } }), { ...facts, init: false })
    expect(body).toMatchObject({ Env: ['A=b=c', 'D='], WorkingDir: '/w', User: 'u', HostConfig: { Init: false } })
  })
})

describe('a spec is refused', () => {
  const none = { cpu: false, cpuShares: false, cpuset: false, memory: false, swap: false, pids: false }
  test.each<[string, LaunchSpec, EngineFacts, object]>([
    ['for a field not honoured', spec({ lifetimeMs: 1 }), facts, { code: 'unsupported', path: 'lifetimeMs' }],
    [
      'for an agent',
      spec({ work: { mode: 'agent', ticket: { $secret: 's' }, url: 'http://127.0.0.1:9' } }),
      facts,
      { code: 'unsupported', path: 'work.mode' },
    ],
    [
      'for inputs',
      spec({ work: { mode: 'command', command: ['x'], inputs: [] } }),
      facts,
      { code: 'unsupported', path: 'work.inputs' },
    ],
    [
      'for an empty program',
      spec({ work: { mode: 'command', command: [''] } }),
      facts,
      { code: 'invalid-spec', path: 'work.command' },
    ],
    [
      'for a relative mount',
      spec({ mounts: [{ target: 't', source: { kind: 'tmpfs' } }] }),
      facts,
      { code: 'invalid-spec', path: 'mounts.0.target' },
    ],
    [
      'for a mount with a colon',
      spec({ mounts: [{ target: '/t:ro', source: { kind: 'tmpfs' } }] }),
      facts,
      { code: 'unsupported', path: 'mounts.0.target' },
    ],
    [
      'for files in a read-only root',
      spec({ files: [{ path: '/x', base64: '' }], security: { readOnlyRoot: true } }),
      facts,
      { code: 'unsupported', path: 'files' },
    ],
    [
      'for a cpu limit the kernel has not',
      spec({ resources: { cpu: 1 } }),
      { ...facts, limits: none },
      { code: 'unsupported', path: 'resources.cpu' },
    ],
    [
      'for a memory limit the kernel has not',
      spec({ resources: { memoryBytes: 1 } }),
      { ...facts, limits: none },
      { code: 'unsupported', path: 'resources.memoryBytes' },
    ],
    [
      'for a pids limit the kernel has not',
      spec({ resources: { pids: 1 } }),
      { ...facts, limits: none },
      { code: 'unsupported', path: 'resources.pids' },
    ],
    ['for an image that could be a path', spec({ image: 'a//b' }), facts, { code: 'invalid-spec', path: 'image' }],
    [
      'for such an image of a service',
      spec({ services: [{ name: 's', image: '../x' }] }),
      facts,
      { code: 'invalid-spec', path: 'services.0.image' },
    ],
    ['for more cpus', spec({ resources: { cpu: 5 } }), facts, { code: 'unsupported', path: 'resources.cpu' }],
    ['for more memory', spec({ resources: { memoryBytes: 9e9 } }), facts, { code: 'unsupported', path: 'resources.memoryBytes' }],
  ])('%s', (...[, wanted, engine, expected]) => {
    const check = (): void => checkSpec(wanted, honoured, engine)
    expect(check).toThrow(expect.objectContaining({ ...expected, effect: 'none' }) as Error)
  })

  test('and one with every declared field is not', () => {
    const full = spec({
      ...{ env: {}, workdir: '/w', files: [], os: 'linux', arch: 'amd64', labels: {} },
      resources: { cpu: 1, memoryBytes: 1e9, pids: 10 },
      mounts: [{ target: '/t', source: { kind: 'tmpfs' } }],
      network: { egress: 'full', ports: [80] },
      security: { user: 'u', readOnlyRoot: true, noNewPrivileges: true, capabilitiesAdd: [], capabilitiesDrop: [] },
    })
    expect(() => checkSpec(full, honoured, facts)).not.toThrow()
  })
})

test('less than an engine gives is granted rounded up', () => {
  expect(grantedOf(spec())).toBeUndefined()
  expect(grantedOf(spec({ resources: { cpu: 1 } }))).toBeUndefined()
  expect(grantedOf(spec({ resources: { cpu: 0.001, memoryBytes: 1, pids: 3 } }))).toEqual({
    cpu: 0.01,
    memoryBytes: 6_291_456,
    pids: 3,
  })
})

test('a platform is asked for only with a processor', () => {
  expect(platformOf(spec({ os: 'linux' }))).toBeUndefined()
  expect(platformOf(spec({ arch: 'arm64' }))).toBe('linux/arm64')
})

describe('labels', () => {
  test("carry the tags, the digest, what is reserved, and the user's under a prefix", () => {
    const wanted = spec({
      labels: { 'muster-owner': 'mine' },
      resources: { cpu: 0.5, memoryBytes: 7 },
      network: { ports: [80, 81] },
    })
    expect(labelsOf(wanted)).toEqual({
      ...tags,
      [label.spec]: specDigest(wanted),
      [label.cpu]: '500000000',
      [label.memory]: '7',
      [label.ports]: '80,81',
      'muster-label.muster-owner': 'mine',
    })
    expect(containerName(id)).toBe(`muster-${id}`)
    expect(ownerFilter(tags)).toEqual(['muster-owner=o', 'muster-provider=docker'])
  })

  test('give the tags back, or say that it is none of ours', () => {
    expect(tagsOf({ ...labelsOf(spec()), other: 'x' })).toEqual(tags)
    expect(tagsOf({})).toBeUndefined()
    expect(tagsOf(null)).toBeUndefined()
    expect(tagsOf({ ...tags, 'muster-pool': 'NOT A NAME' })).toBeUndefined()
    expect(tagsOf({ ...tags, 'muster-worker': 'short' })).toBeUndefined()
  })

  test('a digest does not depend on the order of names, but on everything else', () => {
    const first = specDigest(spec({ env: { A: '1', B: '2' } }))
    expect(
      specDigest({ work: { mode: 'command', command: ['make', 'all'] }, image: 'busybox', env: { B: '2', A: '1' }, tags, id }),
    ).toBe(first)
    expect(specDigest(spec({ env: { A: '1', B: '2' }, tags: { ...tags, 'muster-epoch': '7' } }))).not.toBe(first)
    expect(specDigest(spec({ env: { A: '1', B: '3' } }))).not.toBe(first)
    expect(first).toMatch(/^[0-9a-f]{32}$/)
  })
})

describe('an observation', () => {
  const state = (parts: object): ContainerInspect['State'] =>
    ({
      Status: 'exited',
      ExitCode: 0,
      OOMKilled: false,
      Error: '',
      FinishedAt: '2026-01-31T09:30:00.123456789Z',
      ...parts,
    }) as ContainerInspect['State']

  test.each([
    ['created', 'provisioning'],
    ['restarting', 'provisioning'],
    ['running', 'running'],
    ['paused', 'suspended'],
    ['removing', 'stopping'],
    ['exited', 'exited'],
    ['dead', 'stopping'],
  ])('%s is %s', (status, phase) => {
    expect(phaseOf(status, false)).toBe(phase)
  })

  test('what runs or is frozen while we end it is `stopping`, what has ended is not', () => {
    expect(['running', 'paused', 'exited'].map((status) => phaseOf(status, true))).toEqual(['stopping', 'stopping', 'exited'])
  })

  test.each<[string, object, object]>([
    ['success', {}, { code: 0, reason: 'exited with code 0', at: '2026-01-31T09:30:00.123Z' }],
    ['a code', { ExitCode: 3 }, { code: 3, reason: 'exited with code 3', at: '2026-01-31T09:30:00.123Z' }],
    ['137 of its own', { ExitCode: 137 }, { code: 137, reason: 'exited with code 137', at: '2026-01-31T09:30:00.123Z' }],
    [
      '137 for memory',
      { ExitCode: 137, OOMKilled: true },
      { code: 137, signal: 'SIGKILL', oomKilled: true, reason: 'out of memory', at: '2026-01-31T09:30:00.123Z' },
    ],
    [
      'a child for memory',
      { ExitCode: 2, OOMKilled: true },
      { code: 2, oomKilled: true, reason: 'out of memory', at: '2026-01-31T09:30:00.123Z' },
    ],
    [
      'success in spite of memory',
      { OOMKilled: true },
      { code: 0, reason: 'exited with code 0', at: '2026-01-31T09:30:00.123Z' },
    ],
    ['no code', { ExitCode: -1, Error: 'lost', FinishedAt: '0001-01-01T00:00:00Z' }, { reason: 'lost' }],
  ])('ended with %s', (_name, parts, exit) => {
    expect(exitOf(state(parts))).toEqual(exit)
  })

  test("a death by SIGKILL or SIGTERM before the engine started is nobody's word", () => {
    const start = '2026-01-31T09:30:00.500Z'
    const exit = exitOf(state({ ExitCode: 143 }))
    expect(exitInDoubt(exit, start)).toEqual({
      reason: 'unknown: the engine restarted; it says exited with code 143',
      at: exit.at,
    })
    expect(exitInDoubt(exit, '2026-01-31T09:30:00.000Z')).toBe(exit)
    expect(exitInDoubt(exit, undefined)).toBe(exit)
    for (const parts of [{ ExitCode: 3 }, { ExitCode: 137, OOMKilled: true }])
      expect(exitInDoubt(exitOf(state(parts)), start)).toEqual(exitOf(state(parts)))
  })

  test('what ended before the engine started may have said more than is kept, and says so', () => {
    const exit = exitOf(state({ ExitCode: 3 }))
    expect(exitUnheard(exit, '2026-01-31T09:30:00.500Z').reason).toMatch(
      /^exited with code 3; the end of stdout and stderr is missing, /,
    )
    for (const start of ['2026-01-31T09:30:00.000Z', undefined]) expect(exitUnheard(exit, start)).toBe(exit)
  })

  test.each<[string, object, object, object]>([
    ['that holds, and says so by its exit', { 'muster-holds': 'yes' }, { ExitCode: 75 }, { phase: 'suspended', ready: false }],
    ['whose command exits so is ended', {}, { ExitCode: 75 }, { phase: 'exited', exit: { code: 75 } }],
    ['that holds and ends otherwise is ended', { 'muster-holds': 'yes' }, {}, { phase: 'exited', exit: { code: 0 } }],
    ['that holds and is being removed', { 'muster-holds': 'yes' }, { ExitCode: 75, Status: 'removing' }, { phase: 'stopping' }],
  ])('of a worker that may be suspended to disk: one %s', (...[, Labels, parts, expected]) => {
    const container = { Id: 'c', State: state(parts), Config: { Labels }, HostConfig: {} } as unknown as ContainerInspect
    const seen = observe(container, tags, false)
    expect(seen).toMatchObject(expected)
    if (seen.phase === 'suspended') expect(seen.exit).toBeUndefined()
  })

  test('of a start that failed says what is wrong, for good', () => {
    const failed = {
      Id: 'c',
      State: state({ Status: 'created', ExitCode: 127, Error: 'exec: "nope": executable file not found in $PATH' }),
    } as ContainerInspect
    expect(observe(failed, tags, false)).toEqual({
      ...{ id, tags, handle: { v: 1, data: { container: 'c' } }, phase: 'provisioning', ready: false },
      problem: { code: 'invalid-spec', message: 'cannot start: exec: "nope": executable file not found in $PATH', final: true },
    })
  })

  test('times of year 1 are none', () => {
    expect(instantOf('0001-01-01T00:00:00Z')).toBeUndefined()
    expect(instantOf('no time')).toBeUndefined()
  })
})

describe('an engine', () => {
  const info = {
    ...{ Name: 'n', OSType: 'linux', Architecture: 'aarch64', NCPU: 2, MemTotal: 9, Driver: 'overlay2' },
    ...{ MemoryLimit: true, SwapLimit: false, PidsLimit: true, CpuCfsPeriod: true, CpuCfsQuota: false },
  }
  const version = { api: '1.41', version: '20.10.24', oldestApi: '1.12' }

  test('in its own words', () => {
    expect(
      factsOf(
        {
          ...info,
          InitBinary: 'docker-init',
          InitCommit: { ID: '' },
          SecurityOptions: ['name=rootless', 'name=userns'],
          CPUSet: true,
        },
        version,
      ),
    ).toMatchObject({
      ...{ arch: 'arm64', init: true, rootless: true, liveRestore: false, cgroup: '1' },
      limits: { cpu: false, cpuShares: false, cpuset: true, memory: true, swap: false, pids: true },
      security: { apparmor: false, seccomp: false, userns: true },
    })
    expect(factsOf({ ...info, InitBinary: 'docker-init', InitCommit: { ID: 'N/A' } }, version).init).toBe(false)
    const remaps = { SecurityOptions: ['name=userns'], DockerRootDir: '/var/lib/docker/100000.200000' }
    expect(factsOf({ ...info, ...remaps }, version).remapped).toEqual({ uid: 100_000, gid: 200_000 })
    expect(factsOf({ ...info, ...remaps, SecurityOptions: [] }, version).remapped).toBeUndefined()
    expect(factsOf({ ...info, Architecture: 's390x', SecurityOptions: null }, version)).toMatchObject({
      arch: 's390x',
      init: false,
    })
  })

  test('is described with what an operator should know', () => {
    expect(describeEngine(facts)).toEqual({
      state: 'ready',
      facts: expect.objectContaining({ engine: '20.10.24', api: '1.41' }) as object,
    })
    const poor = describeEngine({
      ...facts,
      init: false,
      liveRestore: false,
      logDriver: 'local',
      rootless: true,
      limits: { ...facts.limits, memory: false },
    })
    expect(poor.notes).toHaveLength(4)
    expect(describeEngine({ ...facts, os: 'windows' })).toMatchObject({ state: 'failed' })
    expect(describeEngine({ ...facts, api: '1.40' })).toMatchObject({ state: 'failed' })
    expect(describeEngine({ ...facts, oldestApi: '1.48' })).toMatchObject({ state: 'failed' })
  })

  test('has the headroom that limits leave; what has ended reserves nothing', () => {
    const row = (state: string, cpu: number) => ({ id, tags, container: 'c', state, cpu, memoryBytes: cpu * 1e9 })
    expect(headroomOf(facts, {}, [row('running', 1), row('paused', 0.5), row('exited', 2)])).toEqual({
      cpu: { free: 2.5, total: 4 },
      memoryBytes: { free: 6.5e9, total: 8e9 },
    })
    expect(headroomOf(facts, {}, [row('running', 9)])).toMatchObject({ cpu: { free: 0 }, memoryBytes: { free: 0 } })
    expect(headroomOf(facts, { slots: 3, memoryBytes: 4e9 }, [row('running', 1)])).toEqual({
      slots: { free: 2, total: 3 },
      cpu: { free: 3, total: 4 },
      memoryBytes: { free: 3e9, total: 4e9 },
    })
  })
})

describe('an engine with ways of its own', () => {
  const service = { name: 'db', image: 'd' }
  test.each<[Partial<LaunchSpec>, Partial<EngineFacts>, string]>([
    [{ resources: { gpus: 1 } }, { deviceRequests: false }, 'resources.gpus'],
    [{ settings: { deviceRequests: [{ count: 1 }] } }, { deviceRequests: false }, 'settings.deviceRequests'],
    [{ mounts: [{ target: '/v', source: { kind: 'volume', name: 'v' } }] }, { volumeLabels: false }, 'mounts.volume'],
    [{ services: [service] }, { lateNetworks: false }, 'services'],
    [{ settings: { network: { scope: 'pool' } } }, { lateNetworks: false }, 'settings.network.scope'],
    [{ network: { egress: 'restricted' } }, { lateNetworks: false }, 'network.egress.restricted'],
  ])('%j with %j is refused at %s', (...[parts, ways, path]) => {
    const open = { ...honoured, rules: rulesOf({ firewall: { image: 'f' } }) }
    const check = (engine: EngineFacts): void => checkSpec(spec(parts), open, engine)
    expect(() => check({ ...facts, ...ways })).toThrow(
      expect.objectContaining({ code: 'unsupported', effect: 'none', path }) as Error,
    )
    expect(() => check(facts)).not.toThrow()
  })
})
