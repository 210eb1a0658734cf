/** What the system's tar packs while something changes under it. What is said of it comes from a shell around it: no test can meet that moment. */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type TempFolder, tempFolder } from '@muster/test/systems/temp'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { packed } from './copy.ts'

const never = new AbortController().signal
const CHANGED = "echo 'tar: out/log: file changed as we read it' >&2"
const GREW = `${CHANGED}; exit 1`
const SIZES = [5_000, 3_000_000]

let temp: TempFolder
beforeEach(async () => {
  temp = await tempFolder('packed')
})
afterEach(() => temp.remove())

/** Of `out` with a log of a size in it; `then` is done behind tar. */
async function take(size: number, then: string): Promise<number> {
  const at = join(temp.path, 'out')
  await mkdir(at, { recursive: true })
  await writeFile(join(at, 'log'), Buffer.alloc(size, 'line\n'))
  let entered = 0
  const enter = ([program = '', ...words]: readonly string[]): ChildProcess => {
    entered += 1
    const script = `cd ${temp.path}; tar -cf - out; ${then}`
    return entered === 1 ? spawn('/bin/sh', ['-c', script]) : spawn(program, words)
  }
  let bytes = 0
  for await (const chunk of packed({ enter, at, path: 'out' }, never)) bytes += chunk.length
  return bytes
}

test.each(SIZES)('a log of %d bytes that grew under it comes whole', async (size) => {
  expect(await take(size, `echo more >>out/log; ${GREW}`)).toBeGreaterThan(size)
})

test.each(SIZES)('a file of %d bytes that was written anew is not called whole', async (size) => {
  await expect(take(size, `printf x | dd of=out/log conv=notrunc 2>/dev/null; ${GREW}`)).rejects.toMatchObject({
    code: 'transient',
    message: 'cannot read out: tar: out/log: file changed as we read it',
  })
})

test.each(SIZES)('one of %d bytes that shrank, and was filled up with zeros, is not called whole', async (size) => {
  const shrank = "echo 'tar: out/log: File shrank by 4000 bytes; padding with zeros' >&2"
  await expect(take(size, `${shrank}; ${GREW}`)).rejects.toMatchObject({
    message: 'cannot read out: tar: out/log: File shrank by 4000 bytes; padding with zeros',
  })
})

test.each([
  [
    'a tar that ends with 1 for whatever it cannot read',
    "echo \"tar: can't open 'out/b': Permission denied\" >&2; exit 1",
    'invalid-spec',
  ],
  ['a folder that changed', "echo 'tar: out: file changed as we read it' >&2; exit 1", 'transient'],
  ['one file that grew, and one that went away', "echo 'tar: out/b: File removed before we read it' >&2; " + GREW, 'transient'],
  ['an end of 1 without a word', 'exit 1', 'transient'],
  ['more words than are kept', `${CHANGED}; head -c 3000 /dev/zero | tr '\\0' '\\n' >&2; exit 1`, 'transient'],
])('%s is told, not called whole', async (_what, then, code) => {
  await expect(take(100, then)).rejects.toMatchObject({ code })
})

test('of more words than are kept, the reason is a whole line', async () => {
  const many = `i=0; while [ $i -lt 90 ]; do echo "tar: out/$i: File removed before we read it" >&2; i=$((i+1)); done; exit 1`
  await expect(take(100, many)).rejects.toMatchObject({
    message: expect.stringMatching(/^cannot read out: tar: out\/\d+: File removed before we read it$/),
  })
})

test('a tar that was cut off is not called whole, whatever its end says', async () => {
  const enter = (): ChildProcess =>
    spawn('/bin/sh', ['-c', `cd ${temp.path}; head -c 5000 /dev/zero >a; tar -cf - a | head -c 2000`])
  await expect(Array.fromAsync(packed({ enter, at: join(temp.path, 'a'), path: 'a' }, never))).rejects.toMatchObject({
    message: 'cannot read a: what packs it broke off',
  })
})
