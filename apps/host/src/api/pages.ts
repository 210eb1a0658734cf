/** Pages of a list: bounded by the number of their items, and by their bytes. */

/** An answer is held whole, a few times over, while it is made; so many rows of the usual kind are far less. */
const PAGE_BYTES = 4_194_304
/** Rows read at once: each may hold all that a request carries inline, and more. */
const SLICE = 25

interface Slice {
  limit: number
  before?: string
}

/** `read` gives rows from the newest to the oldest, fewer than asked only at the end. A page that its bytes end early has a `next`, and an item. */
export async function pageOfRows<Row extends { id: string }, View>(
  { limit, before }: Slice,
  read: (slice: Slice) => Promise<readonly Row[]>,
  view: (row: Row) => View,
): Promise<{ items: View[]; next?: string }> {
  const items: View[] = []
  let bytes = 0
  for (let last = before; ;) {
    const wanted = Math.min(SLICE, limit - items.length)
    const rows = await read({ limit: wanted, ...(last === undefined ? {} : { before: last }) })
    for (const row of rows) {
      bytes += sizeOf(row)
      if (bytes > PAGE_BYTES && items.length > 0 && last !== undefined) return { items, next: last }
      items.push(view(row))
      last = row.id
    }
    if (rows.length < wanted || last === undefined) return { items }
    if (items.length >= limit) return { items, next: last }
  }
}

function sizeOf(row: object): number {
  let bytes = 0
  for (const value of Object.values(row)) if (typeof value === 'string') bytes += Buffer.byteLength(value)
  return bytes
}
