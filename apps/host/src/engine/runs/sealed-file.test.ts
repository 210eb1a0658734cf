import { type FileHandle, mkdtemp, open, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buffer } from 'node:stream/consumers'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { sealer } from '../../store/seal.ts'
import { openSpool, readSealed, writeSealed } from './sealed-file.ts'

const seal = { sealer: sealer(Buffer.alloc(32, 7)), context: 'run:r1' }
let folder: string
let path: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'muster-sealed-'))
  path = join(folder, 'in/source')
})
afterEach(async () => {
  vi.restoreAllMocks()
  await rm(folder, { recursive: true, force: true })
})

async function* chunks(...parts: string[]): AsyncGenerator<Uint8Array> {
  for (const part of parts) yield Buffer.from(part)
}
const text = async (): Promise<string> => (await buffer(readSealed(path, seal))).toString()

describe('a sealed file', () => {
  it('gives back what was stored and shows none of it', async () => {
    const long = 'canary'.repeat(100_000)
    const digest = await writeSealed(path, chunks('a', long), seal)
    expect(digest.bytes).toBe(600_001)
    expect(await text()).toBe(`a${long}`)
    expect((await readFile(path)).includes('canary')).toBe(false)
  })

  it('leaves nothing when its source fails', async () => {
    async function* broken(): AsyncGenerator<Uint8Array> {
      yield Buffer.from('x')
      throw new Error('cut')
    }
    await expect(writeSealed(path, broken(), seal)).rejects.toThrow('cut')
    expect(await readdir(join(folder, 'in'))).toEqual([])
  })

  it('does not open when it was changed, cut, or belongs to another', async () => {
    await writeSealed(path, chunks('one', 'two'), seal)
    const bytes = await readFile(path)
    await expect(buffer(readSealed(path, { ...seal, context: 'run:r2' }))).rejects.toThrow(/does not open/)
    await truncate(path, bytes.length - 40)
    await expect(text()).rejects.toThrow(/cut off/)
    const changed = Buffer.from(bytes)
    changed[20] = (changed[20] ?? 0) ^ 1
    await writeFile(path, changed)
    await expect(text()).rejects.toThrow(/does not open/)
    // The second record in the first one's place.
    const first = 4 + bytes.readUInt32BE(0)
    await writeFile(path, bytes.subarray(first))
    await expect(text()).rejects.toThrow(/does not open/)
  })
})

describe('a spool', () => {
  it('goes on after a write that a full disk cut off as if nothing of it had been written', async () => {
    const spool = await openSpool(path, seal)
    await spool.append(Buffer.from('before '), false)
    const file = await open(path)
    await file.close()
    const kind = Object.getPrototypeOf(file) as FileHandle
    const { write } = kind
    vi.spyOn(kind, 'write')
      .mockImplementationOnce(function (this: FileHandle, bytes: Uint8Array) {
        return Reflect.apply(write, this, [bytes, 0, bytes.length - 3]) as unknown
      } as typeof write)
      .mockRejectedValueOnce(Object.assign(new Error('no space left on device'), { code: 'ENOSPC' }))
    await expect(spool.append(Buffer.from('told again '), false)).rejects.toMatchObject({ name: 'StoreError', code: 'full' })
    expect(spool.state()).toEqual({ offset: 7, ended: false })
    await spool.append(Buffer.from('told again '), false)
    await spool.append(Buffer.from('after'), true)
    const read = await buffer(spool.read(new AbortController().signal))
    expect(read.toString()).toBe('before told again after')
    await spool.close()
    const again = await openSpool(path, seal)
    expect(again.state()).toEqual({ offset: 23, ended: true })
    await again.close()
  })

  it('is read while it grows, from the first byte, also after a restart in the middle', async () => {
    const one = await openSpool(path, seal)
    await one.append(Buffer.from('first '), false)
    await one.close()
    const spool = await openSpool(path, seal)
    expect(spool.state()).toEqual({ offset: 6, ended: false })
    const read = buffer(spool.read(new AbortController().signal))
    await spool.append(Buffer.from('second'), false)
    await spool.append(new Uint8Array(0), true)
    expect((await read).toString()).toBe('first second')
    expect(spool.state()).toEqual({ offset: 12, ended: true })
    await spool.close()
  })

  it('loses only the piece that was torn', async () => {
    const one = await openSpool(path, seal)
    await one.append(Buffer.from('kept'), false)
    await one.append(Buffer.from('torn'), false)
    await one.close()
    await truncate(path, (await readFile(path)).length - 1)
    const spool = await openSpool(path, seal)
    expect(spool.state()).toEqual({ offset: 4, ended: false })
    await spool.close()
  })

  it('lets a reader go when it is aborted', async () => {
    const spool = await openSpool(path, seal)
    const abort = new AbortController()
    const read = Array.fromAsync(spool.read(abort.signal))
    abort.abort()
    expect(await read).toEqual([])
    await spool.close()
  })

  it('lets a writer wait for its reader, and go when it is closed', async () => {
    const spool = await openSpool(path, seal)
    await spool.append(Buffer.alloc(16 << 20), false)
    let free = false
    const room = spool.room().then(() => (free = true))
    const abort = new AbortController()
    const waiting = spool.room(abort.signal)
    abort.abort()
    await expect(waiting).rejects.toThrow(/abort/)
    expect(free).toBe(false)
    const reader = spool.read(new AbortController().signal)
    await reader.next()
    await reader.next()
    await room
    await spool.append(Buffer.alloc(1 << 20), false)
    const closing = spool.room()
    await reader.return(undefined)
    await spool.close()
    await closing
    expect(spool.closed).toBe(true)
  })

  it('takes pieces one at a time', async () => {
    const spool = await openSpool(path, seal)
    await Promise.all(['a', 'b', 'c'].map((one) => spool.exclusive(() => spool.append(Buffer.from(one), false))))
    await spool.exclusive(() => spool.append(new Uint8Array(0), true))
    expect((await buffer(spool.read(new AbortController().signal))).toString()).toBe('abc')
    await spool.close()
  })
})
