/** What installing and verifying a plugin costs beside the plain way: hash, and tar. */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { addContent, treeOfFolder, verifyTree } from '../plugins/content.ts'
import { type Benched, benched, tarballOf } from './packed.ts'
import { beside } from './plugins.ts'
import type { Figure } from './report.ts'

export async function benchInstall(rounds: number): Promise<Figure[]> {
  const figures: Figure[] = []
  for (const alias of Object.keys(benched) as Benched[]) figures.push(...(await installs(alias, rounds)))
  return figures
}

async function installs(alias: Benched, rounds: number): Promise<Figure[]> {
  const dir = await mkdtemp(join(tmpdir(), 'muster-bench-install-'))
  try {
    const tarball = await tarballOf(alias)
    const file = join(dir, 'plugin.tgz')
    await writeFile(file, tarball)
    const times = { install: [] as number[], untar: [] as number[], verify: [] as number[], hash: [] as number[] }
    const timed = async <T>(into: number[], work: () => T | Promise<T>): Promise<T> => {
      const began = performance.now()
      const made = await work()
      into.push(performance.now() - began)
      return made
    }
    for (let n = 0; n < rounds; n++) {
      const root = await timed(times.install, () => addContent(tarball, join(dir, `store-${n}`)))
      await mkdir(join(dir, `plain-${n}`))
      await timed(times.untar, async () => {
        createHash('sha512')
          .update(await readFile(file))
          .digest('base64')
        execFileSync('tar', ['-xzf', file, '-C', join(dir, `plain-${n}`)])
      })
      const tree = await treeOfFolder(root)
      await timed(times.verify, () => verifyTree(root, tree))
      await timed(times.hash, async () => {
        for (const one of await readdir(root, { recursive: true, withFileTypes: true }))
          if (one.isFile())
            createHash('sha512')
              .update(await readFile(join(one.parentPath, one.name)))
              .digest()
      })
    }
    const size = `${(tarball.length / 1024).toFixed(0)} KiB`
    return [
      beside(`plugin ${alias} (${size}): hashed, checked and put into the store, every file flushed, P50 / P95`, {
        own: times.install,
        bare: times.untar,
        what: 'sha512, and `tar -xzf`',
        unit: 'ms',
        aim: '',
      }),
      beside(`plugin ${alias}: its files verified, as before each start, P50 / P95`, {
        own: times.verify,
        bare: times.hash,
        what: 'sha512 of each file',
        unit: 'ms',
        aim: '',
      }),
    ]
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}
