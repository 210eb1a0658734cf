import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { openBackups } from './backup.ts'
import { openIdentity } from './identity.ts'
import { lockHost } from './lock.ts'
import { checkFolder, noteIn, ownerPath, writeNote } from './note.ts'
import { lockPath, storePath } from './files.ts'
import { openSqliteStore } from './open.ts'
import { restore } from './restore.ts'
import { openSealer } from './sealer.ts'
import type { Store } from './store.ts'

let room: string
let dir: string
let file: string
beforeEach(() => {
  room = mkdtempSync(join(tmpdir(), 'muster-restore-'))
  dir = join(room, 'data')
  file = join(room, 'backup.tar')
  mkdirSync(join(dir, 'backup.part'), { recursive: true })
})
afterEach(() => rmSync(room, { recursive: true, force: true }))

async function addToken(store: Store, name: string, expires: number | null = null): Promise<void> {
  const token = { id: `t-${name}`, name, role: 'operator', hash: name, created_at: 1, expires_at: expires }
  await store.write((tx) =>
    tx
      .insertInto('tokens')
      .values({ ...token, revoked_at: null, last_used_at: null })
      .execute(),
  )
}

/** A backup with three tokens; after it one of them is revoked, and one is made. */
async function makeBackup(): Promise<void> {
  const store = await openSqliteStore(dir)
  await openIdentity(store, dir)
  await openSealer(store, dir)
  await addToken(store, 'kept')
  await addToken(store, 'leaked')
  await addToken(store, 'over', 5)
  const backups = await openBackups({ store, dataDir: dir, version: '1.2.3' })
  const backup = await backups.begin({ key: true, logs: false }, new AbortController().signal)
  await writeFile(file, backup?.tar ?? '')
  await backup?.dispose()
  await store.write((tx) => tx.updateTable('tokens').set({ revoked_at: 77 }).where('id', '=', 't-leaked').execute())
  await addToken(store, 'later')
  await store.close()
}

function revokedIn(folder: string): unknown {
  using db = new DatabaseSync(storePath(folder), { readOnly: true })
  return db
    .prepare('select id, revoked_at from tokens where revoked_at is not null')
    .all()
    .map((row) => ({ ...row }))
}

test('what was revoked since the backup stays revoked, and the good ones are named', async () => {
  await makeBackup()
  const { tokens } = await restore({ file, dir, force: true, withoutKey: false })
  expect(tokens).toEqual({ revoked: 1, live: [{ id: 't-kept', name: 'kept', role: 'operator' }] })
  expect(revokedIn(dir)).toEqual([{ id: 't-leaked', revoked_at: 77 }])
})

test('in another folder, and where the store is damaged, nobody knows of it, and that is said', async () => {
  await makeBackup()
  const live = ['leaked', 'kept'].map((name) => ({ id: `t-${name}`, name, role: 'operator' }))
  const other = join(room, 'other')
  expect((await restore({ file, dir: other, force: false, withoutKey: false })).tokens).toEqual({ live })
  writeFileSync(storePath(dir), 'no database')
  expect((await restore({ file, dir, force: true, withoutKey: false })).tokens).toEqual({ live })
  expect(revokedIn(dir)).toEqual([])
})

test('a file that is not there is told as that, whatever is in the folder', async () => {
  const refused = restore({ file, dir, force: false, withoutKey: false })
  await expect(refused).rejects.toMatchObject({ name: 'RestoreError', message: `there is no file ${file}` })
})

test('a restore that is refused leaves the folder as it was: its mode, and what is in it', async () => {
  await makeBackup()
  const mode = (path: string): number => statSync(path).mode & 0o777
  // As plugins with users of their own need it.
  chmodSync(dir, 0o710)
  const atWork = lockHost(lockPath(dir))
  await expect(restore({ file, dir, force: true, withoutKey: false })).rejects.toMatchObject({ code: 'held' })
  atWork.release()
  expect(mode(dir)).toBe(0o710)

  const other = join(room, 'other')
  mkdirSync(other, { mode: 0o755 })
  chmodSync(other, 0o755)
  writeFileSync(join(other, 'something'), '')
  writeFileSync(join(room, 'cut.tar'), 'no backup')
  await expect(restore({ file: join(room, 'cut.tar'), dir: other, force: true, withoutKey: false })).rejects.toThrow('no backup')
  expect([mode(other), readdirSync(other)]).toEqual([0o755, ['something']])
})

test('a restore that is cut off while it moves files is no start, and can be made again', async () => {
  await makeBackup()
  const now = Date.UTC(2030, 0)
  const how = { file, dir, force: true, withoutKey: false }
  // In the way of the key, which goes after the store.
  mkdirSync(join(dir, 'before-restore-2030-01-01T00-00-00-000Z/seal.key'), { recursive: true })
  await expect(restore({ ...how, now: () => now })).rejects.toThrow('EISDIR')
  expect(existsSync(storePath(dir))).toBe(false)
  for (const said of [undefined, 'adopt', 'new-owner'])
    expect(() => checkFolder(dir, said)).toThrow('a restore into the data folder was cut off')

  const { tokens } = await restore({ ...how, now: () => now + 1 })
  expect(tokens.revoked).toBe(1)
  checkFolder(dir, undefined)
  const store = await openSqliteStore(dir)
  await expect(openIdentity(store, dir)).rejects.toMatchObject({ code: 'restored' })
  await openIdentity(store, dir, { restore: 'adopt' })
  await store.close()
})

test('made again, a restore that was cut off reads the former store with its log, and keeps both in one folder', async () => {
  await makeBackup()
  const store = await openSqliteStore(dir)
  await store.write((tx) => tx.updateTable('tokens').set({ revoked_at: 88 }).where('id', '=', 't-kept').execute())
  const killed = join(room, 'killed')
  cpSync(dir, killed, { recursive: true })
  await store.close()
  const at = Date.UTC(2030, 0)
  const how = { file, dir: killed, force: true, withoutKey: false }
  const aside = join(killed, 'before-restore-2030-01-01T00-00-00-000Z')
  // In the way of the log, which goes after its store.
  mkdirSync(join(aside, 'muster.db-wal'), { recursive: true })
  await expect(restore({ ...how, now: () => at })).rejects.toThrow('EISDIR')
  rmdirSync(join(aside, 'muster.db-wal'))

  const again = await restore({ ...how, now: () => at + 1 })
  expect(again).toMatchObject({ tokens: { revoked: 2, live: [] }, aside })
  expect(readdirSync(killed).filter((name) => name.startsWith('before-'))).toEqual([basename(aside)])
  expect(readdirSync(aside)).toEqual(expect.arrayContaining(['muster.db', 'muster.db-wal', 'owner.json']))
  expect(noteIn(aside)).not.toHaveProperty('restoring')
  expect(revokedIn(aside)).toContainEqual({ id: 't-kept', revoked_at: 88 })
})

test('cut off at its very end and made again, it lets the former store be', async () => {
  await makeBackup()
  const now = Date.UTC(2030, 0)
  const how = { file, dir, force: true, withoutKey: false }
  const { aside = '' } = await restore({ ...how, now: () => now })
  const { restoring: _none, ...note } = noteIn(dir) ?? { owner: '', epoch: 0 }
  writeNote(ownerPath(dir), { ...note, restoring: basename(aside) })
  const former = readFileSync(storePath(aside))
  expect((await restore({ ...how, now: () => now + 1 })).aside).toBe(aside)
  expect(readFileSync(storePath(aside)).equals(former)).toBe(true)
  checkFolder(dir, undefined)
})
