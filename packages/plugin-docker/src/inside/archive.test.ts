import { Readable } from 'node:stream'
import { pack } from 'tar-stream'
import { expect, test } from 'vitest'
import type { Engine } from '../client.ts'
import { packWhole } from './archive.ts'

async function sent(bytes: number | undefined): Promise<Buffer> {
  const tar = pack()
  tar.entry({ name: 'out/a' }, 'x'.repeat(5000))
  tar.entry({ name: 'out/b' }, 'y')
  tar.finalize()
  const all = Buffer.concat(await Array.fromAsync(tar as AsyncIterable<Buffer>)).subarray(0, bytes)
  const engine = { stream: async () => Readable.from([all]) } as unknown as Engine
  const place = { engine, id: `w${'0'.repeat(26)}` as const, signal: new AbortController().signal }
  return Buffer.concat(await Array.fromAsync(packWhole(place, '/out')))
}

test('what the engine packs is given as it is', async () => {
  expect((await sent(undefined)).length).toBeGreaterThan(6000)
})

test('a tar that ends within a file, as where that one shrank, is no whole one', async () => {
  await expect(sent(4000)).rejects.toMatchObject({
    code: 'transient',
    message: 'cannot read /out: a file got shorter while it was read',
  })
})
