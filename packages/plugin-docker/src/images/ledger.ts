/**
 * Which images this provider pulled, and when they were used last: the only ones it ever removes. Kept in the provider's folder. What is
 * lost with the file, or was pulled in the moment of a crash, belongs to nobody and stays.
 */
import { createHash } from 'node:crypto'
import { mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import * as z from 'zod'

export interface OwnImage {
  /** The engine's id of its content when it was pulled: under the same name another may stand since. */
  id: string
  usedAt: number
}

export interface ImageLedger {
  /** By name, as it is at the engine. */
  all(): Promise<ReadonlyMap<string, OwnImage>>
  add(name: string, image: OwnImage): Promise<void>
  /** Nothing happens for one that is not ours. */
  used(name: string, at: number): Promise<void>
  drop(names: readonly string[]): Promise<void>
}

const imageSchema = z.strictObject({ id: z.string(), usedAt: z.number() })
const entrySchema = z.strictObject({ v: z.literal(1), name: z.string(), ...imageSchema.shape })
/** What older versions kept, in `images.json`: each of two processes wrote over what the other had added. */
const oldSchema = z.strictObject({ v: z.literal(1), images: z.record(z.string(), imageSchema) })

/** A use is written down this late: what matters of it are hours. */
const USE_EVERY_MS = 60_000

type Warn = (message: string, data: Record<string, unknown>) => void

/** Without a folder nothing is ours. */
export function createLedger(folder: string | undefined, warn: Warn): ImageLedger {
  return folder === undefined ? nothingOurs : ledgerIn(folder, warn)
}

/** A file for each image: several processes of a provider may be at work at once. */
function ledgerIn(dataDir: string, warn: Warn): ImageLedger {
  const folder = join(dataDir, 'images')
  const old = join(dataDir, 'images.json')
  const fileOf = (name: string): string => join(folder, `${createHash('sha256').update(name).digest('hex').slice(0, 32)}.json`)
  /** When each was written, or looked for in vain. */
  const noted = new Map<string, number>()
  const warned = new Set<string>()
  let writing: Promise<void> = Promise.resolve()

  /** Undefined when it is not there, or is not what it should be. */
  async function read<T>(file: string, schema: z.ZodType<T>): Promise<T | undefined> {
    try {
      return schema.parse(JSON.parse(await readFile(file, 'utf8')))
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT' && !warned.has(file)) {
        warned.add(file)
        warn('the list of pulled images cannot be read: they stay from now on', { file, reason: (error as Error).name })
      }
      return undefined
    }
  }

  /** One after the other, each whole or not at all. */
  async function write(name: string, image: OwnImage): Promise<void> {
    noted.set(name, image.usedAt)
    writing = writing.then(async () => {
      const [file, fresh] = [fileOf(name), `${fileOf(name)}.${process.pid}`]
      try {
        await mkdir(folder, { recursive: true, mode: 0o700 })
        const handle = await open(fresh, 'w', 0o600)
        try {
          await handle.writeFile(JSON.stringify({ v: 1, name, ...image }))
          await handle.sync()
        } finally {
          await handle.close()
        }
        await rename(fresh, file)
      } catch (error) {
        warn('the list of pulled images cannot be written', { reason: (error as NodeJS.ErrnoException).code ?? 'unknown' })
      }
    })
    await writing
  }

  async function all(): Promise<Map<string, OwnImage>> {
    const files = await readdir(folder).catch(() => [])
    const images = new Map<string, OwnImage>()
    for (const file of files) {
      const entry = file.endsWith('.json') ? await read(join(folder, file), entrySchema) : undefined
      if (entry !== undefined) images.set(entry.name, { id: entry.id, usedAt: entry.usedAt })
    }
    const older = await read(old, oldSchema)
    for (const [name, image] of Object.entries(older?.images ?? {})) {
      if (images.has(name)) continue
      images.set(name, image)
      await write(name, image)
    }
    // One that cannot be taken away is read again.
    if (older !== undefined) await rm(old, { force: true }).catch(() => {})
    return images
  }

  return {
    all,
    add: write,
    async used(name, at) {
      if (at - (noted.get(name) ?? -Infinity) < USE_EVERY_MS) return
      noted.set(name, at)
      const entry = await read(fileOf(name), entrySchema)
      if (entry !== undefined && at - entry.usedAt >= USE_EVERY_MS) await write(name, { id: entry.id, usedAt: at })
    },
    async drop(names) {
      for (const name of names) await rm(fileOf(name), { force: true })
    },
  }
}

const nothingOurs: ImageLedger = {
  all: () => Promise.resolve(new Map()),
  add: () => Promise.resolve(),
  used: () => Promise.resolve(),
  drop: () => Promise.resolve(),
}
