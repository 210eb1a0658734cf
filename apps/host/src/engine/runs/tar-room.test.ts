import { type Pack, pack } from 'tar-stream'
import { expect, test } from 'vitest'
import type { DiskRoom } from '../disk.ts'
import { fitting } from './tar-room.ts'

const room = (): DiskRoom => ({ free: 1e11, total: 1e11 })

async function through(
  tar: Buffer,
  { piece, most, disk = room }: { piece: number; most: number; disk?: () => DiskRoom },
): Promise<Buffer> {
  async function* pieces(): AsyncGenerator<Uint8Array> {
    for (let at = 0; at < tar.length; at += piece) yield tar.subarray(at, at + piece)
  }
  const got: Uint8Array[] = []
  for await (const chunk of fitting(pieces(), { most, room: disk })) got.push(chunk)
  return Buffer.concat(got)
}

async function tarOf(...sizes: number[]): Promise<Buffer> {
  const tar = pack()
  // A name of two parts needs records in front of its entry.
  for (const size of sizes) tar.entry({ name: `${'long/'.repeat(60)}ü${size}` }, Buffer.alloc(size, 'ustar'))
  tar.finalize()
  return bytesOf(tar)
}

async function bytesOf(tar: Pack): Promise<Buffer> {
  const all: Buffer[] = []
  for await (const chunk of tar as AsyncIterable<Buffer>) all.push(chunk)
  return Buffer.concat(all)
}

test.each([1, 7, 512, 513, 100_000])('every entry is looked at, in pieces of %i bytes', async (piece) => {
  const tar = await tarOf(0, 1, 600, 1024)
  expect(await through(tar, { piece, most: tar.length })).toEqual(tar)
  // All but the padding and the end of the last.
  await expect(through(tar, { piece, most: tar.length - 1025 })).rejects.toMatchObject({ code: 'invalid-spec' })
})

test('a size that only its records tell counts', async () => {
  const tar = pack()
  tar.entry({ name: 'records' }, '19 size=9000000000\n')
  tar.entry({ name: 'big' }, 'x')
  tar.finalize()
  const whole = await bytesOf(tar)
  whole.write('x', 156)
  await expect(through(whole, { piece: 100, most: 8e9 })).rejects.toMatchObject({ code: 'invalid-spec' })
  expect(await through(whole, { piece: 100, most: 1e10 })).toEqual(whole)
})

test('a name that has the form of such a record in it says no size', async () => {
  const tar = pack()
  tar.entry({ name: 'ü\n19 size=9000000000\n' }, 'x')
  tar.entry({ name: 'big' }, Buffer.alloc(4000))
  tar.finalize()
  const whole = await bytesOf(tar)
  expect(await through(whole, { piece: 100, most: 8e9 })).toEqual(whole)
  await expect(through(whole, { piece: 100, most: 6000 })).rejects.toMatchObject({ code: 'invalid-spec' })
})

test('what is no tar is passed on, and a disk that cannot be asked has room', async () => {
  const text = Buffer.alloc(5000, 'no tar ')
  expect(await through(text, { piece: 99, most: 10 })).toEqual(text)
  const tar = await tarOf(2 ** 20)
  const full = (): DiskRoom => ({ free: 0, total: 1e11 })
  await expect(through(tar, { piece: 512, most: 1e9, disk: full })).rejects.toMatchObject({ name: 'StoreError', code: 'full' })
  const fails = (): never => {
    throw new Error('no such disk')
  }
  expect(await through(tar, { piece: 512, most: 1e9, disk: fails })).toEqual(tar)
})
