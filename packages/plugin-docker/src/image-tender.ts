/** Images around the workers: pulled before a pool's first one, looked after when some were launched or ended. */
import { createHash } from 'node:crypto'
import type { Call, Handle } from '@muster/core'
import type { PullPolicy } from './image-rules.ts'
import type { Sweeper } from './image-sweep.ts'
import type { Puller } from './image.ts'

export interface ImageTender {
  /** Pulls the image of a pool. Never fails for it: the launch that needs the image meets the same, and tells it as its own. */
  prepare(pool: { image: string | undefined; pull: PullPolicy }, call: Call): Promise<{ handle: Handle; digest: string }>
  /** Removes what may go, if it is time; nobody waits for it. */
  tend(call: Pick<Call, 'log'>): void
}

/** Ages are days and budgets are gigabytes: every ten minutes is often enough. */
const TEND_EVERY_MS = 10 * 60_000

/** Removing an image of many layers takes seconds; a list of thousands less. */
const TEND_WITHIN_MS = 60_000

export function createImageTender(parts: { puller: Puller; sweeper: Sweeper; now: () => number }): ImageTender {
  const { puller, sweeper, now } = parts
  let tendedAt = -Infinity

  async function bring(image: string, pull: PullPolicy, call: Call): Promise<void> {
    if (pull === 'never' || (pull === 'missing' && (await puller.has(image, call.signal)))) return
    await puller.pull({ image }, call)
    await puller.used(image)
  }

  return {
    async prepare({ image, pull }, call) {
      try {
        if (image !== undefined) await bring(image, pull, call)
      } catch (error) {
        call.signal.throwIfAborted()
        call.log.warn("a pool's image could not be pulled ahead", { image, reason: (error as Error).message })
      }
      const digest = createHash('sha256')
        .update(`${pull} ${image ?? ''}`)
        .digest('hex')
        .slice(0, 32)
      return { handle: { v: 1, data: { image: image ?? null } }, digest }
    },
    tend({ log }) {
      if (now() - tendedAt < TEND_EVERY_MS) return
      tendedAt = now()
      sweeper.sweep(AbortSignal.timeout(TEND_WITHIN_MS)).then(
        (gone) => {
          if (gone.length > 0) log.info('unused images were removed', { images: gone })
        },
        (error: unknown) => log.debug('unused images could not be looked for', { reason: (error as Error).message }),
      )
    },
  }
}
