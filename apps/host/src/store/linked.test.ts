/** Copies of a data folder by hard links, as some snapshot tools make them. */
import {
  cpSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { lockHost } from './lock.ts'
import { openSqliteStore } from './open.ts'
import { openSealKey, sealKeyPath } from './seal.ts'
import { start } from './start.test.helper.ts'
import type { Store } from './store.ts'

let room: string
let home: string
let copy: string
let owner: string
beforeEach(async () => {
  room = mkdtempSync(join(tmpdir(), 'muster-linked-'))
  home = join(room, 'home')
  copy = join(room, 'copy')
  owner = await start(home)
  openSealKey(sealKeyPath(home))
})
afterEach(() => rmSync(room, { recursive: true, force: true }))

function linkTo(names: readonly string[] = readdirSync(home)): void {
  mkdirSync(copy, { recursive: true })
  for (const name of names) linkSync(join(home, name), join(copy, name))
}

/** Whoever takes the lock writes its name into it. */
const contents = (dir: string): Record<string, string> =>
  Object.fromEntries(
    readdirSync(dir)
      .filter((name) => name !== 'host.lock')
      .map((name) => [name, readFileSync(join(dir, name), 'base64')]),
  )

const linked = { code: 'corrupt', message: expect.stringContaining('hard link'), hint: expect.stringContaining('cp -a') }

test.each([undefined, 'adopt', 'new-owner'] as const)(
  'a copy by hard links is not opened, and nothing is changed: %s',
  async (said) => {
    linkTo()
    const before = contents(home)
    await expect(start(copy, said)).rejects.toMatchObject(linked)
    expect([contents(home), contents(copy)]).toEqual([before, before])
    // Also under the path of its original, as in another container or in its place.
    const aside = join(room, 'aside')
    renameSync(home, aside)
    renameSync(copy, home)
    await expect(start(home, said)).rejects.toMatchObject(linked)
    // And the original elsewhere than in its place.
    await expect(start(aside, said)).rejects.toMatchObject(linked)
    expect([contents(home), contents(aside)]).toEqual([before, before])
    // As the hint says.
    rmSync(home, { recursive: true })
    expect(await start(aside)).toBe(owner)
  },
)

test.each([undefined, 'adopt', 'new-owner'] as const)(
  'the original gets files of its own and says so; the copy keeps what it had, and is not opened any more than before: %s',
  async (said) => {
    linkTo()
    const before = contents(copy)
    const told: string[][] = []
    const tell = (files: readonly string[]): unknown => told.push(files.map((file) => file.slice(home.length + 1)))
    expect(await start(home, undefined, tell)).toBe(owner)
    expect(told).toEqual([['muster.db', 'host.lock']])
    expect(readdirSync(home).filter((name) => statSync(join(home, name)).nlink > 1)).toEqual(['seal.key'])
    expect(contents(copy)).toEqual(before)
    await expect(start(copy, said)).rejects.toMatchObject({ ...linked, message: expect.stringContaining('seal.key') })
    expect(contents(copy)).toEqual(before)
    // As the hint says.
    const own = join(room, 'own')
    cpSync(copy, own, { recursive: true })
    expect(await start(own, 'new-owner')).not.toBe(owner)
    expect(await start(home, undefined, tell)).toBe(owner)
    expect(told).toHaveLength(1)
  },
)

const write = async (store: Store, key: string): Promise<void> =>
  store.write(async (tx) => {
    await tx.insertInto('meta').values({ key, value: 'x' }).execute()
  })

async function keysOf(dir: string): Promise<string[]> {
  const store = await openSqliteStore(dir)
  try {
    const rows = await store.read.selectFrom('meta').select('key').where('key', 'like', 'test:%').orderBy('key').execute()
    return rows.map((row) => row.key)
  } finally {
    await store.close()
  }
}

test('a copy made while a daemon worked is whole to what that wrote last, and the next one writes nothing into it', async () => {
  const first = await openSqliteStore(home)
  await write(first, 'test:1')
  linkTo()
  const log = join(home, 'muster.db-wal')
  const killed = join(room, 'killed')
  linkSync(log, killed)
  await write(first, 'test:2')
  await first.close()
  // What was killed leaves its log.
  linkSync(killed, log)
  rmSync(killed)
  const next = await openSqliteStore(home)
  await write(next, 'test:3')
  await next.close()
  expect(await keysOf(home)).toEqual(['test:1', 'test:2', 'test:3'])
  rmSync(home, { recursive: true })
  expect(await keysOf(copy)).toEqual(['test:1', 'test:2'])
})

test('the draft of a start that was cut off goes with the next, also where the other folder is gone by then', async () => {
  const draft = join(home, 'muster.db.own.part')
  writeFileSync(draft, 'half of it')
  expect(await start(home)).toBe(owner)
  expect(existsSync(draft)).toBe(false)
})

test('where only the lock is left of what two folders share, the original parts it, and the copy is still not opened', async () => {
  linkTo(['host.lock', 'seal.key', 'owner.json'])
  await expect(start(copy)).rejects.toMatchObject(linked)
  expect(await start(home)).toBe(owner)
  expect(statSync(join(home, 'host.lock')).nlink).toBe(1)
})

test('whoever has the lock that two folders share keeps both out, and what comes by its name afterwards too', async () => {
  linkTo()
  const before = contents(home)
  const atWork = lockHost(join(copy, 'host.lock'))
  await expect(start(home)).rejects.toMatchObject({ code: 'held' })
  expect(contents(home)).toEqual(before)
  atWork.release()
  const store = await openSqliteStore(home)
  await expect(start(home)).rejects.toMatchObject({ code: 'held' })
  expect(() => lockHost(join(copy, 'host.lock'))).toThrow('in use')
  await store.close()
  lockHost(join(copy, 'host.lock')).release()
})
