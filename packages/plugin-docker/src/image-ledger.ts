/**
 * Which images this provider pulled, and when they were used last: the only ones it ever removes. Kept in the provider's folder. What is
 * lost with the file, or was pulled in the moment of a crash, belongs to nobody and stays.
 */
import { mkdir, open, readFile, rename } from 'node:fs/promises'
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

const fileSchema = z.strictObject({
  v: z.literal(1),
  images: z.record(z.string(), z.strictObject({ id: z.string(), usedAt: z.number() })),
})

/** A use is written down this late: what matters of it are hours. */
const USE_EVERY_MS = 60_000

type Warn = (message: string, data: Record<string, unknown>) => void

/** Without a folder nothing is ours. */
export function createLedger(folder: string | undefined, warn: Warn): ImageLedger {
  return folder === undefined ? nothingOurs : ledgerIn(folder, warn)
}

function ledgerIn(folder: string, warn: Warn): ImageLedger {
  const file = join(folder, 'images.json')
  let loading: Promise<Map<string, OwnImage>> | undefined
  let writing: Promise<void> = Promise.resolve()

  async function load(): Promise<Map<string, OwnImage>> {
    try {
      return new Map(Object.entries(fileSchema.parse(JSON.parse(await readFile(file, 'utf8'))).images))
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT')
        warn('the list of pulled images cannot be read: they stay from now on', { reason: (error as Error).name })
      return new Map()
    }
  }

  const loaded = (): Promise<Map<string, OwnImage>> => (loading ??= load())

  /** One after the other, whole or not at all. */
  async function save(images: Map<string, OwnImage>): Promise<void> {
    writing = writing.then(async () => {
      try {
        await mkdir(folder, { recursive: true, mode: 0o700 })
        const handle = await open(`${file}.new`, 'w', 0o600)
        try {
          await handle.writeFile(JSON.stringify({ v: 1, images: Object.fromEntries(images) }))
          await handle.sync()
        } finally {
          await handle.close()
        }
        await rename(`${file}.new`, file)
      } catch (error) {
        warn('the list of pulled images cannot be written', { reason: (error as NodeJS.ErrnoException).code ?? 'unknown' })
      }
    })
    await writing
  }

  return {
    all: loaded,
    async add(name, image) {
      const images = await loaded()
      images.set(name, image)
      await save(images)
    },
    async used(name, at) {
      const images = await loaded()
      const image = images.get(name)
      if (image === undefined || at - image.usedAt < USE_EVERY_MS) return
      images.set(name, { ...image, usedAt: at })
      await save(images)
    },
    async drop(names) {
      if (names.length === 0) return
      const images = await loaded()
      for (const name of names) images.delete(name)
      await save(images)
    },
  }
}

const nothingOurs: ImageLedger = {
  all: () => Promise.resolve(new Map()),
  add: () => Promise.resolve(),
  used: () => Promise.resolve(),
  drop: () => Promise.resolve(),
}
