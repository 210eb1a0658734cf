import { createHash } from 'node:crypto'
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
    const bytes = await readFile(join(packages, 'muster-plugin-docker-0.1.0.tgz'))
    const sha512 = createHash('sha512').update(bytes).digest('base64')
    await write('muster.yaml', (text) => text.replace('/var/run/docker.sock', socket))
    await write('plugins.json', (text) => inPlace(text).replace(/sha512-[A-Za-z0-9+/]+==/, `sha512-${sha512}`))
    expect(await check(temp.path)).toEqual({ code: 0, problems: '' })
    // Other bytes than the registry manifest pins are seen.
    await write('plugins.json', inPlace)
    const swapped = await check(temp.path)
    expect(swapped.code).toBe(1)
    expect(swapped.problems).toMatch(/plugins\.json:\d+:\d+: .*sha512/)
  })
})

function inPlace(text: string): string {
  return text.replace('../../packages', join(root, 'packages'))
}

async function check(folder: string): Promise<{ code: number | null; problems: string }> {
  const command = [process.execPath, join(root, 'apps/host/bin/muster.mjs'), 'check', '-c', join(folder, 'muster.yaml')] as const
  const { code, stdout } = await runProcess([...command], { env: { ...process.env, MUSTER_SOURCE: '1' } })
  return { code, problems: stdout }
}
