import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { findDocker } from '@muster/test/systems/docker'
import { suiteWith } from '@muster/test/systems/presence'
import { mustRun, runProcess } from '@muster/test/systems/process'
import { tempFolder } from '@muster/test/systems/temp'
import { expect, test } from 'vitest'

const here = import.meta.dirname
const root = join(here, '../..')

suiteWith(await findDocker(), 'the example of a configuration', ({ socket }) => {
  test('passes `muster check`, with the plugin that its reader packs', async () => {
    await using temp = await tempFolder('configuration')
    const write = async (name: string, change: (text: string) => string): Promise<void> =>
      writeFile(join(temp.path, name), change(await readFile(join(here, name), 'utf8')))
    const packages = join(temp.path, 'packages')
    await mkdir(packages)
    await mustRun([join(root, '.tools/node_modules/.bin/pnpm'), 'pack', '--pack-destination', packages], {
      cwd: join(root, 'packages/plugin-docker'),
    })
    await write('muster.yaml', (text) => text.replace('/var/run/docker.sock', socket))
    await write('plugins.json', inPlace)
    // Without a lock nothing is loaded.
    expect(await muster('check', temp.path)).toMatchObject({
      code: 1,
      problems: expect.stringMatching(/plugins\.json:\d+:\d+: .*the lock has no plugin 'docker'/),
    })
    const locked = await muster('plugins', temp.path, 'lock', '--yes', '--waive', 'packed here')
    expect([locked.code, locked.problems]).toEqual([0, expect.stringContaining('+ docker: @muster/plugin-docker 0.1.0')])
    expect(await muster('check', temp.path)).toEqual({ code: 0, problems: '' })
    // Other bytes than the lock has are seen.
    const lock = join(temp.path, 'plugins.lock.json')
    await writeFile(lock, (await readFile(lock, 'utf8')).replace(/"sha512": ".*"/, `"sha512": "sha512-${'A'.repeat(86)}=="`))
    expect(await muster('check', temp.path)).toMatchObject({
      code: 1,
      problems: expect.stringMatching(/is not the locked one: its hash is sha512-/),
    })
  })
})

function inPlace(text: string): string {
  return text.replace('../../packages', join(root, 'packages'))
}

async function muster(name: string, folder: string, ...more: string[]): Promise<{ code: number | null; problems: string }> {
  const bin = [process.execPath, join(root, 'apps/host/bin/muster.mjs')] as const
  const command = [...bin, name, ...more, '-c', join(folder, 'muster.yaml')] as const
  const { code, stdout } = await runProcess([...command], { env: { ...process.env, MUSTER_SOURCE: '1' } })
  return { code, problems: stdout }
}
