import { appendFileSync, existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { readArchive } from './archive.ts'
import { type Backups, openBackups } from './backup.ts'
import { openIdentity } from './identity.ts'
import { openSqliteStore } from './open.ts'
import { openSealer } from './sealer.ts'
import type { Store } from './store.ts'
import { acquireTerm, type Term } from './term.ts'

let dir: string
let store: Store
let term: Term
let backups: Backups
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'muster-backup-'))
  mkdirSync(join(dir, 'backup.part'))
  store = await openSqliteStore(dir)
  await openIdentity(store, dir)
  await openSealer(store, dir)
  term = await acquireTerm(store, { holder: 'test', exclusive: true })
  backups = await openBackups({ store, dataDir: dir, version: '1.2.3' })
})
afterEach(async () => {
  await term.release()
  await store.close()
  rmSync(dir, { recursive: true, force: true })
})

const never = new AbortController().signal
const runId = (n: number): string => `r${String(n).padStart(26, '0')}`
const log = (n: number): string => join(dir, 'runs', runId(n), 'log')

function makeRun(n: number, bytes: number): void {
  mkdirSync(join(dir, 'runs', runId(n), 'out'), { recursive: true })
  writeFileSync(log(n), Buffer.alloc(bytes, n))
  writeFileSync(join(dir, 'runs', runId(n), 'out', 'a name.tar'), 'tar')
  writeFileSync(join(dir, 'runs', runId(n), 'out', 'half.tar.part'), 'left by a kill')
}

test('what a daemon left that was cut off in a backup is removed at its next start', () => {
  expect(existsSync(join(dir, 'backup.part'))).toBe(false)
})

test('logs that grow, and runs that are dropped, while they are read: a whole backup of what there was', async () => {
  for (let n = 1; n <= 5; n++) makeRun(n, 400_000)
  const backup = await backups.begin({ key: false, logs: true }, never)
  if (backup === undefined) throw new Error('no backup is under way')
  const chunks: Uint8Array[] = []
  for await (const chunk of backup.tar) {
    chunks.push(chunk)
    if (chunks.length === 1) rmSync(join(dir, 'runs', runId(4)), { recursive: true })
    if (existsSync(log(5))) appendFileSync(log(5), 'more')
  }
  await backup.dispose()
  await writeFile(join(dir, 'x.tar'), Buffer.concat(chunks))
  const manifest = await readArchive(join(dir, 'x.tar'), { into: join(dir, 'out') })
  expect(manifest).toMatchObject({ version: '1.2.3', key: false, logs: true, epoch: 1 })
  expect(manifest.parts.map((part) => part.name)).toEqual(['muster.db', 'runs'])
  expect(existsSync(join(dir, 'out/runs', runId(4)))).toBe(false)
  expect(existsSync(join(dir, 'out/runs', runId(5), 'out/a name.tar'))).toBe(true)
  expect(existsSync(join(dir, 'out/runs', runId(5), 'out/half.tar.part'))).toBe(false)
  using db = new DatabaseSync(join(dir, 'out/muster.db'), { readOnly: true })
  expect(db.prepare("select value from meta where key = 'owner'").get()).toEqual({ value: manifest.owner })
})

test('one at a time; a reader that goes away, at any point, leaves nothing', async () => {
  makeRun(1, 5_000_000)
  const first = await backups.begin({ key: true, logs: true }, never)
  expect(await backups.begin({ key: true, logs: true }, never)).toBeUndefined()
  for await (const chunk of first?.tar ?? []) {
    expect(chunk.length).toBeGreaterThan(0)
    break
  }
  await first?.dispose()
  expect(existsSync(join(dir, 'backup.part'))).toBe(false)
  const unread = await backups.begin({ key: false, logs: false }, never)
  await unread?.dispose()
  await unread?.dispose()
  expect(existsSync(join(dir, 'backup.part'))).toBe(false)
  await expect(backups.begin({ key: false, logs: false }, AbortSignal.abort(new Error('gone')))).rejects.toThrow('gone')
  const last = await backups.begin({ key: false, logs: false }, never)
  expect(last).toBeDefined()
  await last?.dispose()
})

test('a copy that the disk does not take is a fault of the store, and the next backup is not refused for it', async () => {
  // Nothing can be made there, and nothing be removed, as on a disk that may only be read.
  renameSync(dir, `${dir}-away`)
  writeFileSync(dir, '')
  await expect(backups.begin({ key: false, logs: false }, never)).rejects.toMatchObject({
    code: 'io',
    message: expect.stringContaining('the copy of the store cannot be written: ENOTDIR'),
  })
  rmSync(dir)
  renameSync(`${dir}-away`, dir)
  const backup = await backups.begin({ key: false, logs: false }, never)
  expect(backup).toBeDefined()
  await backup?.dispose()
})
