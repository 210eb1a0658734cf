import { symlink } from 'node:fs/promises'
import { join } from 'node:path'
import { tempFolder } from '@muster/test/systems/temp'
import { expect, test, vi } from 'vitest'
import { cageLimits, cagesAreHere, openCage, placesOf, switchedOn } from './cage.ts'
import { plainManifest } from './testing/manifest.ts'

const v1 = (controllers: string): string =>
  `30 25 0:26 / /sys/fs/cgroup/${controllers} rw,nosuid shared:9 - cgroup cgroup rw,${controllers}`
const v2 = '29 25 0:25 / /sys/fs/cgroup rw,nosuid shared:8 - cgroup2 cgroup2 rw'

test('cages lie in the own group of version 1, and at the top of version 2', () => {
  const own = '4:memory:/service\n3:cpu,pids:/\n1:name=systemd:/x\n0::/service\n'
  expect(placesOf([v1('memory'), v1('cpu,pids'), v1('cpuset'), 'no line'].join('\n'), own)).toEqual([
    { version: 1, folder: '/sys/fs/cgroup/memory/service', controllers: ['memory'] },
    { version: 1, folder: '/sys/fs/cgroup/cpu,pids', controllers: ['pids'] },
  ])
  expect(placesOf(v2, own)).toEqual([{ version: 2, folder: '/sys/fs/cgroup', controllers: ['memory', 'pids'] }])
  expect(placesOf('31 25 0:27 / /x rw - tmpfs tmpfs rw,memory', own)).toEqual([])
  expect(placesOf('', '')).toEqual([])
})

test('where none can be made there is no cage, rather than one that holds nothing', async () => {
  // It is looked for once: as an ordinary user.
  const user = vi.spyOn(process, 'getuid').mockReturnValue(1000)
  try {
    expect([await cagesAreHere(), await openCage({ memoryMb: 64, pids: 20 })]).toEqual([false, undefined])
  } finally {
    user.mockRestore()
  }
})

test('who starts programs has room for them', () => {
  const plain = plainManifest('x')
  expect(cageLimits(plain)).toEqual({ memoryMb: 256, pids: 64 })
  const permissions = { ...plain.permissions, childProcess: true }
  expect(cageLimits({ ...plain, permissions })).toEqual({ memoryMb: 1280, pids: 576 })
})

test('a folder has the controllers that it names, all of those that are asked for; one that says nothing has none', async () => {
  await using temp = await tempFolder('cage')
  expect(await switchedOn({ folder: join(temp.path, 'none'), controllers: ['memory'] })).toBe(false)
  // Nobody writes there: it says what it says.
  await symlink('/proc/sys/kernel/ostype', join(temp.path, 'cgroup.subtree_control'))
  const has = (...controllers: string[]): Promise<boolean> => switchedOn({ folder: temp.path, controllers })
  expect([await has('Linux'), await has('Linux', 'memory'), await has('memory')]).toEqual([true, false, false])
})
