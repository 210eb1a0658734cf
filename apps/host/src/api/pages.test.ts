import { expect, test } from 'vitest'
import { pageOfRows } from './pages.ts'
import { startTestDaemon } from './testing/daemon.ts'

interface Row {
  id: string
  text: string
}

/** Rows `r999`, `r998`, … of so many characters. */
function listOf(sizes: readonly number[]): { read: Parameters<typeof pageOfRows<Row, string>>[1]; asked: number[] } {
  const rows = sizes.map((size, n) => ({ id: `r${999 - n}`, text: 'x'.repeat(size) }))
  const asked: number[] = []
  return {
    asked,
    read: async ({ limit, before }) => {
      asked.push(limit)
      return rows.filter(({ id }) => before === undefined || id < before).slice(0, limit)
    },
  }
}

async function allPages(sizes: readonly number[], limit: number): Promise<number[]> {
  const { read } = listOf(sizes)
  const pages: string[][] = []
  for (let before: string | undefined; ;) {
    const { items, next } = await pageOfRows({ limit, ...(before === undefined ? {} : { before }) }, read, ({ id }) => id)
    pages.push(items)
    if (next === undefined) break
    expect(items.at(-1)).toBe(next)
    before = next
  }
  // Each once, in order.
  expect(pages.flat()).toEqual(sizes.map((_, n) => `r${999 - n}`))
  return pages.map((page) => page.length)
}

test('a page ends with its number of items, or sooner with its bytes, and never empty with a next', async () => {
  expect(await allPages([], 10)).toEqual([0])
  expect(await allPages([1, 1, 1], 10)).toEqual([3])
  expect(await allPages(Array<number>(60).fill(1), 26)).toEqual([26, 26, 8])
  const large = 1_000_000
  expect(await allPages(Array<number>(10).fill(large), 500)).toEqual([4, 4, 2])
  expect(await allPages([large * 5, large * 5, 1], 500)).toEqual([1, 1, 1])
  // The next one is what does not fit any more, not what has come.
  expect(await allPages([large * 4], 500)).toEqual([1])
})

test('rows are read a few at once', async () => {
  const { read, asked } = listOf(Array<number>(60).fill(1))
  expect((await pageOfRows({ limit: 55 }, read, ({ id }) => id)).items).toHaveLength(55)
  expect(asked).toEqual([25, 25, 5])
})

test('lists of large runs come in pages, each run once, by label too', async () => {
  await using daemon = await startTestDaemon({ realRuns: true })
  const made: unknown[] = []
  for (let n = 0; n < 60; n++) {
    const body = { pool: 'full', command: ['x'.repeat(200_000)], labels: { odd: String(n % 2) } }
    made.unshift((await daemon.ask('POST', '/v1/runs', { body })).json['id'])
  }
  const list = async (query: string): Promise<{ ids: unknown[]; pages: number; longest: number }> => {
    const ids: unknown[] = []
    let [pages, longest] = [0, 0]
    for (let before = ''; ; pages++) {
      const page = await daemon.ask('GET', `/v1/runs?limit=500${query}${before}`)
      longest = Math.max(longest, page.text.length)
      const { items, next } = page.json as { items: { id: string }[]; next?: string }
      expect(items.length).toBeGreaterThan(0)
      ids.push(...items.map(({ id }) => id))
      if (next === undefined) return { ids, pages: pages + 1, longest }
      before = `&before=${next}`
    }
  }
  const all = await list('')
  expect(all.ids).toEqual(made)
  expect(all.longest).toBeLessThan(5_000_000)
  const odd = await list('&label=odd%3D1')
  expect(odd.ids).toEqual(made.filter((_, n) => n % 2 === 0))
})
