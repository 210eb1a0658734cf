/** Data folders that are not whole, that have gone on elsewhere, or that share their files: asked before anything is changed. */
import { cpSync, existsSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Restore } from './identity.ts'
import { lockHost } from './lock.ts'
import { checkFolder, leap, ownerPath } from './note.ts'
import { openSqliteStore } from './open.ts'
import { start as startFolder } from './start.test.helper.ts'

let room: string
let home: string
beforeEach(() => {
  room = mkdtempSync(join(tmpdir(), 'muster-folder-'))
  home = join(room, 'home')
})
afterEach(() => rmSync(room, { recursive: true, force: true }))

/** As the daemon does. */
async function start(dir: string, restore?: Restore): Promise<string> {
  checkFolder(dir, restore)
  return startFolder(dir, restore)
}

test('an original knows who goes on in its place, and does not go on beside it', async () => {
  const copy = join(room, 'copy')
  const owner = await start(home)
  cpSync(home, copy, { recursive: true })
  expect(await start(copy, 'adopt')).toBe(owner)
  const asked = { code: 'restored', message: expect.stringContaining(copy), hint: expect.stringContaining(copy) }
  await expect(start(home)).rejects.toMatchObject(asked)
  const atWork = lockHost(join(copy, 'host.lock'))
  await expect(start(home, 'adopt')).rejects.toMatchObject({ code: 'held', message: expect.stringContaining(copy) })
  atWork.release()
  // The way back: the copy rests in turn, and knows it.
  expect(await start(home, 'adopt')).toBe(owner)
  expect(await start(home)).toBe(owner)
  await expect(start(copy)).rejects.toMatchObject({ code: 'restored', message: expect.stringContaining(home) })
})

test('a copy of an original that rests asks for the one that works, too', async () => {
  const [copy, third] = [join(room, 'copy'), join(room, 'third')]
  await start(home)
  cpSync(home, copy, { recursive: true })
  await start(copy, 'adopt')
  cpSync(home, third, { recursive: true })
  const atWork = lockHost(join(copy, 'host.lock'))
  await expect(start(third, 'adopt')).rejects.toMatchObject({ code: 'held', message: expect.stringContaining(copy) })
  atWork.release()
})

test('a folder that has lost its store says so, and nothing is begun in it', async () => {
  const owner = await start(home)
  renameSync(join(home, 'muster.db'), join(room, 'muster.db'))
  await expect(start(home)).rejects.toMatchObject({
    code: 'restored',
    message: expect.stringMatching(/muster\.db.*missing/),
    hint: expect.stringContaining('muster restore'),
  })
  expect(existsSync(join(home, 'muster.db'))).toBe(false)
  renameSync(join(room, 'muster.db'), join(home, 'muster.db'))
  expect(await start(home)).toBe(owner)
})

test.each([undefined, 'adopt', 'new-owner'] as const)('a log without its store is never opened: %s', async (restore) => {
  await start(home)
  renameSync(join(home, 'muster.db'), join(room, 'muster.db'))
  const log = join(home, 'muster.db-wal')
  writeFileSync(log, 'what was written last')
  await expect(start(home, restore)).rejects.toThrow('muster.db')
  await expect(openSqliteStore(home)).rejects.toMatchObject({
    code: 'corrupt',
    message: expect.stringContaining('muster.db-wal'),
  })
  expect(readFileSync(log, 'utf8')).toBe('what was written last')
})

test('a copy without its store does not go on beside its original', async () => {
  const copy = join(room, 'copy')
  await start(home)
  cpSync(home, copy, { recursive: true })
  rmSync(join(copy, 'muster.db'))
  const atWork = lockHost(join(home, 'host.lock'))
  await expect(start(copy, 'adopt')).rejects.toMatchObject({ code: 'held', message: expect.stringContaining(home) })
  atWork.release()
})

test.each([
  ['missing', (path: string) => rmSync(path)],
  ['damaged', (path: string) => writeFileSync(path, '')],
])('an original whose note is %s is asked for all the same', async (_how, harm) => {
  const copy = join(room, 'copy')
  const owner = await start(home)
  cpSync(home, copy, { recursive: true })
  harm(ownerPath(home))
  await expect(start(copy)).rejects.toMatchObject({ code: 'restored', message: expect.stringContaining(home) })
  const atWork = lockHost(join(home, 'host.lock'))
  await expect(start(copy, 'adopt')).rejects.toMatchObject({ code: 'held' })
  atWork.release()
  expect(await start(copy, 'adopt')).toBe(owner)
  await expect(start(home)).rejects.toMatchObject({ code: 'restored', message: expect.stringContaining(copy) })
})

test.each([undefined, 'adopt', 'new-owner'] as const)(
  'a restore that was cut off is made again, whatever a start is told: %s',
  async (restore) => {
    const owner = await start(home)
    leap(ownerPath(home), { owner, epoch: 1 }, { restoring: 'before-restore-x' })
    await expect(start(home, restore)).rejects.toMatchObject({
      code: 'restored',
      message: expect.stringContaining('cut off'),
      hint: expect.stringContaining('before-restore-x'),
    })
  },
)

test.each([
  ['garbage', 'no database at all, but longer than the head of one '.repeat(4)],
  ['a piece', ''],
])('a lock file that is %s is told as that, not as a damaged store', async (_what, text) => {
  await start(home)
  const lock = join(home, 'host.lock')
  const whole = readFileSync(lock)
  writeFileSync(lock, text === '' ? whole.subarray(0, 2048) : text)
  await expect(start(home)).rejects.toMatchObject({
    message: expect.stringContaining(`the lock file ${lock} is damaged`),
    hint: expect.stringContaining('remove it'),
  })
  rmSync(lock)
  await start(home)
})
