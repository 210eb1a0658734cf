import type { LaunchSpec } from '@muster/core'
import { describe, expect, test } from 'vitest'
import type { EngineFacts } from '../engine/facts.ts'
import { checkLimits, droppedPath, limitsOf } from './limits.ts'
import { stepsOf } from './links.ts'
import { facts, id, refusal, spec, tags } from '../testing/pure.test.helper.ts'
import { rulesOf } from '../rules.ts'
import { checkSecurity, securityOf } from './security.ts'
import { type DockerSettings, settingsOf } from '../settings.ts'
import { bindsOf, cachesOf, checkMounts, mountsOf, staleCaches } from './storage.ts'

const remapped = { ...facts, security: { ...facts.security, userns: true } }
const binds = [{ path: '/srv/read' }, { path: '/srv/write', writable: true }, { path: '/srv/engine' }, { path: '/' }]
const open = rulesOf({ firewall: { image: 'f' }, binds }, '/srv/engine/docker.sock')

describe('settings', () => {
  test.each<[unknown, string]>([
    [undefined, 'none'],
    [{}, 'none'],
    [{ memory: 1 }, 'invalid-spec settings'],
    [{ allow: ['everything'] }, 'invalid-spec settings.allow.0'],
    [{ devices: [{ path: 'dev/null' }] }, 'invalid-spec settings.devices.0.path'],
    [{ devices: [{ path: '/dev/a:/b' }] }, 'invalid-spec settings.devices.0.path'],
    [{ cpuset: '0-' }, 'invalid-spec settings.cpuset'],
    [{ network: { hosts: { a: 'b' } } }, 'invalid-spec settings.network.hosts.a'],
    [{ network: { publish: [{ port: 0 }] } }, 'invalid-spec settings.network.publish.0.port'],
  ])('%j: %s', (settings, expected) => {
    expect(refusal(() => settingsOf({ settings }))).toBe(expected)
  })
})

describe('rules of the operator', () => {
  test.each([
    ['/srv/../etc', 'invalid-spec config.binds.0.path'],
    ['/srv//x', 'invalid-spec config.binds.0.path'],
    ['/srv/', 'invalid-spec config.binds.0.path'],
    ['/', 'none'],
    ['/srv', 'none'],
  ])('a bind of %s: %s', (path, expected) => {
    expect(refusal(() => rulesOf({ binds: [{ path }] }))).toBe(expected)
  })

  test('its firewall has the name of an image', () => {
    expect(refusal(() => rulesOf({ firewall: { image: 'a//b' } }))).toBe('invalid-spec config.firewall.image')
  })

  test('what workers may write has no other bind below it', () => {
    const below = { path: '/srv/a/b' }
    expect(refusal(() => rulesOf({ binds: [below, { path: '/srv/a', writable: true }] }))).toBe(
      'invalid-spec config.binds.0.path',
    )
    expect(refusal(() => rulesOf({ binds: [below, { path: '/srv/a' }] }))).toBe('none')
    expect(refusal(() => rulesOf({ binds: [below, { path: '/', writable: true }] }))).toBe('invalid-spec config.binds.0.path')
    expect(refusal(() => rulesOf({ binds: [{ path: '/srv/ab' }, { path: '/srv/a', writable: true }] }))).toBe('none')
  })
})

describe('limits', () => {
  test.each<[DockerSettings, Partial<LaunchSpec>, object]>([
    [{ swapBytes: 5 }, { resources: { memoryBytes: 1e9 } }, { Memory: 1e9, MemorySwap: 1e9 + 5 }],
    [
      { ulimits: { nofile: 5, core: { soft: 1, hard: -1 } } },
      {},
      {
        Ulimits: [
          { Name: 'nofile', Soft: 5, Hard: 5 },
          { Name: 'core', Soft: 1, Hard: -1 },
        ],
      },
    ],
    [
      { devices: [{ path: '/dev/a' }] },
      {},
      { Devices: [{ PathOnHost: '/dev/a', PathInContainer: '/dev/a', CgroupPermissions: 'rwm' }] },
    ],
    [{}, { resources: { gpus: 2 } }, { DeviceRequests: [{ Driver: '', Count: 2, DeviceIDs: [], Capabilities: [['gpu']] }] }],
    [
      { deviceRequests: [{ ids: ['a'] }] },
      {},
      { DeviceRequests: [{ Driver: '', Count: 0, DeviceIDs: ['a'], Capabilities: [['gpu']] }] },
    ],
    [
      { ioWeight: 10, cpuShares: 2, cpuset: '0', shmBytes: 1 },
      {},
      { BlkioWeight: 10, CpuShares: 2, CpusetCpus: '0', ShmSize: 1 },
    ],
  ])('%j %j', (settings, parts, expected) => {
    expect(limitsOf(spec(parts), settings)).toEqual(expected)
  })

  test.each<[DockerSettings, Partial<LaunchSpec>, string]>([
    [{ cpuShares: 2 }, {}, 'unsupported settings.cpuShares'],
    [{ cpuset: '0' }, {}, 'unsupported settings.cpuset'],
    [{ swapBytes: 1 }, { resources: { memoryBytes: 1 } }, 'unsupported settings.swapBytes'],
  ])('%j that the kernel has not is refused', (settings, parts, expected) => {
    const none = { ...facts, limits: { ...facts.limits, cpuShares: false, cpuset: false, swap: false } }
    expect(refusal(() => checkLimits(spec(parts), settings, none))).toBe(expected)
    expect(refusal(() => checkLimits(spec(parts), settings, facts))).toBe('none')
  })

  test.each<[DockerSettings, Partial<LaunchSpec>, string]>([
    [{ ulimits: { nofile: { soft: 2, hard: 1 } } }, {}, 'invalid-spec settings.ulimits.nofile'],
    [{ ulimits: { nofile: { soft: -1, hard: 1 } } }, {}, 'invalid-spec settings.ulimits.nofile'],
    [{ ulimits: { nofile: { soft: -1, hard: -1 } } }, {}, 'none'],
    [{ deviceRequests: [] }, { resources: { gpus: 1 } }, 'invalid-spec settings.deviceRequests'],
  ])('%j: %s', (settings, parts, expected) => {
    expect(refusal(() => checkLimits(spec(parts), settings, facts))).toBe(expected)
  })

  test('a warning counts when it is of something that was asked for', () => {
    const warning = 'Your kernel does not support Block I/O weight or the cgroup is not mounted. Weight discarded.'
    expect(droppedPath(warning, spec({ settings: { ioWeight: 10 } }))).toBe('settings.ioWeight')
    expect(droppedPath(warning, spec())).toBeUndefined()
    expect(droppedPath('IPv4 forwarding is disabled', spec({ settings: { ioWeight: 10 } }))).toBeUndefined()
    expect(droppedPath('Your kernel does not support that', spec())).toBeUndefined()
  })
})

describe('security', () => {
  test.each<[DockerSettings, LaunchSpec['security'], object]>([
    [{}, undefined, { CapDrop: ['ALL'], SecurityOpt: ['no-new-privileges=true'] }],
    [{ capabilities: 'engine' }, { noNewPrivileges: false }, { CapDrop: [], SecurityOpt: ['no-new-privileges=false'] }],
    [{ allow: ['privileged'] }, { privileged: true }, { Privileged: true, SecurityOpt: ['no-new-privileges=false'] }],
    [
      { seccomp: { x: 1 }, apparmor: 'a', groups: ['g'], hostNamespaces: ['pid', 'ipc', 'users'] },
      { capabilitiesAdd: ['CHOWN'], capabilitiesDrop: ['ALL'] },
      {
        CapDrop: ['ALL'],
        CapAdd: ['CHOWN'],
        SecurityOpt: ['no-new-privileges=true', 'seccomp={"x":1}', 'apparmor=a'],
        GroupAdd: ['g'],
        ...{ PidMode: 'host', IpcMode: 'host', UsernsMode: 'host' },
      },
    ],
  ])('%j %j', (settings, security, expected) => {
    expect(securityOf(spec(security === undefined ? {} : { security }), settings)).toEqual(expected)
  })

  test.each<[DockerSettings, Partial<LaunchSpec>, EngineFacts, string]>([
    [{}, { security: { privileged: true } }, facts, 'unsupported security.privileged'],
    [{ allow: ['privileged'] }, { security: { privileged: true } }, facts, 'none'],
    [{ allow: ['privileged'] }, { security: { privileged: true } }, remapped, 'unsupported security.privileged'],
    [{ allow: ['privileged'], hostNamespaces: ['users'] }, { security: { privileged: true } }, remapped, 'none'],
    [
      { allow: ['privileged'] },
      { security: { privileged: true, capabilitiesDrop: [] } },
      facts,
      'invalid-spec security.capabilitiesDrop',
    ],
    [
      { allow: ['privileged'] },
      { security: { privileged: true, noNewPrivileges: true } },
      facts,
      'invalid-spec security.noNewPrivileges',
    ],
    [{ allow: ['privileged'] }, { security: { privileged: true, noNewPrivileges: false } }, facts, 'none'],
    [{ allow: ['privileged'], seccomp: 'default' }, { security: { privileged: true } }, facts, 'invalid-spec settings.seccomp'],
    [{ hostNamespaces: ['users'] }, { files: [{ path: 'f', base64: '' }] }, remapped, 'unsupported files'],
    [{ hostNamespaces: ['users'] }, { files: [{ path: 'f', base64: '' }] }, facts, 'none'],
    [{ hostNamespaces: ['pid'] }, {}, remapped, 'unsupported settings.hostNamespaces'],
    [{ hostNamespaces: ['network'] }, { network: { egress: 'none' } }, facts, 'invalid-spec settings.hostNamespaces'],
    [{ apparmor: 'x' }, {}, facts, 'unsupported settings.apparmor'],
    [{ seccomp: {} }, {}, { ...facts, security: { ...facts.security, seccomp: false } }, 'unsupported settings.seccomp'],
  ])('%j %j', (...[settings, parts, engine, expected]) => {
    expect(refusal(() => checkSecurity(spec(parts), settings, engine))).toBe(expected)
  })
})

describe('storage', () => {
  const volume = { target: '/v', source: { kind: 'volume' as const, name: 'v' } }
  const bind = (path: string, readOnly?: boolean) => ({
    target: '/b',
    source: { kind: 'bind' as const, path },
    ...(readOnly === undefined ? {} : { readOnly }),
  })

  test('a volume of a worker has its tags, a cache has those of its pool', () => {
    const own = mountsOf(spec({ mounts: [volume] }), {})
    expect(own).toEqual({
      Mounts: [
        {
          ...{ Type: 'volume', Source: `muster-${id}-v`, Target: '/v', ReadOnly: false },
          VolumeOptions: { Labels: { ...tags, 'muster-part': 'volume' } },
        },
      ],
    })
    const settings: DockerSettings = { volumes: { v: { shared: true, maxAgeMs: 7, maxBytes: 9 } } }
    const shared = spec({ mounts: [volume, bind('/srv/read', true)] })
    expect(cachesOf(shared, settings)).toMatchObject([{ name: 'v', at: 'mounts.0' }])
    expect(mountsOf(shared, settings)).toMatchObject({
      Mounts: [
        { VolumeOptions: { Labels: { 'muster-cache': 'v', 'muster-cache-max-age-ms': '7', 'muster-cache-max-bytes': '9' } } },
        { Type: 'bind', Source: '/srv/read', ReadOnly: true, BindOptions: { Propagation: 'rprivate' } },
      ],
    })
    expect(JSON.stringify(mountsOf(shared, settings))).not.toContain('muster-worker')
    const names = ['o', 'other'].map((owner) => {
      const [cache] = cachesOf({ ...shared, tags: { ...tags, 'muster-owner': owner } }, settings)
      return cache?.volume
    })
    expect(new Set(names).size).toBe(2)
    expect(bindsOf(shared)).toEqual([{ path: '/srv/read', at: 'mounts.1.source.path' }])
  })

  test.each<[LaunchSpec['mounts'], DockerSettings, string]>([
    [[bind('/srv/read', true)], {}, 'none'],
    [[bind('/srv/read')], {}, 'unsupported mounts.0.readOnly'],
    [[bind('/srv/write')], {}, 'none'],
    [[bind('/srv/write/x')], {}, 'unsupported mounts.0.source.path'],
    [[bind('/srv/read/../read', true)], {}, 'invalid-spec mounts.0.source.path'],
    [[bind('/run/docker.sock')], {}, 'unsupported mounts.0.source.path'],
    [[bind('/run/docker.sock')], { allow: ['engine-socket'] }, 'none'],
    [[{ target: '/v', source: { kind: 'volume', name: 'No' } }], {}, 'invalid-spec mounts.0.source.name'],
    [[volume], { volumes: { w: {} } }, 'invalid-spec settings.volumes.w'],
    [[volume], { volumes: { v: { lock: 'exclusive' } } }, 'invalid-spec settings.volumes.v'],
    [[volume], { volumes: { v: { bytes: 1 } } }, 'unsupported settings.volumes.v.bytes'],
    [[bind('/srv/engine', true)], {}, 'unsupported mounts.0.source.path'],
    [[bind('/srv/engine', true)], { allow: ['engine-socket'] }, 'none'],
    [[bind('/', true)], {}, 'unsupported mounts.0.source.path'],
    [[bind('/', true)], { allow: ['engine-socket'] }, 'none'],
    [[bind('/var', true)], {}, 'unsupported mounts.0.source.path'],
    [[bind('/var', true)], { allow: ['engine-socket'] }, 'unsupported mounts.0.source.path'],
  ])('%j %j: %s', (mounts, settings, expected) => {
    expect(refusal(() => checkMounts(spec({ mounts: mounts ?? [] }), settings, open))).toBe(expected)
  })

  test('a cache is stale by age or size, by its own limits', () => {
    const at = '2026-01-01T00:00:00Z'
    const row = (Name: string, age?: number, bytes?: number) => ({
      Name,
      CreatedAt: at,
      UsageData: { Size: 10 },
      Labels: {
        ...(age === undefined ? {} : { 'muster-cache-max-age-ms': String(age) }),
        ...(bytes === undefined ? {} : { 'muster-cache-max-bytes': String(bytes) }),
      },
    })
    const rows = [row('free'), row('old', 999), row('young', 1000), row('large', undefined, 9), row('small', undefined, 10)]
    expect(staleCaches([...rows, { Name: 'bare', Labels: null }], Date.parse(at) + 1000)).toEqual(['old', 'large'])
  })

  test('a path is looked at part by part', () => {
    expect(stepsOf('/srv/a')).toEqual([
      { folder: '/', name: 'srv' },
      { folder: '/srv', name: 'a' },
    ])
  })
})
