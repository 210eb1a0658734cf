import { findDocker } from '@muster/test/systems/docker'
import { engineJson } from '@muster/test/systems/engine'
import { suiteWith } from '@muster/test/systems/presence'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createEngine, type EngineRequest } from '../client.ts'
import { busybox, callOf, createHarness, type Harness, readAll } from '../testing/harness.test.helper.ts'
import { label, labelsOf } from '../labels.ts'

suiteWith(await findDocker(), 'launch on a real engine', (docker) => {
  let harness: Harness
  beforeAll(async () => {
    harness = await createHarness(docker.socket)
  })
  afterAll(() => harness.clean())

  const named = async (id: string): Promise<string[]> => (await harness.left()).filter((name) => name === `/muster-${id}`)

  test('the same id twice, 20 at once and from two provider objects is one worker', async () => {
    const spec = harness.hold()
    const other = harness.another()
    const launched = await Promise.all(
      Array.from({ length: 20 }, (_, index) => (index % 2 === 0 ? harness.provider : other).launch(spec, callOf())),
    )
    expect(new Set(launched.map(({ handle }) => JSON.stringify(handle))).size).toBe(1)
    expect(await harness.provider.launch(spec, callOf())).toEqual(launched[0])
    expect(await named(spec.id)).toHaveLength(1)
    expect(await harness.phase(spec.id)).toBe('running')
  })

  test('with files too: each launch answers only when the worker has them', async () => {
    const files = [{ path: '/etc/made', base64: Buffer.from('made').toString('base64') }]
    const spec = harness.spec({ work: { mode: 'command', command: ['cat', '/etc/made'] }, files })
    await Promise.all(Array.from({ length: 6 }, () => harness.another().launch(spec, callOf())))
    expect((await harness.exit(spec.id)).code).toBe(0)
  })

  test('a command that another process has begun, and that has ended, is not begun again', async () => {
    const spec = harness.command('echo', 'once')
    const engine = createEngine({ socketPath: docker.socket })
    const json = engine.json.bind(engine)
    engine.json = async <T>(request: EngineRequest): Promise<T> => {
      const answer = await json<T>(request)
      if (request.path !== '/containers/create') return answer
      // Held between its create and its start, until the other one has done both and the command is over.
      await harness.provider.launch(spec, callOf())
      await harness.exit(spec.id)
      return answer
    }
    await harness.another(engine).launch(spec, callOf())
    await harness.exit(spec.id)
    expect((await readAll(harness.provider, spec.id)).stdout.toString()).toBe('once\n')
  })

  test('the same id with another spec is a conflict', async () => {
    const spec = harness.hold()
    await harness.provider.launch(spec, callOf())
    const other = harness.provider.launch({ ...spec, env: { A: '1' } }, callOf())
    await expect(other).rejects.toMatchObject({ code: 'conflict', effect: 'none' })
  })

  test('a container that was made but not started is listed, then started by the next launch', async () => {
    const spec = harness.command('sh', '-c', 'cat /made')
    spec.files = [{ path: '/made', base64: Buffer.from('made').toString('base64') }]
    const body = { Image: busybox, Labels: labelsOf(spec), Entrypoint: ['cat'], Cmd: ['/made'] }
    await engineJson(docker.socket, { method: 'POST', path: '/containers/create', query: { name: `muster-${spec.id}` }, body })
    const { workers } = await harness.provider.list({ tags: spec.tags, limit: 500 }, callOf())
    expect(workers.find(({ id }) => id === spec.id)).toMatchObject({ phase: 'provisioning', ready: false })
    await harness.provider.launch(spec, callOf())
    expect(await harness.exit(spec.id)).toMatchObject({ code: 0 })
  })

  test("somebody else's container of that name is a conflict, and is left alone", async () => {
    const spec = harness.hold()
    const body = { Image: busybox, Labels: { 'muster-owner': harness.owner }, Cmd: ['true'] }
    await engineJson(docker.socket, { method: 'POST', path: '/containers/create', query: { name: `muster-${spec.id}` }, body })
    await expect(harness.provider.launch(spec, callOf())).rejects.toMatchObject({ code: 'conflict', effect: 'none' })
    expect(await harness.provider.terminate({ id: spec.id }, { graceMs: 0, force: true, reason: 'test' }, callOf())).toEqual({
      state: 'gone',
    })
    expect(await named(spec.id)).toHaveLength(1)
  })

  test('a launch that is terminated meanwhile leaves nothing', async () => {
    for (const wait of [0, 5, 20, 60, 120]) {
      const spec = harness.hold()
      const launching = harness.provider.launch(spec, callOf()).then(
        () => 'launched',
        (error: { code: string }) => error.code,
      )
      // paced: the terminate has to meet the launch at different moments of it.
      await new Promise((resolve) => setTimeout(resolve, wait))
      const terminated = await harness.provider.terminate({ id: spec.id }, { graceMs: 0, force: true, reason: 'test' }, callOf())
      expect(['launched', 'cancelled']).toContain(await launching)
      expect(terminated).toEqual({ state: 'gone' })
      expect(await named(spec.id)).toEqual([])
    }
  })

  describe('what the spec says is seen inside the worker', () => {
    const inside = async (parts: Parameters<Harness['spec']>[0], script: string): Promise<string> => {
      const { exit, stdout, stderr } = await harness.run(
        harness.spec({ ...parts, work: { mode: 'command', command: ['sh', '-c', script] } }),
      )
      expect({ code: exit.code, stderr: stderr.toString() }).toEqual({ code: 0, stderr: '' })
      return stdout.toString()
    }

    test('env, workdir and user', async () => {
      const parts = { env: { A: 'b c=d', EMPTY: '' }, workdir: '/made/here', security: { user: 'user' } }
      expect(await inside(parts, 'echo "$A|$EMPTY"; pwd; id -u; : >written; stat -c %u .')).toBe(
        'b c=d|\n/made/here\n1000\n1000\n',
      )
    })

    test('a working directory of the image stays as it is', async () => {
      expect(await inside({ workdir: '/tmp', security: { user: '1000:1000' } }, 'stat -c "%a %u" .')).toBe('1777 0\n')
    })

    test('files belong to the user, with their mode, in folders that are made', async () => {
      const file = (path: string, mode?: number) => ({
        path,
        base64: Buffer.from(path).toString('base64'),
        ...(mode === undefined ? {} : { mode }),
      })
      const parts = { files: [file('a/b'), file('/opt/c', 0o755), file('d', 0o400)], workdir: '/w', security: { user: '1000' } }
      expect(await inside(parts, 'for f in a/b /opt/c d; do echo "$(cat $f) $(stat -c "%a %u" $f)"; done; stat -c %u a')).toBe(
        'a/b 600 1000\n/opt/c 755 1000\nd 400 1000\n1000\n',
      )
    })

    test('limits', async () => {
      const parts = { resources: { cpu: 0.5, memoryBytes: 64 * 1024 * 1024, pids: 77 } }
      const v1 =
        'cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes memory/memory.memsw.limit_in_bytes pids/pids.max cpu/cpu.cfs_quota_us'
      const v2 = 'cd /sys/fs/cgroup; cat memory.max pids.max; cut -d" " -f1 cpu.max'
      const seen = await inside(parts, `if [ -d /sys/fs/cgroup/memory ]; then ${v1}; else ${v2}; fi | sort -u`)
      expect(seen.split('\n').toSorted()).toEqual(['', '50000', '67108864', '77'])
    })

    test('a tmpfs of its size, on which programs can run', async () => {
      const parts = { mounts: [{ target: '/scratch', source: { kind: 'tmpfs' as const, bytes: 1024 * 1024 } }] }
      const script =
        'df -k /scratch | tail -1 | tr -s " " | cut -d" " -f2; printf "#!/bin/sh\\necho runs\\n" >/scratch/x; chmod +x /scratch/x; /scratch/x'
      expect(await inside(parts, script)).toBe('1024\nruns\n')
    })

    test('no network, and one', async () => {
      const script = 'ls /sys/class/net | tr "\\n" " "'
      expect(await inside({ network: { egress: 'none' } }, script)).toBe('lo ')
      expect(await inside({ network: { egress: 'full' } }, script)).toContain('eth0')
    })

    test('read-only root, no new privileges, capabilities', async () => {
      const security = {
        readOnlyRoot: true,
        noNewPrivileges: true,
        capabilitiesDrop: ['ALL'],
        capabilitiesAdd: ['NET_BIND_SERVICE'],
      }
      const script = '(: >/x) 2>/dev/null || echo read-only; grep -E "NoNewPrivs|CapEff" /proc/self/status | tr -d "\\t"'
      expect(await inside({ security }, script)).toBe('read-only\nCapEff:0000000000000400\nNoNewPrivs:1\n')
    })

    test('os, arch and labels', async () => {
      const spec = harness.spec({ os: 'linux', arch: process.arch === 'arm64' ? 'arm64' : 'amd64', labels: { team: 'a b' } })
      await harness.provider.launch(spec, callOf())
      const path = `/containers/muster-${spec.id}/json`
      const { Config } = await engineJson<{ Config: { Labels: Record<string, string> } }>(docker.socket, { path })
      expect(Config.Labels).toMatchObject({ ...spec.tags, [`${label.user}team`]: 'a b' })
    })
  })

  describe('what cannot be is refused, with nothing left', () => {
    const other = process.arch === 'arm64' ? 'amd64' : 'arm64'
    test.each([
      ['restricted egress', { network: { egress: 'restricted' } }, 'unsupported', 'network.egress.restricted'],
      ['unknown settings', { settings: { x: 1 } }, 'invalid-spec', 'settings'],
      ['another os', { os: 'windows' }, 'unsupported', 'os'],
      ['another processor', { arch: other }, 'unsupported', 'arch'],
      ['no image', { image: undefined }, 'invalid-spec', 'image'],
      ['a name that is none', { image: 'UPPER' }, 'invalid-spec', 'image'],
      ['more cpus than there are', { resources: { cpu: 100_000 } }, 'unsupported', 'resources.cpu'],
      ['more memory than there is', { resources: { memoryBytes: 2 ** 50 } }, 'unsupported', 'resources.memoryBytes'],
      ['a user that is not there', { security: { user: 'nobody-here' } }, 'invalid-spec', 'security.user'],
      ['a capability that is none', { security: { capabilitiesAdd: ['CAP_NONE'] } }, 'invalid-spec', 'security'],
      ['too much environment', { env: { BIG: 'x'.repeat(200_000) } }, 'invalid-spec', 'env'],
      ['a workdir that is a file', { workdir: '/etc/passwd' }, 'invalid-spec', 'workdir'],
      [
        'a file under a mount',
        { files: [{ path: '/t/x', base64: '' }], mounts: [{ target: '/t', source: { kind: 'tmpfs' } }] },
        'unsupported',
        'files',
      ],
    ] as const)('%s', async (...[, parts, code, path]) => {
      const spec = harness.spec(parts as Parameters<Harness['spec']>[0])
      if ('image' in parts && parts.image === undefined) delete spec.image
      await expect(harness.provider.launch(spec, callOf())).rejects.toMatchObject({ code, path, effect: 'none' })
      expect(await named(spec.id)).toEqual([])
    })
  })

  test('less than an engine gives is rounded up, and said', async () => {
    const spec = harness.spec({ resources: { cpu: 0.001, memoryBytes: 1024, pids: 20 } })
    const { granted } = await harness.provider.launch(spec, callOf())
    expect(granted).toEqual({ cpu: 0.01, memoryBytes: 6 * 1024 * 1024, pids: 20 })
  })
})
