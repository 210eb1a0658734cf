/** A deployment with plugins of the zoo, each a packed package that the lock vouches for, and a good pool beside them. */
import { readFileSync } from 'node:fs'
import { chmod, mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { makeSite, type Site } from '../../../faults/daemon.test.helper.ts'
import { lockHere } from '../lock.ts'
import { bundledAnimal, packedAnimal } from './cage.ts'
import type { Fault } from './faults.ts'

/** As many as providers, and of no other process. */
const users = { from: 1_200_000_000 + (process.pid % 1_000_000) * 100, to: 1_200_000_099 + (process.pid % 1_000_000) * 100 }

/** `token`: a secret that each of them is given; `host`: more of that section. */
export async function makeZoo(names: readonly Fault[], { token, host = '' }: { token: string; host?: string }): Promise<Site> {
  const site = await makeSite({
    providers: [
      'good: { plugin: fake, config: {} }',
      ...names.map((name) => `${name}: { plugin: ${name}, config: {}, secrets: { token: { file: token } } }`),
    ].join('\n'),
    pools: ['good: { placement: [good], scale: { max: 20 } }', ...names.map((name) => `${name}: { placement: [${name}] }`)].join(
      '\n',
    ),
    plugins: { fake: 'plugin-fake' },
    host: `isolation: { users: ${JSON.stringify(users)} }\n${host}`,
  })
  await chmod(site.dir, 0o711)
  await writeFile(join(site.dir, 'token'), token)
  await lockZoo(site, names)
  return site
}

async function lockZoo({ dir, data }: Site, names: readonly Fault[]): Promise<void> {
  const code = await bundledAnimal()
  await mkdir(join(dir, 'zoo'))
  const file = join(dir, 'plugins.json')
  const { plugins } = JSON.parse(readFileSync(file, 'utf8')) as { plugins: Record<string, object> }
  for (const name of names) {
    const tarball = join(dir, 'zoo', `${name}.tgz`)
    await writeFile(tarball, await packedAnimal(name, code))
    plugins[name] = { package: `@zoo/${name}`, version: '1.0.0', source: { tarball } }
  }
  await writeFile(file, JSON.stringify({ plugins }))
  const { problems } = await lockHere(file, { stores: [join(data, 'plugins')] })
  if (problems.length > 0) throw new Error(JSON.stringify(problems))
}
