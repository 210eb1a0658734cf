import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { placeOf } from './files.ts'
import { openIdentity } from './identity.ts'
import { lockHost } from './lock.ts'
import { openSqliteStore } from './open.ts'
import type { Store } from './store.ts'
import { acquireTerm, type TermOptions } from './term.ts'

let dir: string
let store: Store
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'muster-term-'))
  store = await openSqliteStore(dir)
})
afterEach(async () => {
  await store.close()
  rmSync(dir, { recursive: true, force: true })
})

const options = (extra: Partial<TermOptions> = {}): TermOptions => ({ holder: 'a', exclusive: true, renewMs: 1e6, ...extra })

test('epochs grow; the right to act ends a margin before the term, by either clock', async () => {
  let wall = 1e12
  let mono = 0
  const clock = { ttlMs: 30_000, marginMs: 10_000, now: () => wall, monotonic: () => mono }
  const first = await acquireTerm(store, options(clock))
  expect([first.epoch(), first.mayAct()]).toEqual([1, true])
  mono = 19_999
  expect(first.mayAct()).toBe(true)
  mono = 20_000
  expect(first.mayAct()).toBe(false)
  mono = 0
  wall += 20_000
  expect(first.mayAct()).toBe(false)
  await first.release()
  const second = await acquireTerm(store, options(clock))
  expect([second.epoch(), second.mayAct(), first.mayAct()]).toEqual([2, true, false])
  await second.release()
})

test('a host that shares its store waits the former term out', async () => {
  let wall = 1e12
  const first = await acquireTerm(store, options({ now: () => wall, ttlMs: 1000, marginMs: 100 }))
  const waiting = acquireTerm(store, options({ holder: 'b', exclusive: false, now: () => wall }))
  await store.write(async (tx) =>
    expect(await tx.selectFrom('term').select('holder').executeTakeFirst()).toEqual({ holder: 'a' }),
  )
  wall += 1000
  const second = await waiting
  expect(second.epoch()).toBe(2)
  await second.release()
  await first.release()
})

test('renewal keeps the right to act; a taken term is lost for ever', async () => {
  let mono = 0
  const first = await acquireTerm(store, options({ renewMs: 5, ttlMs: 100, marginMs: 10, monotonic: () => mono, now: () => 0 }))
  mono = 95
  expect(first.mayAct()).toBe(false)
  await expect.poll(() => first.mayAct()).toBe(true)
  const second = await acquireTerm(store, options({ holder: 'b' }))
  expect(await first.lost).toBe('taken')
  expect(first.mayAct()).toBe(false)
  await first.release()
  expect(second.mayAct()).toBe(true)
  await second.release()
})

test('the term ends once the store is not in its place any more; what cannot be seen is no reason', async () => {
  const { linkSync, mkdirSync, renameSync, symlinkSync, writeFileSync } = await import('node:fs')
  const [folder, away] = [join(dir, 'folder'), join(dir, 'away')]
  mkdirSync(folder)
  writeFileSync(join(folder, 'db'), '')
  const inPlace = placeOf(join(folder, 'db'))
  const first = await acquireTerm(store, options({ renewMs: 5, inPlace }))
  renameSync(folder, away)
  symlinkSync(away, folder)
  expect(inPlace()).toBe(true)
  rmSync(folder)
  symlinkSync(folder, folder)
  expect(inPlace()).toBe(true)
  expect(first.mayAct()).toBe(true)
  rmSync(folder)
  expect(await first.lost).toBe('moved')
  expect(first.mayAct()).toBe(false)
  mkdirSync(folder)
  writeFileSync(join(folder, 'db'), '')
  expect(inPlace()).toBe(false)
  rmSync(join(folder, 'db'))
  linkSync(join(away, 'db'), join(folder, 'db'))
  expect(inPlace()).toBe(true)
})

async function start(path: string, restore?: 'adopt' | 'new-owner'): Promise<string> {
  const opened = await openSqliteStore(path)
  try {
    const identity = await openIdentity(opened, path, restore === undefined ? {} : { restore })
    const term = await acquireTerm(opened, options())
    identity.note(term.epoch())
    await term.release()
    return identity.owner
  } finally {
    await opened.close()
  }
}

test('the owner stays; an older or foreign database asks what to do', async () => {
  const { copyFileSync, mkdirSync } = await import('node:fs')
  const home = join(dir, 'home')
  const owner = await start(home)
  expect(await start(home)).toBe(owner)
  copyFileSync(join(home, 'muster.db'), join(dir, 'backup.db'))
  await start(home)
  copyFileSync(join(dir, 'backup.db'), join(home, 'muster.db'))
  await expect(start(home)).rejects.toMatchObject({ code: 'restored', hint: expect.stringContaining('--adopt') })
  expect(await start(home, 'adopt')).toBe(owner)
  expect(await start(home)).toBe(owner)

  const clone = join(dir, 'clone')
  mkdirSync(clone)
  copyFileSync(join(dir, 'backup.db'), join(clone, 'muster.db'))
  await expect(start(clone)).rejects.toMatchObject({ code: 'restored' })
  const renamed = await start(clone, 'new-owner')
  expect(renamed).not.toBe(owner)
  expect(await start(clone)).toBe(renamed)
})

test('a copy of a whole data folder asks whose the workers are for as long as the original is there; a moved one does not', async () => {
  const { cpSync, renameSync, symlinkSync } = await import('node:fs')
  const [home, copy, moved, link] = ['home', 'copy', 'moved', 'link'].map((name) => join(dir, name)) as [
    string,
    string,
    string,
    string,
  ]
  const owner = await start(home)
  symlinkSync(home, link)
  expect(await start(link)).toBe(owner)
  cpSync(home, copy, { recursive: true })
  await expect(start(copy)).rejects.toMatchObject({
    code: 'restored',
    message: expect.stringContaining(home),
    hint: expect.stringContaining('--new-owner'),
  })
  // Nothing was decided by asking.
  await expect(start(copy)).rejects.toMatchObject({ code: 'restored' })
  expect(await start(home)).toBe(owner)
  const other = await start(copy, 'new-owner')
  expect(other).not.toBe(owner)
  expect(await start(copy)).toBe(other)

  renameSync(home, moved)
  expect(await start(moved)).toBe(owner)
  // What is at the former place now is another deployment.
  cpSync(copy, home, { recursive: true })
  expect(await start(moved)).toBe(owner)
})

test('a copy goes on for its original once that has ended, past the epochs that were used there', async () => {
  const { cpSync } = await import('node:fs')
  const [home, copy] = ['home', 'copy'].map((name) => join(dir, name)) as [string, string]
  const owner = await start(home)
  cpSync(home, copy, { recursive: true })
  for (let starts = 0; starts < 3; starts += 1) await start(home)
  const running = lockHost(join(home, 'host.lock'))
  await expect(start(copy, 'adopt')).rejects.toMatchObject({ code: 'held', message: expect.stringContaining(home) })
  running.release()
  expect(await start(copy, 'adopt')).toBe(owner)
  const used = JSON.parse(readFileSync(join(copy, 'owner.json'), 'utf8')) as { epoch: number }
  expect(used.epoch).toBe(5)
  expect(await start(copy)).toBe(owner)
  // A unit that is still enabled, or the next boot: the original is the older one now.
  await expect(start(home)).rejects.toMatchObject({ code: 'restored' })
  expect(await start(home, 'new-owner')).not.toBe(owner)
  expect(await start(copy)).toBe(owner)
})

test('what cannot be looked into is taken for the original, until somebody says whose the workers are', async () => {
  const { cpSync, renameSync, symlinkSync } = await import('node:fs')
  const [home, copy, moved] = ['home', 'copy', 'moved'].map((name) => join(dir, name)) as [string, string, string]
  const owner = await start(home)
  cpSync(home, copy, { recursive: true })
  const note = join(home, 'owner.json')
  renameSync(note, join(dir, 'note'))
  symlinkSync(note, note)
  const asked = { code: 'restored', message: expect.stringMatching(/home.*ELOOP/) }
  await expect(start(copy)).rejects.toMatchObject(asked)
  renameSync(join(dir, 'note'), note)
  renameSync(home, moved)
  symlinkSync(home, home)
  await expect(start(copy)).rejects.toMatchObject(asked)
  expect(await start(copy, 'adopt')).toBe(owner)
  expect(await start(copy)).toBe(owner)
})

test('a copy goes on for an original whose lock cannot be asked', async () => {
  const { cpSync, mkdirSync } = await import('node:fs')
  const [home, copy] = ['home', 'copy'].map((name) => join(dir, name)) as [string, string]
  const owner = await start(home)
  cpSync(home, copy, { recursive: true })
  const lock = join(home, 'host.lock')
  rmSync(lock)
  mkdirSync(lock)
  expect(await start(copy, 'adopt')).toBe(owner)
})

test('a new owner is for what was restored or copied: of others it is refused, said again it changes nothing', async () => {
  const { rmSync: remove } = await import('node:fs')
  const home = join(dir, 'home')
  const owner = await start(home, 'new-owner')
  await expect(start(home, 'new-owner')).rejects.toMatchObject({ code: 'restored', hint: expect.stringContaining('owner.json') })
  // As the hint says, of a copy whose original is on another machine.
  remove(join(home, 'owner.json'))
  const other = await start(home, 'new-owner')
  expect(other).not.toBe(owner)
  expect(await start(home, 'new-owner')).toBe(other)
  expect(await start(home)).toBe(other)
  await expect(start(home, 'new-owner')).rejects.toMatchObject({ code: 'restored' })
})

test('a new owner that was given at another place counts for nothing', async () => {
  const { cpSync, renameSync } = await import('node:fs')
  const [home, copy, far] = ['home', 'copy', 'far'].map((name) => join(dir, name)) as [string, string, string]
  await start(home)
  cpSync(home, copy, { recursive: true })
  const owner = await start(copy, 'new-owner')
  renameSync(copy, far)
  await expect(start(far, 'new-owner')).rejects.toMatchObject({ code: 'restored', hint: expect.stringContaining('owner.json') })
  expect(await start(far)).toBe(owner)
})

test('a host killed between taking the term and noting it starts as itself', async () => {
  const home = join(dir, 'killed')
  const opened = await openSqliteStore(home)
  const { owner } = await openIdentity(opened, home)
  await acquireTerm(opened, options())
  await opened.close()
  expect(await start(home)).toBe(owner)
})
