/** An engine that remaps users: whoever a worker's users are on the machine, inside they are who they should be. */
import { stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { LaunchSpec } from '@muster/core'
import { type DockerEngine, findStartDocker } from '@muster/test/systems/docker'
import { engineJson } from '@muster/test/systems/engine'
import { ensureImage } from '@muster/test/systems/images'
import { suiteWith } from '@muster/test/systems/presence'
import { tempFolder, type TempFolder } from '@muster/test/systems/temp'
import { extract } from 'tar-stream'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { busybox, callOf, createHarness, execId, type Harness, tarOf } from '../testing/harness.test.helper.ts'
import { rulesOf } from '../rules.ts'

/** What the containers' root is on the machine. */
const FIRST = 300_000

suiteWith(findStartDocker(), 'an engine that remaps users', (start) => {
  let folder: TempFolder
  let engine: DockerEngine
  let harness: Harness
  beforeAll(async () => {
    folder = await tempFolder('remap')
    // Shown to that engine alone, in place of the machine's own.
    const ranges = join(folder.path, 'subid')
    await writeFile(ranges, `nobody:${FIRST}:65536\nnogroup:${FIRST}:65536\n`)
    const show = 'mount --bind "$0" /etc/subuid && mount --bind "$0" /etc/subgid && exec "$@"'
    const socket = join(folder.path, 'engine.sock')
    // The same provider has known another engine at this place: what it knows of that one is forgotten.
    const before = await start({ socket })
    const firewall = { image: await ensureImage(socket, 'firewall') }
    harness = await createHarness(socket, { rules: rulesOf({ firewall }, socket) })
    await harness.provider.headroom(callOf())
    await before.stop()
    const under = ['unshare', '--mount', 'sh', '-c', show, ranges]
    engine = await start({ socket, args: ['--userns-remap=nobody:nogroup'], under })
    await Promise.all([ensureImage(socket, 'firewall'), ensureImage(socket, 'busybox')])
  })
  afterAll(async () => {
    await harness.clean()
    await engine.stop()
    await folder.remove()
    expect(await engine.traces()).toEqual([])
  })

  const launched = async (spec: LaunchSpec): Promise<LaunchSpec> => {
    await harness.provider.launch(spec, callOf())
    return spec
  }
  const sh = async (id: string, script: string, user?: string): Promise<string> =>
    (await harness.exec(id, ['sh', '-c', script], user === undefined ? {} : { user })).stdout
  /** Owner of the first process of the worker, on the machine. */
  const machineUser = async (id: string): Promise<number> => {
    const { State } = await engineJson<{ State: { Pid: number } }>(engine.socket, { path: `/containers/muster-${id}/json` })
    return (await stat(`/proc/${State.Pid}`)).uid
  }
  const owners = async (id: string, path: string): Promise<string[]> => {
    const tar = extract()
    const seen: string[] = []
    const read = (async () => {
      for await (const entry of tar) {
        seen.push(`${entry.header.name} ${entry.header.uid}:${entry.header.gid}`)
        entry.resume()
      }
    })()
    for await (const chunk of harness.provider.copyOut({ id }, path, callOf())) tar.write(chunk)
    tar.end(undefined)
    await read
    return seen
  }

  test.each([
    ['root', undefined, 0],
    ['a user', '1000', 1000],
  ] as const)(
    'files of %s belong to it, inside and when they come out, and it is nobody on the machine',
    async (...[, user, uid]) => {
      const file = { path: 'made/file', base64: Buffer.from('text').toString('base64') }
      const security = user === undefined ? {} : { security: { user } }
      const { id } = await launched(harness.hold({ ...security, workdir: '/w', files: [file] }))
      await harness.provider.copyIn({ id }, { path: 'copied', tar: tarOf('in') }, callOf())
      expect(await machineUser(id)).toBe(FIRST + uid)
      expect(
        await sh(id, 'id -u; stat -c "%u %g" . made made/file copied copied/in; cat made/file; : >written && echo wrote'),
      ).toBe(`${uid}\n${`${uid} ${uid}\n`.repeat(5)}textwrote\n`)
      expect(await owners(id, '/w/made')).toEqual([`made/ ${uid}:${uid}`, `made/file ${uid}:${uid}`])
      expect(await harness.observe(id)).toMatchObject({ id, phase: 'running', ready: true })
      await harness.gone(id, 600_000)
    },
  )

  test('a command of another user is known again, and ended', async () => {
    const { id } = await launched(harness.hold())
    const [done, lasting] = [execId(), execId()]
    const ended = await harness.exec(id, ['sh', '-c', 'id -u; exit 3'], { id: done, user: '1234' })
    expect(ended).toMatchObject({ exit: { code: 3 }, stdout: '1234\n' })
    expect(await harness.provider.execState({ id }, done, callOf())).toMatchObject({ state: 'exited', exit: { code: 3 } })
    const input = { id: lasting, command: ['sleep', '1000'], stdin: false, user: '1234', from: { stdout: 0, stderr: 0 } }
    const session = await harness.provider.exec({ id }, input, callOf())
    await harness.provider.execKill({ id }, { id: lasting, signal: 'SIGKILL' }, callOf())
    for await (const _ of session.output) expect.unreachable()
    expect(await session.exit).toMatchObject({ signal: 'SIGKILL' })
  })

  test('a worker with a volume, rules and a service is made whole, and goes whole', async () => {
    const parts = {
      network: { egress: 'restricted' as const },
      services: [{ name: 'beside', image: busybox, command: ['sh', '-c', 'while :; do echo here | nc -l -p 7000; done'] }],
      mounts: [{ target: '/v', source: { kind: 'volume' as const, name: 'v' } }],
    }
    const { id, tags } = await launched(harness.hold(parts))
    expect(await sh(id, ': >/v/x; stat -c %u /v/x; until nc -w 5 beside 7000 </dev/null | grep here; do sleep 0.05; done')).toBe(
      '0\nhere\n',
    )
    const { workers } = await harness.provider.list({ tags, limit: 500 }, callOf())
    expect(workers.map((worker) => worker.id)).toContain(id)
    await harness.gone(id, 0)
    expect((await harness.left()).filter((name) => name.includes(id))).toEqual([])
  })

  test('what such an engine does not give is refused by its path', async () => {
    const refused = async (parts: Partial<LaunchSpec>): Promise<unknown> =>
      harness.provider
        .launch(harness.hold(parts), callOf())
        .catch(({ code, path }: { code: string; path: string }) => `${code} ${path}`)
    const allow = ['privileged']
    expect(await refused({ security: { privileged: true }, settings: { allow } })).toBe('unsupported security.privileged')
    expect(await refused({ settings: { hostNamespaces: ['network'] } })).toBe('unsupported settings.hostNamespaces')
    const files = [{ path: '/a', base64: '' }]
    expect(await refused({ files, settings: { hostNamespaces: ['users'] } })).toBe('unsupported files')
  })

  test.each([
    ['root', undefined, 0],
    ['a user', '1000', 1000],
  ] as const)(
    "%s of a worker with the machine's users is who it is there, runs commands, and what it has made comes out as its own",
    async (...[, user, uid]) => {
      const security = user === undefined ? {} : { security: { user } }
      const { id } = await launched(harness.hold({ ...security, settings: { hostNamespaces: ['users'] } }))
      expect(await machineUser(id)).toBe(uid)
      expect(await sh(id, 'id -u; : >/tmp/made; stat -c %u /tmp/made')).toBe(`${uid}\n${uid}\n`)
      // The image belongs to the remapped root: others than the worker's own user find their folder all the same.
      expect(await sh(id, 'id -u', '1234')).toBe('1234\n')
      expect(await owners(id, '/tmp/made')).toEqual([`made ${uid}:${uid}`])
      await harness.provider.suspend({ id }, { keeps: 'disk' }, callOf())
      await harness.provider.resume({ id }, callOf())
      expect(await sh(id, 'id -u; cat /tmp/made')).toBe(`${uid}\n`)
      await harness.gone(id, 0)
    },
  )
})
