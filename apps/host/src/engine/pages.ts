/** A provider's list, page by page: walked in one way, whoever asks. */
import type { WorkerPage } from '@muster/core'

/**
 * Gives every page to `take`. False: a cursor came twice, so that the list would go on for ever; what was seen is not all of it, and says
 * nothing of absence. Errors: those of `list`.
 */
export async function walkPages<Page extends WorkerPage>(
  list: (cursor: { cursor?: string }) => Promise<Page>,
  take: (page: Page) => void,
): Promise<boolean> {
  const cursors = new Set<string>()
  for (let cursor: string | undefined; ;) {
    const page = await list(cursor === undefined ? {} : { cursor })
    take(page)
    cursor = page.next
    if (cursor === undefined) return true
    if (cursors.has(cursor)) return false
    cursors.add(cursor)
  }
}
