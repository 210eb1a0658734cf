import { gunzipSync } from 'node:zlib'
import { expect, test } from 'vitest'
import { filesOf } from './archive.ts'
import { pack } from './pack.ts'

const files: [string, Buffer][] = [
  ['package.json', Buffer.from('{}')],
  ['dist/ä.js', Buffer.from('export {}')],
  ['Z', Buffer.alloc(0)],
]

test('the same files are the same bytes, in whatever order and at whatever time', async () => {
  const once = await pack(new Map(files))
  expect((await pack(new Map(files.toReversed()))).equals(once)).toBe(true)
  expect((await pack(new Map(files.slice(1)))).equals(once)).toBe(false)
  // Of a gzip header: no time, and no system that it was made on.
  expect([...once.subarray(4, 10)]).toEqual([0, 0, 0, 0, 2, 255])
  expect(gunzipSync(once).includes(Buffer.from('package/package.json\0'))).toBe(true)
})

test('a host reads the same files out of it', async () => {
  const read = await filesOf(await pack(new Map(files)))
  expect(Object.fromEntries(read)).toEqual(Object.fromEntries(files))
})
