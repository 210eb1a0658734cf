/** Removes images that this provider pulled and nothing uses: by age, and by the room they take together. */
import type { Engine } from '../client.ts'
import { isStatus } from '../errors.ts'
import type { ImageLedger, OwnImage } from './ledger.ts'
import { canonical } from './name.ts'
import type { ImageRules } from './image-rules.ts'

/** The part of GET /images/json that is used. */
export interface ImageRow {
  Id: string
  RepoTags: string[] | null
  RepoDigests: string[] | null
  Size: number
}

export interface Stock {
  own: ReadonlyMap<string, OwnImage>
  images: readonly ImageRow[]
  /** Ids of the images that containers, of whatever owner and state, were made from. */
  inUse: ReadonlySet<string>
}

/** Between a pull and its container; and what was just used is likely used again. */
const YOUNG_MS = 10 * 60_000

/** `remove`: names whose image goes. `forget`: names that are not ours any more, or not there. Pure. */
export function planSweep({ own, images, inUse }: Stock, rules: ImageRules, now: number): { remove: string[]; forget: string[] } {
  const byName = new Map<string, ImageRow>()
  for (const image of images)
    for (const name of [...(image.RepoTags ?? []), ...(image.RepoDigests ?? [])]) byName.set(canonical(name), image)
  const forget: string[] = []
  const ours: { name: string; image: ImageRow; usedAt: number }[] = []
  for (const [name, { id, usedAt }] of own) {
    const image = byName.get(name)
    if (image?.Id === id) ours.push({ name, image, usedAt })
    else forget.push(name)
  }
  ours.sort((left, right) => left.usedAt - right.usedAt)
  let bytes = [...new Map(ours.map(({ image }) => [image.Id, image.Size])).values()].reduce((sum, size) => sum + size, 0)
  const remove: string[] = []
  for (const { name, image, usedAt } of ours) {
    if (inUse.has(image.Id) || now - usedAt < YOUNG_MS) continue
    const old = rules.unusedForMs !== undefined && now - usedAt >= rules.unusedForMs
    const over = rules.budgetBytes !== undefined && bytes > rules.budgetBytes
    if (!old && !over) continue
    remove.push(name)
    // A second name of the same content frees nothing before the last one is gone.
    if (!ours.some((other) => other.image.Id === image.Id && !remove.includes(other.name))) bytes -= image.Size
  }
  return { remove, forget }
}

export interface Sweeper {
  /** Looks once, and removes; answers the names that went. */
  sweep(signal: AbortSignal): Promise<string[]>
}

export function createSweeper(engine: Engine, parts: { ledger: ImageLedger; rules: ImageRules; now: () => number }): Sweeper {
  const { ledger, rules, now } = parts

  async function remove(name: string, signal: AbortSignal): Promise<boolean> {
    try {
      // Without force: an engine refuses while a container uses it. Without parents: those are nobody's of ours.
      await engine.json({ method: 'DELETE', path: `/images/${name}`, query: { noprune: true }, signal })
      return true
    } catch (error) {
      if (isStatus(error, 409)) return false
      if (isStatus(error, 404)) return true
      throw error
    }
  }

  return {
    async sweep(signal) {
      const own = new Map(await ledger.all())
      if (own.size === 0 || (rules.unusedForMs === undefined && rules.budgetBytes === undefined)) return []
      const [images, containers] = await Promise.all([
        engine.json<ImageRow[]>({ method: 'GET', path: '/images/json', signal }),
        engine.json<{ ImageID: string }[]>({ method: 'GET', path: '/containers/json', query: { all: true }, signal }),
      ])
      const inUse = new Set(containers.map(({ ImageID }) => ImageID))
      for (const [name, { id }] of own) if (inUse.has(id)) await ledger.used(name, now())
      // What was pulled meanwhile is not in the engine's answer.
      const known = new Map([...(await ledger.all())].filter(([name, { id }]) => own.get(name)?.id === id))
      const { remove: names, forget } = planSweep({ own: known, images, inUse }, rules, now())
      const gone: string[] = []
      for (const name of names) if (await remove(name, signal)) gone.push(name)
      await ledger.drop([...gone, ...forget])
      return gone
    },
  }
}
