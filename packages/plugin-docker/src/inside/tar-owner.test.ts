import { execFile } from 'node:child_process'
import { mkdtemp, open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import * as fc from 'fast-check'
import * as tar from 'tar-stream'
import { describe, expect, test } from 'vitest'
import { reown, watched } from './tar-owner.ts'
import { idsOf, isNumeric } from '../engine/users.ts'

const owner = { uid: 1000, gid: 2000 }

async function packed(entries: readonly (Partial<tar.Header> & { name: string; content?: string })[]): Promise<Buffer> {
  const pack = tar.pack()
  for (const { content, ...header } of entries) {
    if (content === undefined) pack.entry(header)
    else pack.entry(header, content)
  }
  pack.finalize()
  return Buffer.concat(await Array.fromAsync(pack as AsyncIterable<Buffer>))
}

async function unpacked(bytes: Buffer): Promise<(tar.Header & { content: string })[]> {
  const entries: (tar.Header & { content: string })[] = []
  const extract = tar.extract()
  const read = (async () => {
    for await (const found of extract)
      entries.push({ ...found.header, content: Buffer.concat(await Array.fromAsync(found as AsyncIterable<Buffer>)).toString() })
  })()
  extract.end(bytes)
  await read
  return entries
}

async function owned(bytes: Buffer, chunk = bytes.length): Promise<Buffer> {
  const chunks = async function* (): AsyncGenerator<Buffer> {
    for (let at = 0; at < bytes.length; at += chunk) yield bytes.subarray(at, at + chunk)
  }
  return Buffer.concat(await Array.fromAsync(reown(chunks(), owner)))
}

const long = `${'folder/'.repeat(40)}file with ünicode`

test('everything but the owner stays, whatever kind of entry, in whatever pieces it comes', async () => {
  const bytes = await packed([
    { name: 'folder/', type: 'directory', mode: 0o1777, uid: 1, gid: 2 },
    { name: 'folder/file', mode: 0o640, uid: 501, gid: 20, uname: 'me', gname: 'staff', content: 'x'.repeat(1_500) },
    { name: long, mode: 0o600, content: 'long' },
    { name: 'link', type: 'symlink', linkname: long },
    { name: 'hard', type: 'link', linkname: 'folder/file' },
    { name: 'empty', content: '' },
    { name: 'pipe', type: 'fifo' },
  ])
  const before = await unpacked(bytes)
  for (const chunk of [bytes.length, 512, 700, 1]) {
    const after = await unpacked(await owned(bytes, chunk))
    expect(after).toEqual(before.map((entry) => ({ ...entry, ...owner, uname: '', gname: '' })))
  }
})

test('watched, every byte stays, and each entry is told with its size before its content', async () => {
  const bytes = await packed([
    { name: 'folder/', type: 'directory', uid: 1, gid: 2 },
    { name: long, uid: 501, content: 'long' },
    { name: 'link', type: 'symlink', linkname: long },
    { name: 'large', content: 'x'.repeat(1_500) },
  ])
  const sizes: number[] = []
  const source = async function* (): AsyncGenerator<Buffer> {
    for (let at = 0; at < bytes.length; at += 700) yield bytes.subarray(at, at + 700)
  }
  const seen = await Array.fromAsync(watched(source(), (size) => void sizes.push(size)))
  expect([Buffer.concat(seen).equals(bytes), sizes]).toEqual([true, [0, 4, 0, 1_500]])
  let told = false
  const leaving = async function* (): AsyncGenerator<Buffer> {
    try {
      yield* source()
    } finally {
      told = true
    }
  }
  const refused = watched(leaving(), (size) => {
    if (size > 1_000) throw new Error('too much')
  })
  const passed: Uint8Array[] = []
  const reading = async (): Promise<void> => {
    for await (const chunk of refused) passed.push(chunk)
  }
  await expect(reading()).rejects.toThrow('too much')
  expect([Buffer.concat(passed).includes('xxx'), told]).toEqual([false, true])
})

/** An archive of one file with an extended header before it. */
async function extended(...pairs: [key: string, value: string][]): Promise<Buffer> {
  const record = (key: string, value: string): string => {
    const body = ` ${key}=${value}\n`
    const length =
      [1, 2, 3].map((digits) => body.length + digits).find((total) => String(total).length === total - body.length) ?? 0
    return `${length}${body}`
  }
  const records = pairs.map(([key, value]) => record(key, value)).join('')
  const bytes = await packed([
    { name: 'pax', content: records },
    { name: 'plain', content: 'body', uid: 7, gid: 8 },
    { name: 'next', uid: 5, gid: 6, content: '' },
  ])
  bytes.write('x', 156)
  sealed(bytes)
  return bytes
}

describe('sparse files', () => {
  /** 2 GiB of holes and ten words between them: more than the first header of the old format has room for. */
  const sparse = async (...how: string[]): Promise<Buffer> => {
    const folder = await mkdtemp(join(tmpdir(), 'muster-sparse-'))
    try {
      const file = await open(join(folder, 'holes'), 'w')
      for (let at = 0; at < 10; at++) await file.write('word', at * 200 * 2 ** 20)
      await file.truncate(2 ** 31)
      await file.close()
      const run = promisify(execFile)
      const { stdout } = await run('tar', ['--sparse', ...how, '-C', folder, '-cf', '-', 'holes'], { encoding: 'buffer' })
      return stdout
    } finally {
      await rm(folder, { recursive: true })
    }
  }
  const sizes = async (bytes: Buffer): Promise<number[]> => {
    const told: number[] = []
    const source = (async function* () {
      yield bytes
    })()
    const out = Buffer.concat(await Array.fromAsync(watched(source, (size) => told.push(size))))
    expect(out.equals(bytes)).toBe(true)
    return told
  }

  test.each([
    ['the old format', ['--format=gnu']],
    ['0.0', ['--format=posix', '--sparse-version=0.0']],
    ['0.1', ['--format=posix', '--sparse-version=0.1']],
    ['1.0', ['--format=posix', '--sparse-version=1.0']],
  ])('%s: the size that is told counts the holes', async (_name, how) => {
    const bytes = await sparse(...how)
    expect(bytes.length).toBeLessThan(2 ** 20)
    expect(await sizes(bytes)).toEqual([2 ** 31])
    // Another owner leaves the rest as it is.
    expect((await sizes(await owned(bytes)))[0]).toBe(2 ** 31)
  })

  test('no size makes room for others: one below nothing is none', async () => {
    const bytes = await packed([{ name: 'a', content: 'x', pax: { size: '-1000' } }])
    await expect(sizes(bytes)).rejects.toThrow('the size of an entry')
  })
})

test('an owner in extended headers goes, the rest of them stays', async () => {
  const bytes = await extended(['uid', '99'], ['path', 'renamed'], ['gid', '98'], ['uname', 'x'], ['comment', 'kept'])
  const out = await owned(bytes)
  expect(out.includes('uid=')).toBe(false)
  expect(out.includes('comment=kept')).toBe(true)
  expect(await unpacked(out)).toMatchObject([
    { name: 'renamed', content: 'body', ...owner },
    { name: 'next', ...owner },
  ])
})

test('an owner by the former one, which an extended header may tell of its own entry alone', async () => {
  const bytes = await extended(['uid', '3000000'], ['path', 'renamed'])
  const out = await Array.fromAsync(reown(one(bytes), ({ uid, gid }) => ({ uid: uid + 1, gid: gid + 2 })))
  expect(await unpacked(Buffer.concat(out))).toMatchObject([
    { name: 'renamed', content: 'body', uid: 3_000_001, gid: 10 },
    { name: 'next', uid: 6, gid: 8 },
  ])
})

test('large numbers are written in base 256', async () => {
  const bytes = await packed([{ name: 'a', content: 'a' }])
  const out = Buffer.concat(await Array.fromAsync(reown(one(bytes), { uid: 3_000_000_000, gid: 8 ** 7 })))
  expect(await unpacked(out)).toMatchObject([{ uid: 3_000_000_000, gid: 8 ** 7 }])
})

describe('what is no tar is an error', () => {
  test.each<[string, (bytes: Buffer) => Buffer]>([
    ['a broken header', (bytes) => Buffer.concat([Buffer.from('x'), bytes.subarray(1)])],
    ['a size that is none', (bytes) => sealed(Buffer.concat([bytes.subarray(0, 124), Buffer.from('zzzz'), bytes.subarray(128)]))],
    ['an end in a header', (bytes) => bytes.subarray(0, 100)],
    ['an end in a body', (bytes) => bytes.subarray(0, 700)],
    ['no tar at all', () => Buffer.alloc(1024, 'text')],
  ])('%s', async (_name, spoil) => {
    const bytes = await packed([{ name: 'a', content: 'a'.repeat(1_000) }])
    await expect(owned(spoil(bytes))).rejects.toMatchObject({
      name: 'EngineFailure',
      message: expect.stringContaining('invalid tar') as string,
    })
  })

  test('nothing at all is an empty tar', async () => {
    expect(await owned(Buffer.alloc(0))).toEqual(Buffer.alloc(0))
  })
})

test('any bytes end in a tar or in an error', async () => {
  const good = await packed([
    { name: 'a', content: 'abc' },
    { name: long, content: 'x' },
  ])
  await fc.assert(
    fc.asyncProperty(fc.nat(good.length - 1), fc.nat(255), async (at, byte) => {
      const bytes = Buffer.from(good)
      bytes[at] = byte
      await owned(bytes).catch((error: Error) => expect(error.name).toBe('EngineFailure'))
    }),
  )
})

function sealed(bytes: Buffer): Buffer {
  bytes.fill(0x20, 148, 156)
  const sum = bytes.subarray(0, 512).reduce((total, byte) => total + byte, 0)
  bytes.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  return bytes
}

async function* one(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes
}

describe('users', () => {
  const files = { passwd: 'root:x:0:0::/:\nuser:x:1000:1001::/:/bin/sh\n\n', group: 'root:x:0:\nstaff:x:50:user\n' }
  test.each([
    ['', { uid: 0, gid: 0 }],
    ['root', { uid: 0, gid: 0 }],
    ['0', { uid: 0, gid: 0 }],
    ['user', { uid: 1000, gid: 1001 }],
    ['1000', { uid: 1000, gid: 1001 }],
    ['7', { uid: 7, gid: 0 }],
    ['7:8', { uid: 7, gid: 8 }],
    ['user:8', { uid: 1000, gid: 8 }],
    ['user:staff', { uid: 1000, gid: 50 }],
    ['7:staff', { uid: 7, gid: 50 }],
    ['nobody-here', undefined],
    ['user:nothing-here', undefined],
  ])('%s is %j', (user, ids) => {
    expect(idsOf(user, files)).toEqual(ids)
  })

  test('root and numbers need no files', () => {
    expect(['', '0', 'root', '7:8', '7', 'user', 'user:8'].map(isNumeric)).toEqual([true, true, true, true, false, false, false])
    expect(idsOf('root', { passwd: '', group: '' })).toEqual({ uid: 0, gid: 0 })
  })
})
