/** What comes out of `tar`, with a shell in its place that says and does what a tar would. */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TarEntry, tarStream } from '@muster/test/systems/tar'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { packed, unpack, unpackWords } from './copy.ts'
import { asker } from './kinds.ts'

const tarOf = (script: string): ChildProcess => spawn('/bin/sh', ['-c', script], { stdio: 'pipe' })
const never = new AbortController().signal

async function taken(script: string): Promise<{ bytes: number; error: unknown }> {
  let bytes = 0
  try {
    for await (const chunk of packed(tarOf(script), 'secret', never)) bytes += chunk.length
  } catch (error) {
    return { bytes, error }
  }
  return { bytes, error: undefined }
}

const closed = `echo 'tar: secret/a: Cannot open: Permission denied' >&2
echo 'tar: Exiting with failure status due to previous errors' >&2
exit 2`

test('what cannot be read is told with its reason, before a byte of it', async () => {
  const { bytes, error } = await taken(`head -c 10240 /dev/zero; ${closed}`)
  expect(bytes).toBe(0)
  expect(error).toMatchObject({
    code: 'invalid-spec',
    path: 'path',
    message: 'cannot read secret: tar: secret/a: Cannot open: Permission denied',
  })
})

test('a large tree comes as it is read, and fails at its end', async () => {
  const { bytes, error } = await taken(`head -c 5000000 /dev/zero; ${closed}`)
  expect(bytes).toBeGreaterThan(0)
  expect(error).toMatchObject({ code: 'invalid-spec' })
})

test.each([10_240, 3_000_000])('%d bytes come whole, also when a file changed under them', async (size) => {
  expect(await taken(`head -c ${size} /dev/zero; echo 'tar: secret: file changed as we read it' >&2; exit 1`)).toEqual({
    bytes: size,
    error: undefined,
  })
})

test.each([
  ['filled up with zeros', 'tar: secret: File shrank by 9 bytes; padding with zeros'],
  ['left out by a tar that has one code for all errors', "tar: can't open 'secret/a': Permission denied"],
])('what was %s is not whole', async (_how, line) => {
  const { bytes, error } = await taken(`head -c 10240 /dev/zero; echo "${line}" >&2; exit 1`)
  expect(bytes).toBe(0)
  expect(error).toMatchObject({ message: `cannot read secret: ${line}` })
})

/** Unpacks with the system's tar, as this process's own user; counts what the shell is asked. */
async function into(folder: string, entries: readonly TarEntry[]): Promise<number> {
  const asked = spawn('/bin/sh', [], { stdio: 'pipe' })
  let writes = 0
  const { write } = asked.stdin
  asked.stdin.write = ((...given: Parameters<typeof write>) => {
    writes += 1
    return write.apply(asked.stdin, given)
  }) as typeof write
  const child = spawn('/bin/sh', [...unpackWords.slice(1), folder], { stdio: 'pipe' })
  await unpack({ child, asker: asker(asked, { folder, path: '/in' }), path: '/in' }, tarStream(entries), never)
  return writes
}

const file = (path: string, content: string | Buffer = path): TarEntry => ({ kind: 'file', path, content })

describe('unpacking', () => {
  let folder: string
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'muster-unpack-'))
  })
  afterEach(() => rm(folder, { recursive: true, force: true }))

  test('a place that is closed to the worker is named whole', async () => {
    const asked = spawn('/bin/sh', [], { stdio: 'pipe' })
    const script = 'cat >/dev/null; echo "tar: pwned: Cannot open: Permission denied" >&2; exit 2'
    const child = spawn('/bin/sh', ['-c', script], { stdio: 'pipe' })
    const tar = tarStream([file('pwned')])
    await expect(
      unpack({ child, asker: asker(asked, { folder, path: 'evil' }), path: 'evil' }, tar, never),
    ).rejects.toMatchObject({
      code: 'invalid-spec',
      message: 'cannot unpack the tar in evil: tar: pwned: Cannot open: Permission denied',
    })
  })

  test('many small files cost a question for hundreds, and come whole with large ones between them', async () => {
    const large = Buffer.alloc(3_000_000, 'large')
    const small = Array.from({ length: 600 }, (_one, index) => file(`a${index}`))
    const writes = await into(folder, [...small, file('large', large), file('last')])
    // The first says how to ask.
    expect(writes).toBe(1 + 4)
    expect((await readdir(folder)).length).toBe(602)
    expect((await readFile(join(folder, 'large'))).equals(large)).toBe(true)
    expect(await readFile(join(folder, 'a599'), 'utf8')).toBe('a599')
    expect(await readFile(join(folder, 'last'), 'utf8')).toBe('last')
  })

  test('what stands there in another kind is found among many, and so is what came before it in the archive', async () => {
    await mkdir(join(folder, 'there'))
    await expect(into(folder, [file('a'), file('b'), file('there'), file('c')])).rejects.toMatchObject({
      ...{ code: 'invalid-spec', path: '/in' },
      message: 'cannot copy into the worker: there is a folder, and no file takes its place',
    })
    expect(await readdir(folder)).toEqual(['there'])
    await expect(into(folder, [file('x'), { kind: 'folder', path: 'x' }])).rejects.toThrow('x is no folder')
    await into(folder, [{ kind: 'folder', path: 'new' }, file('new/deep'), { kind: 'folder', path: 'new' }])
    expect(await readFile(join(folder, 'new/deep'), 'utf8')).toBe('new/deep')
  })

  test('a shell that says something else ends it: its words are not kept', async () => {
    const mad = spawn('/bin/sh', ['-c', 'exec cat /dev/zero'], { stdio: 'pipe' })
    const one = asker(mad, { folder, path: '/in' })
    await expect(one.look([{ name: 'a', type: 'file' }])).rejects.toThrow('says something else')
    one.close()
  })
})
