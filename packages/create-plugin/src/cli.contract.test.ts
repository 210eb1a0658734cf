/** `npm create @muster/plugin` as its user types it, from the sources. */
import { mkdir, readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { runProcess } from '@muster/test/systems/process'
import { tempFolder } from '@muster/test/systems/temp'
import { expect, test } from 'vitest'

const bin = fileURLToPath(new URL('../bin/create-plugin.mjs', import.meta.url))

test('begins a plugin, says what comes next, and refuses what it cannot do with what can be done', async () => {
  await using temp = await tempFolder('create')
  const create = (...args: string[]): ReturnType<typeof runProcess> =>
    runProcess([process.execPath, bin, ...args], { cwd: temp.path, env: { ...process.env, MUSTER_SOURCE: '1' } })
  expect(await create('@acme/muster-plugin-shed')).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(
      /^@acme\/muster-plugin-shed is in muster-plugin-shed: [^]*cd muster-plugin-shed\n {2}npm install/,
    ),
  })
  expect(await readdir(join(temp.path, 'muster-plugin-shed'))).toContain('package.json')
  await mkdir(join(temp.path, 'full'))
  await writeFile(join(temp.path, 'full/mine'), '')
  expect(await create('muster-plugin-shed', 'full')).toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/is not empty: it has mine\ncreate-plugin: fix: name an empty folder/),
  })
  expect(await create('No Name')).toMatchObject({ code: 1, stderr: expect.stringContaining('is no name of a package') })
  const usage = expect.stringContaining('usage: npm create @muster/plugin NAME [FOLDER]')
  expect(await create()).toMatchObject({ code: 2, stderr: usage })
  expect(await create('a', 'b', 'c')).toMatchObject({ code: 2, stderr: usage })
  expect(await create('--help')).toMatchObject({ code: 0, stderr: usage })
})
