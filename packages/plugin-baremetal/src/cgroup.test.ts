import { describe, expect, test } from 'vitest'
import { cgroupsOf, parseHierarchies, type Place } from './cgroup.ts'

const id = 'w1'

describe('hierarchies of a machine', () => {
  test('version 2 alone', () => {
    const mounts =
      '30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n1 2 0:3 / /proc rw - proc proc rw\n'
    expect(parseHierarchies({ mounts, own: '0::/user.slice/user-1000.slice/session-2.scope\n' })).toEqual([
      { version: 2, controllers: [], mount: '/sys/fs/cgroup', own: '/user.slice/user-1000.slice/session-2.scope' },
    ])
  })

  test('version 1, joint controllers, and version 2 beside it', () => {
    const mounts = [
      '31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw',
      '32 30 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd',
      '33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct',
      '34 30 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory',
    ].join('\n')
    expect(parseHierarchies({ mounts, own: '4:memory:/a\n3:cpu,cpuacct:/b\n1:name=systemd:/c\n0::/d\n' })).toEqual([
      { version: 2, controllers: [], mount: '/sys/fs/cgroup/unified', own: '/d' },
      { version: 1, controllers: ['cpu', 'cpuacct'], mount: '/sys/fs/cgroup/cpu,cpuacct', own: '/b' },
      { version: 1, controllers: ['memory'], mount: '/sys/fs/cgroup/memory', own: '/a' },
    ])
  })

  test('in a container a mount shows only a part of the hierarchy', () => {
    const mounts = '34 30 0:30 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory'
    expect(parseHierarchies({ mounts, own: '4:memory:/docker/abc/sub\n' })).toMatchObject([{ own: '/sub' }])
    expect(parseHierarchies({ mounts, own: '4:memory:/docker/abc\n' })).toMatchObject([{ own: '/' }])
  })
})

const place = (name: string, controllers: string[], files: string[] = []): Place => ({
  version: 1,
  parent: `/cg/${name}`,
  controllers,
  files: new Set(files),
})

const v2: Place = {
  ...place('all', ['cpu', 'memory', 'pids', 'io'], ['cgroup.kill', 'cgroup.freeze', 'memory.swap.max', 'memory.peak']),
  version: 2,
}
const v1 = [
  place('cpu', ['cpu', 'cpuacct']),
  place('memory', ['memory'], ['memory.memsw.limit_in_bytes']),
  place('pids', ['pids']),
  place('freezer', ['freezer'], ['freezer.state']),
]

describe('what a worker has', () => {
  test('of version 2', () => {
    const groups = cgroupsOf([v2])
    expect(groups).toMatchObject({ version: 'v2', can: { cpu: true, memory: true, pids: true } })
    expect(groups?.worker(id)).toEqual({
      dirs: ['/cg/all/w1'],
      parents: ['/cg/all'],
      procs: ['/cg/all/w1/cgroup.procs'],
      list: '/cg/all/w1/cgroup.procs',
      v2: '/cg/all',
      control: '+cpu +memory +pids',
      kill: '/cg/all/w1/cgroup.kill',
      freezer: { file: '/cg/all/w1/cgroup.freeze', frozen: '1', thawed: '0' },
      oom: '/cg/all/w1/memory.events',
      cpu: { file: '/cg/all/w1/cpu.stat', version: 2 },
      memory: { now: '/cg/all/w1/memory.current', peak: '/cg/all/w1/memory.peak' },
      pids: '/cg/all/w1/pids.current',
    })
    expect(groups?.limits(id, { cpu: 1.5, memoryBytes: 10_000_000, pids: 5 })).toEqual({
      lines: [
        '/cg/all/w1/memory.max 10002432',
        '/cg/all/w1/memory.swap.max 0',
        '/cg/all/w1/cpu.max 150000 100000',
        '/cg/all/w1/pids.max 5',
      ],
      granted: { memoryBytes: 10_002_432, cpu: 1.5, pids: 5 },
    })
  })

  test('of version 1', () => {
    const groups = cgroupsOf(v1)
    expect(groups?.worker(id)).toEqual({
      dirs: ['/cg/freezer/w1', '/cg/cpu/w1', '/cg/memory/w1', '/cg/pids/w1'],
      parents: ['/cg/freezer', '/cg/cpu', '/cg/memory', '/cg/pids'],
      procs: ['freezer', 'cpu', 'memory', 'pids'].map((name) => `/cg/${name}/w1/cgroup.procs`),
      list: '/cg/freezer/w1/cgroup.procs',
      freezer: { file: '/cg/freezer/w1/freezer.state', frozen: 'FROZEN', thawed: 'THAWED' },
      oom: '/cg/memory/w1/memory.oom_control',
      cpu: { file: '/cg/cpu/w1/cpuacct.usage', version: 1 },
      memory: { now: '/cg/memory/w1/memory.usage_in_bytes', peak: '/cg/memory/w1/memory.max_usage_in_bytes' },
      pids: '/cg/pids/w1/pids.current',
    })
    // The limit of memory with swap may not be below that of memory: first the one, then the other.
    expect(groups?.limits(id, { cpu: 0.25, memoryBytes: 4096 })).toEqual({
      lines: [
        '/cg/memory/w1/memory.limit_in_bytes 4096',
        '/cg/memory/w1/memory.memsw.limit_in_bytes 4096',
        '/cg/cpu/w1/cpu.cfs_period_us 100000',
        '/cg/cpu/w1/cpu.cfs_quota_us 25000',
      ],
      granted: { memoryBytes: 4096, cpu: 0.25 },
    })
  })

  test('of a version 2 without controllers: kept together and stopped, but without limits', () => {
    const groups = cgroupsOf([{ ...place('bare', [''], ['cgroup.freeze']), version: 2 }])
    expect(groups?.can).toEqual({ cpu: false, memory: false, pids: false })
    const worker = groups?.worker(id)
    expect(worker).toMatchObject({ list: '/cg/bare/w1/cgroup.procs', freezer: { frozen: '1' } })
    expect(worker?.kill).toBeUndefined()
    expect(worker?.control).toBeUndefined()
    expect(groups?.limits(id, { cpu: 1, memoryBytes: 1, pids: 1 })).toEqual({ lines: [], granted: {} })
  })

  test('of nothing', () => {
    expect(cgroupsOf([])).toBeUndefined()
  })

  test('a quota under the least the kernel takes is rounded up', () => {
    expect(cgroupsOf(v1)?.limits(id, { cpu: 0.0001 })).toMatchObject({ granted: { cpu: 0.01 } })
  })
})
