import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync, mkdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { sealer } from '../store/seal.ts'
import { type Copies, openCopies, type WholeCopy } from './copies.ts'
import { testClock } from './testing/clock.ts'

let dataDir: string
beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'muster-copies-'))
})
afterEach(() => rmSync(dataDir, { recursive: true, force: true }))

const open = (free = 500): Promise<Copies> =>
  openCopies({ dataDir, sealer: sealer(new Uint8Array(32)), clock: testClock(), room: () => ({ free, total: 1000 }) })
const onDisk = (): string[] => (existsSync(join(dataDir, 'copies')) ? readdirSync(join(dataDir, 'copies')) : [])

async function* chunks(...sizes: number[]): AsyncGenerator<Uint8Array> {
  for (const size of sizes) yield Buffer.alloc(size, 'x')
}
async function sizeOf(copy: WholeCopy): Promise<number> {
  let size = 0
  for await (const part of copy.bytes()) size += part.length
  return size
}

test('a copy of 64 KiB needs no disk, a larger one does, sealed, until nobody needs it', async () => {
  const copies = await open()
  const small = await copies.whole(chunks(65_536))
  expect([onDisk(), await sizeOf(small)]).toEqual([[], 65_536])
  const large = await copies.whole(chunks(65_536, 1))
  const [file = ''] = onDisk()
  expect(readFileSync(join(dataDir, 'copies', file)).includes('xxxx')).toBe(false)
  expect(await sizeOf(large)).toBe(65_537)
  for (const one of [small, large]) await one[Symbol.asyncDispose]()
  expect(onDisk()).toEqual([])
})

test('one that breaks off leaves nothing, nor does one for which there is no room, nor a host that was killed', async () => {
  mkdirSync(join(dataDir, 'copies'))
  writeFileSync(join(dataDir, 'copies', 'of-before'), 'x')
  const copies = await open()
  expect(onDisk()).toEqual([])
  const broken = (async function* () {
    yield* chunks(65_536, 65_536)
    throw new Error('cut off')
  })()
  await expect(copies.whole(broken)).rejects.toThrow('cut off')
  await expect((await open(1)).whole(chunks(65_536, 65_536))).rejects.toMatchObject({ code: 'full' })
  expect(onDisk()).toEqual([])
})
