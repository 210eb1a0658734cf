import { appendFile, type FileHandle, mkdtemp, open, readFile, rm, stat, truncate } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { BadPosition, measureLog, openLog, readFrames } from './log-file.ts'

let folder: string
let path: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'muster-log-'))
  path = join(folder, 'runs/r1/log')
})
afterEach(async () => {
  vi.restoreAllMocks()
  await rm(folder, { recursive: true, force: true })
})

const none = (): void => undefined

async function contents(from = 0): Promise<Record<'stdout' | 'stderr', string>> {
  const text = { stdout: '', stderr: '' }
  const { end } = await measureLog(path)
  for await (const { stream, data } of readFrames(path, from, () => end)) text[stream] += Buffer.from(data).toString('latin1')
  return text
}

it('keeps both streams apart, in order, and says how far each has come', async () => {
  let grown = 0
  const log = await openLog(path, () => grown++)
  await log.append({ stream: 'stdout', data: Buffer.from('one ') })
  await log.append({ stream: 'stderr', data: Buffer.from('bad'), cursor: 'c1' })
  await log.append({ stream: 'stdout', data: Buffer.from('two') })
  expect(log.totals()).toMatchObject({ stdout: 7, stderr: 3, cursor: 'c1' })
  await log.close()
  expect(grown).toBe(3)
  expect(await contents()).toEqual({ stdout: 'one two', stderr: 'bad' })
  expect((await stat(path)).mode & 0o777).toBe(0o600)
})

it('cuts a piece above the cap, and gives its cursor to the last part only', async () => {
  const log = await openLog(path, none)
  await log.append({ stream: 'stdout', data: Buffer.alloc(150_000, 'x'), cursor: 'after' })
  const { end } = log.totals()
  const sizes: number[] = []
  for await (const { data } of readFrames(path, 0, () => end)) sizes.push(data.length)
  expect(sizes).toEqual([65_536, 65_536, 18_928])
  // A kill between the parts leaves no cursor that skips bytes.
  await truncate(path, end - 1)
  const again = await openLog(path, none)
  const loose = { stdout: 131_072, stderr: 0 }
  expect(again.totals()).toEqual({ end: again.totals().end, ...loose, loose })
  // What is looked through in two steps is as what is looked through in one.
  const known = await measureLog(path)
  await again.append({ stream: 'stderr', data: Buffer.from('oh') })
  expect((await measureLog(path, known)).loose).toEqual({ ...loose, stderr: 2 })
  expect(known.loose).toEqual(loose)
  await again.append({ stream: 'stdout', data: Buffer.from('end'), cursor: 'c' })
  expect(again.totals().loose).toEqual({ stdout: 0, stderr: 0 })
  await again.close()
  await log.close()
})

it('is the same after a kill at any byte, but for the piece that was under way', async () => {
  const log = await openLog(path, none)
  const ends = [0]
  for (let n = 0; n < 20; n++) {
    await log.append({ stream: n % 3 === 0 ? 'stderr' : 'stdout', data: Buffer.from(`piece ${n};`), cursor: `c${n}` })
    ends.push(log.totals().end)
  }
  await log.close()
  const size = ends.at(-1) ?? 0
  for (let cut = size; cut >= 0; cut -= 7) {
    await truncate(path, cut)
    const again = await openLog(path, none)
    const whole = ends.filter((end) => end <= cut).length - 1
    expect(again.totals()).toMatchObject({ end: ends[whole] })
    expect(again.totals().cursor).toBe(whole === 0 ? undefined : `c${whole - 1}`)
    // What was torn is not in the way of what comes next.
    await again.append({ stream: 'stdout', data: Buffer.from('it goes on after the kill') })
    const { end } = again.totals()
    await again.close()
    expect((await measureLog(path)).end).toBe(end)
  }
})

it('goes on from every position that a reader was given, and from no other', async () => {
  const log = await openLog(path, none)
  for (const text of ['a', 'bb', 'ccc']) await log.append({ stream: 'stdout', data: Buffer.from(text) })
  await log.close()
  const { end } = await measureLog(path)
  const nexts: number[] = []
  for await (const { next } of readFrames(path, 0, () => end)) nexts.push(next)
  expect(await Promise.all(nexts.map((next) => contents(next)))).toMatchObject([
    { stdout: 'bbccc' },
    { stdout: 'ccc' },
    { stdout: '' },
  ])
  await expect(contents(1)).rejects.toThrow(BadPosition)
})

/** What every open file is made from, so that a disk can be full in the middle of a write. */
async function fileKind(): Promise<FileHandle> {
  const file = await open(folder)
  await file.close()
  return Object.getPrototypeOf(file) as FileHandle
}

const noRoom = (): Error => Object.assign(new Error('no space left on device'), { code: 'ENOSPC' })

it('goes on after a write that failed in the middle of a frame as if nothing of it had been written', async () => {
  const log = await openLog(path, none)
  await log.append({ stream: 'stdout', data: Buffer.from('before ') })
  const before = log.totals()
  const kind = await fileKind()
  const { write } = kind
  vi.spyOn(kind, 'write')
    .mockImplementationOnce(function (this: FileHandle, bytes: Uint8Array) {
      return Reflect.apply(write, this, [bytes, 0, bytes.length - 3]) as unknown
    } as typeof write)
    .mockRejectedValueOnce(noRoom())
  const piece = { stream: 'stdout', data: Buffer.from('told again '), cursor: 'c' } as const
  await expect(log.append(piece)).rejects.toMatchObject({
    name: 'StoreError',
    code: 'full',
    message: expect.stringMatching(/no space/),
  })
  expect(log.totals()).toEqual(before)
  expect((await stat(path)).size).toBeGreaterThan(before.end)
  // What was torn cannot be cut off at first either.
  vi.spyOn(kind, 'truncate').mockRejectedValueOnce(noRoom())
  await expect(log.append(piece)).rejects.toThrow('no space')
  await log.append(piece)
  await log.append({ stream: 'stdout', data: Buffer.from('after') })
  expect(await contents()).toEqual({ stdout: 'before told again after', stderr: '' })
  const { end } = log.totals()
  await log.close()
  const again = await openLog(path, none)
  expect(again.totals()).toMatchObject({ end, stdout: 23, stderr: 0, cursor: 'c' })
  await again.close()
})

it('is not fooled by output that looks like a frame', async () => {
  const log = await openLog(path, none)
  await log.append({ stream: 'stdout', data: Buffer.from('first') })
  const { end } = log.totals()
  await log.close()
  // A torn frame whose data holds a whole older frame.
  const old = Buffer.concat(
    await Array.fromAsync(
      readFrames(path, 0, () => end),
      ({ data }) => Buffer.from(data),
    ),
  )
  await appendFile(path, Buffer.concat([Buffer.from([1, 0, 0x4d, 0x75, 0, 1, 0, 0, 0, 0, 0, end]), old]))
  const again = await openLog(path, none)
  expect(again.totals().end).toBe(end)
  await again.close()
})

it('holds any bytes', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(fc.constantFrom('stdout' as const, 'stderr' as const), fc.uint8Array({ minLength: 1, maxLength: 300 }))),
      async (pieces) => {
        await rm(path, { force: true })
        const log = await openLog(path, none)
        const wanted = { stdout: '', stderr: '' }
        for (const [stream, data] of pieces) {
          await log.append({ stream, data })
          wanted[stream] += Buffer.from(data).toString('latin1')
        }
        await log.close()
        expect(await contents()).toEqual(wanted)
      },
    ),
    { numRuns: 50 },
  )
})

it('goes on from no position in output that only looks like the begin of a piece', async () => {
  const log = await openLog(path, none)
  await log.append({ stream: 'stdout', data: Buffer.from('first') })
  const { end } = log.totals()
  const frame = await readFile(path)
  // A log that was printed: what stands in it says that it is elsewhere.
  await log.append({ stream: 'stdout', data: frame })
  await log.close()
  await expect(contents(end + frame.length - 'first'.length)).rejects.toThrow(BadPosition)
  expect((await contents()).stdout).toBe(`first${frame.toString('latin1')}`)
})

it('finds all of it, also where what is read at once ends in the head of a piece', async () => {
  const log = await openLog(path, none)
  const [piece, head, block] = [65_536, 12, 1 << 20]
  await log.append({ stream: 'stdout', data: Buffer.alloc(15 * piece, 'x') })
  const { end } = log.totals()
  await log.append({ stream: 'stdout', data: Buffer.alloc(block - head / 2 - end - head, 'y') })
  expect(log.totals().end).toBe(block - head / 2)
  await log.append({ stream: 'stderr', data: Buffer.from('end') })
  const { loose: _loose, ...totals } = log.totals()
  await log.close()
  expect(await measureLog(path)).toMatchObject(totals)
})
