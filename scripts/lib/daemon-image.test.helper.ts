/** The image of the daemon, built from packed packages on an engine of the tests. */
import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { engineProgress } from '@muster/test/systems/engine'
import { ensureImage } from '@muster/test/systems/images'

const root = join(import.meta.dirname, '../..')
export const pnpm = join(root, '.tools/node_modules/.bin/pnpm')

/** In CI the stage before has built; elsewhere nobody may have. */
export function ensureBuilt(): void {
  const build = (name: string): Buffer => execFileSync(pnpm, ['-r', '--filter', `./${name}`, 'run', 'build'], { cwd: root })
  for (const app of ['host', 'kubernetes-controller'])
    if (!existsSync(join(root, `apps/${app}/dist/cli.js`))) build(`apps/${app}`)
  for (const name of ['baremetal', 'docker', 'kubernetes'])
    if (!existsSync(join(root, `packages/plugin-${name}/dist/plugin.js`))) build(`packages/plugin-${name}`)
}

/** Builds it as `tag`; answers the tag of its base. `folder` is free for what the build needs. */
export async function buildDaemonImage(socket: string, tag: string, folder: string): Promise<string> {
  const context = join(folder, 'context')
  execFileSync(process.execPath, [join(root, 'scripts/image.mjs'), context], { cwd: root, stdio: 'pipe' })
  const base = await ensureImage(socket, 'node')
  await engineProgress(socket, {
    method: 'POST',
    path: '/build',
    query: { t: tag, buildargs: JSON.stringify({ BASE: base }), rm: '1', forcerm: '1' },
    headers: { 'content-type': 'application/x-tar' },
    body: Readable.from([execFileSync('tar', ['-C', context, '-cf', '-', '.'], { maxBuffer: 2 ** 28 })]),
  })
  return base
}
