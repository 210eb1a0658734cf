// `node scripts/image.mjs FOLDER`: what `docker build` needs for the image of the daemon, from the packages as they would be published.
import { execFileSync } from 'node:child_process'
import { cpSync, mkdirSync, renameSync, rmSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { pnpm, root } from './lib/paths.mjs'
import { installFirstParty } from './lib/plugins.mjs'

const [given] = process.argv.slice(2)
if (given === undefined) {
  console.error('usage: node scripts/image.mjs FOLDER')
  process.exit(2)
}
const folder = resolve(given)
rmSync(folder, { recursive: true, force: true })
mkdirSync(join(folder, 'opt/plugins'), { recursive: true })
mkdirSync(join(folder, 'etc'))
const packed = join(folder, 'packed')
mkdirSync(packed)
for (const [app, place] of [
  ['host', 'host'],
  ['kubernetes-controller', 'kubernetes'],
]) {
  const answer = execFileSync(pnpm, ['pack', '--json', '--pack-destination', packed], { cwd: join(root, `apps/${app}`) })
  const { filename } = JSON.parse(answer.toString())
  execFileSync('tar', ['-xzf', resolve(packed, filename), '-C', packed])
  renameSync(join(packed, 'package'), join(folder, `opt/${place}`))
}
rmSync(packed, { recursive: true })
const plugins = join(folder, 'opt/plugins')
const names = await installFirstParty({ folder: plugins, registry: join(plugins, 'plugins.json') })
cpSync(join(root, 'packaging/Dockerfile'), join(folder, 'Dockerfile'))
cpSync(join(root, 'packaging/muster.yaml'), join(folder, 'etc/muster.yaml'))
// The user of the image reads them.
execFileSync('chmod', ['-R', 'a+rX', folder])
console.log(`${folder} holds the host and ${names.join(', ')}: docker build ${folder}`)
