/** A backup of a data folder while the daemon works: one consistent copy of the database, and what was asked for beside it, as a tar. */
import { createHash, type Hash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdir, open, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { pack, type Pack } from 'tar-stream'
import { FORMAT, headOf, type Manifest, names, type Part } from './archive.ts'
import { executed } from './migrate.ts'
import { sealKeyPath } from './seal.ts'
import type { Store } from './store.ts'
import { writing } from './writing.ts'

export interface BackupContent {
  /** The seal key: with it, whoever has the backup can read the env, files and inputs of runs that were live. */
  key: boolean
  /** Logs, outputs and waiting inputs of runs. */
  logs: boolean
}

export interface BackupStream {
  /** To be read once. */
  tar: AsyncIterable<Uint8Array>
  /** Removes the copy; safe at any time, and more than once. */
  dispose(): Promise<void>
}

export interface Backups {
  /**
   * Copies the database, which takes as much room again for the time of the backup. Undefined while another backup is under way: one copy
   * at a time is kept. Errors: StoreError `full`, `io`; the signal's reason.
   */
  begin(content: BackupContent, signal: AbortSignal): Promise<BackupStream | undefined>
}

export interface BackupOptions {
  store: Pick<Store, 'copyTo'>
  dataDir: string
  version: string
  now?: () => number
}

/** Also removes what a backup left that was cut off with the daemon. */
export async function openBackups({ store, dataDir, version, now = Date.now }: BackupOptions): Promise<Backups> {
  const draft = join(dataDir, 'backup.part')
  const copy = join(draft, names.database)
  await rm(draft, { recursive: true, force: true })
  let busy = false
  return {
    async begin(content, signal) {
      if (busy) return undefined
      busy = true
      const dispose = async (): Promise<void> => {
        // What a disk does not let go is removed by the next one, or with the next start.
        await rm(draft, { recursive: true, force: true }).catch(() => undefined)
        busy = false
      }
      try {
        await writing('the copy of the store', async () => {
          await rm(draft, { recursive: true, force: true })
          await mkdir(draft, { mode: 0o700 })
          await store.copyTo(copy, signal)
        })
        const manifest = { format: FORMAT, version, at: new Date(now()).toISOString(), ...content, ...factsOf(copy) }
        let disposed: Promise<void> | undefined
        return {
          tar: tarOf({ copy, dataDir, manifest }),
          dispose: () => (disposed ??= dispose()),
        }
      } catch (error) {
        await dispose()
        throw error
      }
    },
  }
}

function factsOf(path: string): Pick<Manifest, 'owner' | 'epoch' | 'migrations'> {
  using db = new DatabaseSync(path, { readOnly: true })
  const value = (sql: string): unknown => Object.values(db.prepare(sql).get() ?? {})[0]
  return {
    owner: String(value("select value from meta where key = 'owner'")),
    epoch: Number(value('select epoch from term') ?? 0),
    migrations: executed(db),
  }
}

interface Source {
  copy: string
  dataDir: string
  manifest: Omit<Manifest, 'parts'>
}

/** The manifest comes last: with it the backup is whole, and it knows the digests of what came before. */
async function* tarOf(source: Source): AsyncGenerator<Uint8Array, void, undefined> {
  const tar = pack()
  const filled = fill(tar, source).then(
    () => tar.finalize(),
    (error: unknown) => tar.destroy(error as Error),
  )
  try {
    yield* tar as AsyncIterable<Uint8Array>
  } finally {
    tar.destroy()
    await filled
  }
}

async function fill(tar: Pack, { copy, dataDir, manifest }: Source): Promise<void> {
  const parts: Part[] = []
  const part = async (name: string, files: AsyncIterable<{ name: string; path: string }>): Promise<void> => {
    const hash = createHash('sha256')
    let bytes = 0
    for await (const file of files) bytes += await add(tar, { ...file, hash })
    parts.push({ name, bytes, sha256: hash.digest('hex') })
  }
  await part(names.database, one(names.database, copy))
  if (manifest.key) await part(names.key, one(names.key, sealKeyPath(dataDir)))
  if (manifest.logs) await part(names.runs, filesOfRuns(dataDir))
  const text = JSON.stringify({ ...manifest, parts } satisfies Manifest, null, 2)
  await new Promise<void>((resolve, reject) =>
    tar.entry({ name: names.manifest, mode: 0o600 }, text, (error) => (error ? reject(error) : resolve())),
  )
}

async function* one(name: string, path: string): AsyncGenerator<{ name: string; path: string }, void, undefined> {
  yield { name, path }
}

/** Run by run: their number may be large, and no list of all files is ever held. */
async function* filesOfRuns(dataDir: string): AsyncGenerator<{ name: string; path: string }, void, undefined> {
  const folder = join(dataDir, names.runs)
  const missing = (error: NodeJS.ErrnoException): never[] => {
    // Dropped by retention meanwhile.
    if (error.code !== 'ENOENT') throw error
    return []
  }
  for (const run of (await readdir(folder).catch(missing)).sort((a, b) => (a < b ? -1 : 1)))
    for (const entry of await readdir(join(folder, run), { recursive: true, withFileTypes: true }).catch(missing)) {
      const path = join(entry.parentPath, entry.name)
      if (entry.isFile() && !entry.name.endsWith('.part')) yield { name: `${names.runs}/${path.slice(folder.length + 1)}`, path }
    }
}

/** As much of a file as there is now: logs grow while they are read. Returns its bytes; 0 for one that has gone. */
async function add(tar: Pack, { name, path, hash }: { name: string; path: string; hash: Hash }): Promise<number> {
  const file = await open(path, 'r').catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT' || !name.startsWith(`${names.runs}/`)) throw error
    return undefined
  })
  if (file === undefined) return 0
  await using held = file
  const { size, mtime } = await held.stat()
  hash.update(headOf(name, size))
  const entry = tar.entry({ name, size, mode: 0o600, mtime })
  const ended = new Promise<void>((resolve, reject) => {
    entry.once('close', () => resolve())
    entry.once('error', reject)
  })
  ended.catch(() => undefined)
  if (size > 0)
    for await (const chunk of createReadStream('', {
      fd: held,
      autoClose: false,
      start: 0,
      end: size - 1,
      highWaterMark: 262_144,
    })) {
      hash.update(chunk as Buffer)
      if (!entry.write(chunk)) await Promise.race([new Promise<void>((resolve) => entry.once('drain', () => resolve())), ended])
      if (entry.destroyed) throw new Error('nobody reads the backup any more')
    }
  entry.end(null)
  await ended
  return size
}
