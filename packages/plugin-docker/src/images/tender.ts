/** Images around the workers: pulled before a pool's first one, looked after when some were launched or ended. */
import { createHash } from 'node:crypto'
import type { Call, Handle } from '@muster/core'
import type { PullPolicy } from './image-rules.ts'
import type { Sweeper } from './sweep.ts'
import type { Puller } from './image.ts'

export interface ImageTender {
  /**
   * Pulls what the workers of a pool are made of, and what stands beside them: at once. Never fails for an image: the launch that needs it
   * meets the same, and tells it as its own.
   */
  prepare(pool: { images: readonly string[]; pull: PullPolicy }, call: Call): Promise<{ handle: Handle; digest: string }>
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
    // A digest stands for one content: what is there is what it was.
    const settled = pull === 'missing' || image.includes('@')
    if (settled && (await puller.has(image, call.signal))) return
    await puller.pull({ image }, call)
    await puller.used(image)
  }

  return {
    async prepare({ images, pull }, call) {
      const one = async (image: string): Promise<void> => {
        try {
          await bring(image, pull, call)
        } catch (error) {
          call.signal.throwIfAborted()
          call.log.warn("a pool's image could not be pulled ahead", { image, reason: (error as Error).message })
        }
      }
      if (pull !== 'never') await Promise.all(images.map(one))
      const digest = createHash('sha256')
        .update([pull, ...images].join(' '))
        .digest('hex')
        .slice(0, 32)
      // Nothing of it is needed to take it away: a handle is short, and there may be many images.
      return { handle: { v: 1, data: {} }, digest }
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
