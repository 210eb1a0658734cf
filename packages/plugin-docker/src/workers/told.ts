/** Whether an engine tells an event of a time that may go on for a moment yet. */
import type { Engine, EngineRequest } from '../client.ts'
import { jsonLines } from '../engine/lines.ts'

/**
 * It waits for the end of that time by its own clock. When that was set back since, it would for as long, and every list with it. What it
 * has told by now it tells at once, so that nothing more is to be waited for. Counted from the head of its answer: before that it has told nothing.
 */
const MOST_MS = 10_000

export async function isTold(
  engine: Pick<Engine, 'stream'>,
  query: NonNullable<EngineRequest['query']>,
  { signal, is }: { signal: AbortSignal; is(event: unknown): boolean },
): Promise<boolean> {
  const enough = new AbortController()
  let timer: NodeJS.Timeout | undefined
  try {
    const either = AbortSignal.any([signal, enough.signal])
    const events = await engine.stream({ method: 'GET', path: '/events', query, signal: either })
    timer = setTimeout(() => enough.abort(), MOST_MS)
    try {
      for await (const event of jsonLines(events)) if (is(event)) return true
      return false
    } finally {
      events.destroy()
    }
  } catch (error) {
    if (enough.signal.aborted && !signal.aborted) return false
    throw error
  } finally {
    clearTimeout(timer)
  }
}
