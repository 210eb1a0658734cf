/** A plugin that is no JavaScript: what its manifest names runs it. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { requireSystem } from '@muster/test/require'
import { tempFolder, type TempFolder } from '@muster/test/systems/temp'
import { waitFor } from '@muster/test/systems/wait'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { type StartedRoom, startPlugins } from './room.ts'
import { configureFixture, launchSpec } from './testing/configure.ts'
import { fixtureManifest, packFixture } from './testing/package.ts'

const python = join(import.meta.dirname, '../../../../examples/plugin-python')

let folder: TempFolder
let room: StartedRoom | undefined
beforeEach(async () => {
  folder = await tempFolder('interpreter')
})
afterEach(async () => {
  await room?.stop()
  await folder.remove()
})

async function started(site: { folder: string; knobs: object; entry?: object }): Promise<StartedRoom> {
  const { folder: plugin, knobs, entry } = site
  room = startPlugins({
    ...(await configureFixture({
      data: folder.path,
      folder: plugin,
      providers: { p: { knobs } },
      ...(entry === undefined ? {} : { entry }),
    })),
    owner: 'me',
    fence: { epoch: () => 3, mayAct: () => true },
    log: { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined },
  })
  const provider = room.provider('p')
  await waitFor('the first start', async () => provider.status().state !== 'starting', { timeoutMs: 60_000 })
  return room
}

test('a plugin in Python is started, and makes workers', async (context) => {
  await requireSystem(context, {
    name: 'python3',
    probe: () => (existsSync('/usr/bin/python3') || existsSync('/usr/local/bin/python3') ? undefined : 'it is not installed'),
  })
  const entry = { package: 'muster-plugin-python', version: '0.1.0', source: { folder: python } }
  const { provider } = await started({ folder: python, knobs: { dir: join(folder.path, 'workers') }, entry })
  expect(provider('p').status()).toMatchObject({ state: 'ready' })
  const spec = { ...launchSpec, tags: { ...launchSpec.tags, 'muster-worker': launchSpec.id } }
  expect(await provider('p').launch(spec, { idempotencyKey: 'x' })).toEqual({ handle: { v: 1, data: null } })
  const target = { id: spec.id }
  const how = { graceMs: 0, force: true, reason: 'a test' }
  expect(await provider('p').terminate(target, how, { idempotencyKey: 'y' })).toEqual({ state: 'gone' })
})

test('a program that is not there is said to be missing, and where it was looked for', async () => {
  const plugin = join(folder.path, 'plugin')
  await packFixture(plugin, { manifest: { ...fixtureManifest, interpreter: 'none-such' } })
  const { provider } = await started({ folder: plugin, knobs: {} })
  expect(provider('p').status()).toMatchObject({
    reason: expect.stringMatching(/the program none-such, which runs it, is in none of \/usr\/local\/bin, \/usr\/bin, \/bin/),
  })
})
