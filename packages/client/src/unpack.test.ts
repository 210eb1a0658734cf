import { readdirSync } from 'node:fs'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { Header } from 'tar'
import { expect, test } from 'vitest'
import { tempFolder } from '@muster/test/systems/temp'
import { unpackTo } from './unpack.ts'

test('a tar of very many small files takes no memory for each of them', async () => {
  await using folder = await tempFolder('client')
  setFlagsFromString('--expose-gc')
  const gc = runInNewContext('gc') as () => void
  let before = 0
  let grown = 0
  async function* tree(): AsyncGenerator<Uint8Array> {
    for (let sent = 0; sent < 6000; sent++) {
      if (sent === 1000) {
        gc()
        before = process.memoryUsage().heapUsed
      }
      const block = Buffer.alloc(512)
      new Header({ path: `f${sent}`, type: 'File', mode: 0o644, size: 0 }).encode(block, 0)
      yield block
    }
    gc()
    grown = process.memoryUsage().heapUsed - before
    yield Buffer.alloc(1024)
  }
  await unpackTo(folder.path, tree())
  expect(readdirSync(folder.path)).toHaveLength(6000)
  // What was measured otherwise: 3 KB for each.
  expect(grown / 5000).toBeLessThan(800)
})
