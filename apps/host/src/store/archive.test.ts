import { existsSync, rmSync } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { pack } from 'tar-stream'
import { expect, it, onTestFinished } from 'vitest'
import { names, readArchive } from './archive.ts'

it('a cut archive is refused once nothing writes any more: its folder can be taken away at once', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'muster-archive-'))
  onTestFinished(() => rm(dir, { recursive: true, maxRetries: 5 }))
  const tar = pack()
  tar.entry({ name: names.database }, Buffer.alloc(10_000, 1))
  tar.finalize()
  const file = join(dir, 'cut.tar')
  // One head and nothing of what it promises: the end comes while the file for it is being made.
  await writeFile(file, (await buffer(tar)).subarray(0, 512))
  for (let n = 0; n < 150; n++) {
    const into = join(dir, String(n))
    await mkdir(into)
    await expect(readArchive(file, { into })).rejects.toThrow('not the whole of one')
    // At once, as a refused restore does.
    rmSync(into, { recursive: true })
    expect(existsSync(into)).toBe(false)
  }
}, 60_000)
