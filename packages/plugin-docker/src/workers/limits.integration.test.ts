import { readFile } from 'node:fs/promises'
import type { LaunchSpec } from '@muster/core'
import { findDocker } from '@muster/test/systems/docker'
import { engineJson } from '@muster/test/systems/engine'
import { suiteWith } from '@muster/test/systems/presence'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { callOf, createHarness, type Harness } from '../testing/harness.test.helper.ts'

const MiB = 1024 * 1024

suiteWith(await findDocker(), 'limits and security on a real engine', (docker) => {
  let harness: Harness
  beforeAll(async () => {
    harness = await createHarness(docker.socket)
  })
  afterAll(() => harness.clean())

  const inside = async (parts: Partial<LaunchSpec>, script: string): Promise<string> => {
    const { exit, stdout, stderr } = await harness.run(
      harness.spec({ ...parts, work: { mode: 'command', command: ['sh', '-c', script] } }),
    )
    expect({ code: exit.code, stderr: stderr.toString() }).toEqual({ code: 0, stderr: '' })
    return stdout.toString()
  }

  test('each limit of the settings is seen inside the worker', async () => {
    const settings = {
      cpuShares: 512,
      cpuset: '0',
      swapBytes: 32 * MiB,
      shmBytes: 8 * MiB,
      ulimits: { nofile: { soft: 100, hard: 200 }, nproc: 300, core: 0 },
      groups: ['4321'],
    }
    const script = [
      'cd /sys/fs/cgroup',
      'cat cpu/cpu.shares cpuset/cpuset.cpus memory/memory.memsw.limit_in_bytes 2>/dev/null || { cat cpu.weight cpuset.cpus memory.swap.max; }',
      'df -k /dev/shm | tail -n 1 | tr -s " " | cut -d" " -f2',
      'ulimit -Sn; ulimit -Hn; ulimit -Su; ulimit -c; id -G',
    ].join('\n')
    const [shares, cpuset, swap, ...rest] = (await inside({ resources: { memoryBytes: 64 * MiB }, settings }, script)).split('\n')
    expect([shares, cpuset, swap]).toEqual(shares === '512' ? ['512', '0', String(96 * MiB)] : ['20', '0', String(32 * MiB)])
    expect(rest).toEqual(['8192', '100', '200', '300', '0', '0 4321', ''])
  })

  test('a device of the settings is there, with the access that was given', async () => {
    const settings = { devices: [{ path: '/dev/kmsg', target: '/dev/mine', access: 'w' }] }
    const script = '(: >/dev/mine) && echo writable; (: </dev/mine) 2>/dev/null || echo unreadable'
    expect(await inside({ settings }, script)).toBe('writable\nunreadable\n')
  })

  test('a privileged worker that the operator allows has all of it, or is refused where the machine itself has not all', async () => {
    const settings = { allow: ['privileged'] }
    // Beside it one that is not: the power alone gives nothing.
    const plain = 'mkdir /m; mount -t tmpfs none /m 2>/dev/null || echo refused; [ -e /dev/kmsg ] || echo none'
    expect(await inside({ settings }, plain)).toBe('refused\nnone\n')
    const parts = { security: { privileged: true }, settings }
    const last = Number(await readFile('/proc/sys/kernel/cap_last_cap', 'utf8'))
    const bounding = /^CapBnd:\s*([0-9a-f]+)$/m.exec(await readFile('/proc/self/status', 'utf8'))?.[1] ?? ''
    if (BigInt(`0x${bounding}`) !== (1n << BigInt(last + 1)) - 1n) {
      const spec = harness.spec(parts)
      const refusal = {
        code: 'unsupported',
        path: 'security',
        effect: 'none',
        message: expect.stringContaining('caps') as string,
      }
      await expect(harness.provider.launch(spec, callOf())).rejects.toMatchObject(refusal)
      expect(await harness.left()).not.toContain(`/muster-${spec.id}`)
      return
    }
    const script = [
      'mkdir /m; mount -t tmpfs none /m && : >/m/f; mount | grep -c " /m "',
      '[ -e /dev/kmsg ] && echo devices',
      'grep -E "^(CapEff|CapBnd|NoNewPrivs|Seccomp):" /proc/self/status | tr -s "\\t" " "',
    ].join('\n')
    const lines = (await inside(parts, script)).trim().split('\n')
    expect(lines.slice(0, 2)).toEqual(['1', 'devices'])
    const of = (key: string): string => lines.find((line) => line.startsWith(key))?.split(' ')[1] ?? ''
    expect([of('NoNewPrivs'), of('Seccomp'), of('CapEff'), of('CapBnd')]).toEqual(['0', '0', bounding, bounding])
  })

  test('the resolvers of a worker, and the stop timeout of its engine, are those that its pool names', async () => {
    const settings = { network: { dns: ['192.0.2.53'] }, stopTimeoutSeconds: 7 }
    const spec = harness.hold({ settings })
    await harness.provider.launch(spec, callOf())
    expect((await harness.exec(spec.id, ['grep', 'nameserver', '/etc/resolv.conf'])).stdout).toBe('nameserver 192.0.2.53\n')
    const { Config } = await engineJson<{ Config: { StopTimeout: number } }>(docker.socket, {
      path: `/containers/muster-${spec.id}/json`,
    })
    expect(Config.StopTimeout).toBe(7)
    await harness.gone(spec.id, 0)
  })

  test('without a word a worker has no capability, gains none, and is filtered', async () => {
    const script = 'grep -E "Cap(Eff|Prm|Bnd|Amb)|NoNewPrivs|Seccomp:" /proc/self/status | tr -d "\\t"'
    const none = ['CapPrm', 'CapEff', 'CapBnd', 'CapAmb'].map((name) => `${name}:0000000000000000\n`).join('')
    expect(await inside({}, script)).toBe(`${none}NoNewPrivs:1\nSeccomp:2\n`)
  })

  test("the operator can leave the engine's own capabilities, and choose the filter", async () => {
    const script = 'grep -E "CapBnd|Seccomp:" /proc/self/status | tr -d "\\t"; chown 1000 /tmp && mkdir /tmp/x && echo done'
    const own = await inside({ settings: { capabilities: 'engine', seccomp: 'unconfined' } }, script)
    expect(own).toMatch(/^CapBnd:00000000a[08][0-9a-f]{6}\nSeccomp:0\ndone\n$/)
    const seccomp = {
      defaultAction: 'SCMP_ACT_ALLOW',
      syscalls: [{ names: ['mkdir', 'mkdirat'], action: 'SCMP_ACT_ERRNO', errnoRet: 1 }],
    }
    expect(await inside({ settings: { seccomp } }, 'mkdir /tmp/x 2>/dev/null || echo filtered')).toBe('filtered\n')
  })

  test("the machine's namespaces only by the settings", async () => {
    const shown = async (settings?: object): Promise<string> =>
      inside(
        settings === undefined ? {} : { settings },
        'readlink /proc/self/ns/net; readlink /proc/self/ns/ipc; cat /proc/1/comm',
      )
    const [own, shared] = [await shown(), await shown({ hostNamespaces: ['network', 'ipc', 'pid'] })]
    expect(own.split('\n').filter((line) => shared.split('\n').includes(line))).toEqual([''])
  })

  test('a death for lack of memory says how much it had reached', async () => {
    const spec = harness.spec({
      work: { mode: 'command', command: ['tail', '/dev/zero'] },
      resources: { memoryBytes: 16 * MiB },
    })
    await harness.provider.launch(spec, callOf())
    expect(await harness.exit(spec.id)).toMatchObject({
      oomKilled: true,
      reason: `out of memory: it reached its limit of ${16 * MiB} bytes`,
    })
  })

  describe('what this engine cannot do, or the operator did not allow, is refused by name with nothing left', () => {
    test.each<[string, Partial<LaunchSpec>, string, string]>([
      ['a weight of its disk', { settings: { ioWeight: 300 } }, 'unsupported', 'settings.ioWeight'],
      ['AppArmor', { settings: { apparmor: 'docker-default' } }, 'unsupported', 'settings.apparmor'],
      ['a GPU', { resources: { gpus: 1 } }, 'unsupported', 'resources.gpus'],
      [
        'a device of a driver',
        { settings: { deviceRequests: [{ driver: 'none', count: 1, capabilities: ['tpu'] }] } },
        'unsupported',
        'settings.deviceRequests',
      ],
      ['a device that is not there', { settings: { devices: [{ path: '/dev/none' }] } }, 'unsupported', 'settings.devices'],
      ['a CPU that is not there', { settings: { cpuset: '4000' } }, 'capacity', 'settings.cpuset'],
      ['privileged', { security: { privileged: true } }, 'unsupported', 'security.privileged'],
      ['swap without memory', { settings: { swapBytes: 1 } }, 'invalid-spec', 'settings.swapBytes'],
      ['a limit that is none', { settings: { ulimits: { files: 1 } } }, 'invalid-spec', 'settings.ulimits.files'],
      ['a profile that is none', { settings: { seccomp: { syscalls: 'x' } } }, 'invalid-spec', 'settings.seccomp'],
      ['disk', { resources: { diskBytes: MiB } }, 'unsupported', 'resources.diskBytes'],
    ])('%s', async (...[, parts, code, path]) => {
      const spec = harness.spec(parts)
      await expect(harness.provider.launch(spec, callOf())).rejects.toMatchObject({ code, path, effect: 'none' })
      expect(await harness.left()).not.toContain(`/muster-${spec.id}`)
    })
  })
})
