import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { LaunchSpec, Mount } from '@muster/core'
import { findDocker } from '@muster/test/systems/docker'
import { engineJson } from '@muster/test/systems/engine'
import { inventoryOf, leftOn } from '@muster/test/systems/inventory'
import { suiteWith } from '@muster/test/systems/presence'
import { tempFolder, type TempFolder } from '@muster/test/systems/temp'
import { waitFor } from '@muster/test/systems/wait'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { callOf, createHarness, type Harness } from '../testing/harness.test.helper.ts'
import { label, partLabel } from '../labels.ts'
import { rulesOf } from '../rules.ts'

suiteWith(await findDocker(), 'storage and leftovers on a real engine', (docker) => {
  let folder: TempFolder
  let harness: Harness
  beforeAll(async () => {
    folder = await tempFolder('binds')
    for (const name of ['cache', 'real']) await mkdir(join(folder.path, name))
    await writeFile(join(folder.path, 'cache/file'), 'from the machine')
    await symlink('real', join(folder.path, 'link'))
    await mkdir(join(folder.path, 'real/inner'))
    const binds = ['cache', 'link', 'link/inner', 'missing'].map((name) => ({ path: join(folder.path, name) }))
    const rules = rulesOf({ binds: [...binds, { path: join(folder.path, 'real'), writable: true }] }, docker.socket)
    harness = await createHarness(docker.socket, { rules })
  })
  afterAll(async () => {
    await harness.clean()
    await folder.remove()
  })

  const mine = (): Promise<string[]> => inventoryOf(docker.socket, [`muster-owner=${harness.owner}`])
  const of = async (id: string): Promise<string[]> => (await mine()).filter((line) => line.includes(id))
  const volume = (target: string, name: string): Mount => ({ target, source: { kind: 'volume', name } })
  const bind = (path: string, readOnly = true): Mount => ({
    target: '/mnt',
    source: { kind: 'bind', path: path.startsWith('/') ? path : join(folder.path, path) },
    readOnly,
  })
  const said = async (parts: Partial<LaunchSpec>, script: string): Promise<string> => {
    const spec = harness.spec({ ...parts, work: { mode: 'command', command: ['sh', '-c', script] } })
    const { exit, stdout, stderr } = await harness.run(spec)
    expect({ code: exit.code, stderr: stderr.toString() }).toEqual({ code: 0, stderr: '' })
    await harness.gone(spec.id, 0)
    return stdout.toString()
  }
  const terminate = (id: string) => harness.provider.terminate({ id }, { graceMs: 0, force: true, reason: 'test' }, callOf())

  test("a worker's volumes and its tags end with it", async () => {
    const spec = harness.hold({ mounts: [volume('/a', 'a'), volume('/b', 'b')] })
    await harness.provider.launch(spec, callOf())
    const { Volumes: rows } = await engineJson<{ Volumes: { Name: string; Labels: object }[] }>(docker.socket, {
      path: '/volumes',
      query: { filters: JSON.stringify({ label: [`muster-worker=${spec.id}`] }) },
    })
    expect(rows.map(({ Name }) => Name).toSorted()).toEqual([`muster-${spec.id}-a`, `muster-${spec.id}-b`])
    for (const { Labels } of rows) expect(Labels).toMatchObject(spec.tags)
    await harness.gone(spec.id, 0)
    expect(await of(spec.id)).toEqual([])
  })

  test('a cache stays for the next worker, is taken by one at a time, and goes once it is too old', async () => {
    const parts = { mounts: [volume('/c', 'c')], settings: { volumes: { c: { shared: true, lock: 'exclusive' as const } } } }
    expect(await said(parts, 'echo warm >/c/x; echo put')).toBe('put\n')
    const holder = harness.hold(parts)
    await harness.provider.launch(holder, callOf())
    expect((await harness.exec(holder.id, ['cat', '/c/x'])).stdout).toBe('warm\n')
    const second = harness.hold(parts)
    await expect(harness.another().launch(second, callOf())).rejects.toMatchObject({
      code: 'capacity',
      path: 'mounts.0',
      effect: 'none',
    })
    expect(await of(second.id)).toEqual([])
    // The same worker again is no second one.
    await harness.provider.launch(holder, callOf())
    await harness.gone(holder.id, 0)
    expect((await mine()).filter((line) => /^(?!volume muster-cache-)/.test(line))).toEqual([])
    const bounded = { mounts: [volume('/d', 'd')], settings: { volumes: { d: { shared: true, maxBytes: 1_000 } } } }
    await said(bounded, 'echo small >/d/x')
    expect(await said(bounded, 'cat /d/x; head -c 5000 /dev/zero >/d/y')).toBe('small\n')
    // This provider has measured not long ago.
    await harness.another().terminate({ id: harness.hold().id }, { graceMs: 0, force: true, reason: 'test' }, callOf())
    const volumes = async (): Promise<number> => (await mine()).filter((line) => line.startsWith('volume')).length
    await waitFor('the end of the large cache', volumes, { until: (count) => count === 1 })
    const brief = { mounts: [volume('/e', 'e')], settings: { volumes: { e: { shared: true, maxAgeMs: 1 } } } }
    await said(brief, 'true')
    // An engine's time of creation has whole seconds: the next worker's end is later in any case.
    await waitFor('the end of the old cache', async () => {
      await said({ mounts: [volume('/f', 'f')] }, 'true')
      return (await volumes()) === 1
    })
  })

  describe('a path of the machine', () => {
    test('that the operator allows is there, as far as it is allowed', async () => {
      const script = 'cat /mnt/file; (: >/mnt/x) 2>/dev/null || echo " read-only"'
      expect(await said({ mounts: [bind('cache')] }, script)).toBe('from the machine read-only\n')
      const parts = { mounts: [bind('real', false)] }
      expect(await said(parts, 'echo kept >/mnt/made; echo done')).toBe('done\n')
      expect(await readFile(join(folder.path, 'real/made'), 'utf8')).toBe('kept\n')
    })

    test.each<[string, () => Mount, string, string]>([
      ['not named', () => bind('/etc'), 'unsupported', 'source.path'],
      ['below one that is named', () => bind('cache/file'), 'unsupported', 'source.path'],
      ['with steps back', () => bind(`${folder.path}/cache/../cache`), 'invalid-spec', 'source.path'],
      ['with a double slash', () => bind(`${folder.path}//cache`), 'invalid-spec', 'source.path'],
      ['with a final slash', () => bind(`${folder.path}/cache/`), 'invalid-spec', 'source.path'],
      ['read-only, to write', () => bind('cache', false), 'unsupported', 'readOnly'],
      ['that is a link', () => bind('link'), 'unsupported', 'source.path'],
      ['with a link in it', () => bind('link/inner'), 'unsupported', 'source.path'],
      ["of the engine's socket", () => bind(docker.socket), 'unsupported', 'source.path'],
    ])('%s is refused, with nothing left', async (...[, mount, code, at]) => {
      const spec = harness.hold({ mounts: [mount()] })
      await expect(harness.provider.launch(spec, callOf())).rejects.toMatchObject({
        code,
        path: `mounts.0.${at}`,
        effect: 'none',
      })
      expect(await of(spec.id)).toEqual([])
    })

    test('that is not there is refused by the engine', async () => {
      const spec = harness.hold({ mounts: [bind('missing')] })
      await expect(harness.provider.launch(spec, callOf())).rejects.toMatchObject({ code: 'invalid-spec', path: 'mounts' })
      expect(await of(spec.id)).toEqual([])
    })

    test("the engine's socket by the power that is named for it", async () => {
      const parts = { mounts: [bind(docker.socket, false)], settings: { allow: ['engine-socket'] } }
      expect(await said(parts, 'test -S /mnt && echo socket')).toBe('socket\n')
    })
  })

  test('a size that the driver cannot keep is refused by name', async () => {
    const spec = harness.hold({ mounts: [volume('/v', 'v')], settings: { volumes: { v: { bytes: 1_000_000 } } } })
    await expect(harness.provider.launch(spec, callOf())).rejects.toMatchObject({
      code: 'unsupported',
      path: 'settings.volumes.v.bytes',
    })
  })

  describe('what is left', () => {
    const make = (path: string, body: object, query = {}): Promise<unknown> =>
      engineJson(docker.socket, { method: 'POST', path, body, query })
    const listed = async (): Promise<Map<string, string>> => {
      const tags = { 'muster-owner': harness.owner, 'muster-provider': 'docker' }
      const { workers } = await harness.provider.list({ tags, limit: 500 }, callOf())
      return new Map(workers.map(({ id, phase }) => [id, phase]))
    }

    test.each(['volumes', 'networks', 'containers'] as const)(
      'of %s alone is listed and inspected, and goes with a terminate',
      async (kind) => {
        const spec = harness.hold()
        const labels = { ...spec.tags, [partLabel.part]: 'test' }
        const name = `muster-${spec.id}-part`
        if (kind === 'containers') await make('/containers/create', { Image: spec.image, Cmd: ['x'], Labels: labels }, { name })
        else await make(`/${kind}/create`, { Name: name, Labels: labels })
        expect((await listed()).get(spec.id)).toBe('stopping')
        expect(await harness.observe(spec.id)).toMatchObject({ id: spec.id, tags: spec.tags, phase: 'stopping' })
        expect(await terminate(spec.id)).toEqual({ state: 'gone' })
        expect(await of(spec.id)).toEqual([])
        expect(await harness.observe(spec.id)).toBeUndefined()
      },
    )

    test("a stranger's things with like labels and another owner survive everything", async () => {
      const before = await inventoryOf(docker.socket)
      const spec = harness.hold({ mounts: [volume('/v', 'v')] })
      const foreign = { ...spec.tags, 'muster-owner': `${harness.owner}x`, [partLabel.part]: 'volume', [label.parts]: 'yes' }
      const named = (what: string): string => `muster-${spec.id}-${what}`
      const strangers = async (): Promise<string[]> => inventoryOf(docker.socket, [`muster-owner=${foreign['muster-owner']}`])
      try {
        await make('/volumes/create', { Name: named('x'), Labels: foreign })
        await make('/networks/create', { Name: named('x'), Labels: foreign })
        await make('/containers/create', { Image: spec.image, Cmd: ['x'], Labels: foreign }, { name: named('x') })
        // Ours by its labels, but not by its name.
        await make('/volumes/create', { Name: `other-${spec.id}`, Labels: { ...spec.tags, [partLabel.part]: 'volume' } })
        expect((await listed()).has(spec.id)).toBe(false)
        await harness.provider.launch(spec, callOf())
        await harness.gone(spec.id, 0)
        await terminate(spec.id)
        expect(await strangers()).toHaveLength(3)
        expect(await of(spec.id)).toEqual([`volume other-${spec.id} other-${spec.id}`])
      } finally {
        const left = (await inventoryOf(docker.socket)).filter((line) => line.includes(spec.id))
        for (const line of left) {
          const [kind = '', key = ''] = line.split(' ')
          await engineJson(docker.socket, { method: 'DELETE', path: `/${kind}s/${key}`, query: { force: '1' } })
        }
      }
      expect((await inventoryOf(docker.socket)).filter((line) => line.includes(spec.id))).toEqual([])
      expect(before.filter((line) => line.includes(spec.id))).toEqual([])
    })

    test('a planted leak stands in what the run finds at its end', async () => {
      const before = await leftOn(docker.socket)
      const name = `muster-${harness.hold().id}-leak`
      await make('/volumes/create', { Name: name })
      const leaked = (await leftOn(docker.socket)).filter((line) => !before.includes(line))
      expect(leaked).toContain(`volume ${name} ${name}`)
      await engineJson(docker.socket, { method: 'DELETE', path: `/volumes/${name}` })
    })
  })
})
