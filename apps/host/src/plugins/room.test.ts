/** What a room of plugins says of them before any of them runs. */
import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { tempFolder } from '@muster/test/systems/temp'
import { expect, test } from 'vitest'
import { parseConfig } from '../config/load.ts'
import { discover } from './discover.ts'
import { startPlugins } from './room.ts'
import { quietHost } from './testing/configure.ts'
import { lockHere } from './testing/lock.ts'
import { packPlugin, pluginFiles } from './testing/pack.ts'

test('at its start it tells how each plugin is kept, and why not better, and of which nobody checks the files', async () => {
  await using temp = await tempFolder('room')
  for (const [name, body = ''] of pluginFiles()) {
    const path = join(temp.path, 'dev', (typeof name === 'string' ? name : name.name).replace('package/', ''))
    await mkdir(dirname(path), { recursive: true })
    await writeFile(path, body)
  }
  await writeFile(join(temp.path, 'a.tgz'), await packPlugin({ version: '2.0.0' }))
  const file = join(temp.path, 'plugins.json')
  const plugins = {
    loose: { package: '@acme/plugin', version: '1.2.3', source: { folder: './dev' } },
    packed: { package: '@acme/plugin', version: '2.0.0', source: { tarball: 'a.tgz' } },
  }
  await writeFile(file, JSON.stringify({ plugins }))
  await lockHere(file)
  const discovery = await discover(file, { stores: [join(temp.path, 'store')], shown: 'plugins.json', ground: async () => ({}) })
  expect(discovery.problems).toEqual([])
  const { config, problems } = parseConfig(join(temp.path, 'muster.yaml'), `host: { data: ${temp.path} }\nproviders: {}\npools: {}\n`)
  if (config === undefined) throw new Error(JSON.stringify(problems))
  const told: unknown[] = []
  const note = (data: object, message: string): void => void told.push([message, data])
  const room = startPlugins({ ...quietHost, config, discovery, log: { ...quietHost.log, info: note, warn: note } })
  await room.stop()
  expect(told).toEqual([
    ['isolation', { plugin: 'loose', isolation: 'L2', because: 'it lies in a folder, for development' }],
    [
      'DEVELOPMENT: a plugin is loaded from a folder, and nobody checks its files',
      { plugin: 'loose', folder: join(temp.path, 'dev') },
    ],
    ['isolation', { plugin: 'packed', isolation: 'L3' }],
  ])
})
