/** A plugin with a user of its own keeps it when another version takes over. */
import { readFile, writeFile, chmod } from 'node:fs/promises'
import { join } from 'node:path'
import { requireSystem, root } from '@muster/test/require'
import { expect, test } from 'vitest'
import { makeSite } from '../faults/daemon.test.helper.ts'
import { lockHere } from './testing/lock.ts'
import { bundledAnimal, packedAnimal } from './testing/zoo/cage.ts'

/** Of no other process of this machine. */
const users = { from: 1_300_000_000 + process.pid * 10, to: 1_300_000_009 + process.pid * 10 }

test('an upgrade leaves a plugin at its level, with its user', { timeout: 180_000 }, async (context) => {
  await requireSystem(context, root)
  const site = await makeSite({
    providers: 'p: { plugin: tame, config: {} }',
    pools: 'a: { placement: [p] }',
    plugins: {},
    host: `isolation: { users: ${JSON.stringify(users)} }`,
  })
  try {
    await chmod(site.dir, 0o711)
    const code = await bundledAnimal()
    const registry = join(site.dir, 'plugins.json')
    const lock = async (version: string): Promise<void> => {
      const tarball = join(site.dir, `tame-${version}.tgz`)
      await writeFile(tarball, await packedAnimal('tame', code, version))
      const tame = { package: '@zoo/tame', version, source: { tarball }, isolation: 'L3' }
      await writeFile(registry, JSON.stringify({ plugins: { tame } }))
      const { problems } = await lockHere(registry, { stores: [join(site.data, 'plugins')] })
      expect(problems).toEqual([])
    }
    const running = async (): Promise<{ version: string; uid: number }> => {
      const { pid, plugin } = await site.client.providers.get('p')
      const status = await readFile(`/proc/${pid}/status`, 'utf8')
      return { version: plugin.version, uid: Number(/^Uid:\s+(\d+)/m.exec(status)?.[1]) }
    }
    await lock('1.0.0')
    await site.start()
    await site.ready()
    const before = await running()
    expect(before).toEqual({ version: '1.0.0', uid: expect.toSatisfy((uid: number) => uid >= users.from && uid <= users.to) })
    expect(await site.client.plugins.upgrade('tame')).toMatchObject({ go: true, switched: false })
    await lock('1.0.1')
    expect(await site.client.plugins.upgrade('tame')).toMatchObject({ go: true, switched: true })
    expect(await running()).toEqual({ version: '1.0.1', uid: before.uid })
  } finally {
    await site.dispose()
  }
})
