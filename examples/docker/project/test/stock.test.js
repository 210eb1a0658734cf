import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import postgres from 'postgres'
import { history, level, migrate, move } from '../dist/index.js'

const sql = postgres(process.env.DATABASE_URL, { onnotice: () => {} })
before(() => migrate(sql))
after(() => sql.end())

test('runs each migration once, also when two start at once', async () => {
  const all = await Promise.all([migrate(sql), migrate(sql)])
  assert.deepEqual(all, [[], []])
  const rows = await sql`SELECT name FROM migrations ORDER BY name`
  assert.deepEqual(
    rows.map(({ name }) => name),
    ['1-items.sql', '2-moves.sql'],
  )
})

test('reads back what it wrote, on another connection too', async () => {
  assert.equal(await move(sql, 'bolts', 12), 12)
  assert.equal(await move(sql, 'bolts', -5), 7)
  const other = postgres(process.env.DATABASE_URL, { max: 1 })
  assert.equal(await level(other, 'bolts'), 7)
  await other.end()
  assert.deepEqual(await history(sql, 'bolts'), [12, -5])
})

test('never gives away what is not there: of many who take the last one, one gets it', async () => {
  await move(sql, 'lamps', 1)
  const takers = await Promise.allSettled(Array.from({ length: 8 }, () => move(sql, 'lamps', -1)))
  assert.equal(takers.filter(({ status }) => status === 'fulfilled').length, 1)
  for (const { reason } of takers) assert.ok(reason === undefined || reason instanceof RangeError)
  assert.equal(await level(sql, 'lamps'), 0)
  assert.deepEqual(await history(sql, 'lamps'), [1, -1])
})
