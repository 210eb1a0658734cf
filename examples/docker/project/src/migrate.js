import { readdir, readFile } from 'node:fs/promises'

const folder = new URL('./migrations/', import.meta.url)

/** Brings the database to the newest migration, each in its order and once; answers those that were new. */
export async function migrate(sql) {
  return sql.begin(async (transaction) => {
    // Two that start at once take turns.
    await transaction`SELECT pg_advisory_xact_lock(7420)`
    await transaction`CREATE TABLE IF NOT EXISTS migrations (name text PRIMARY KEY)`
    const done = new Set((await transaction`SELECT name FROM migrations`).map(({ name }) => name))
    const names = (await readdir(folder)).sort((left, right) => Number.parseInt(left) - Number.parseInt(right))
    const fresh = names.filter((name) => !done.has(name))
    for (const name of fresh) {
      await transaction.unsafe(await readFile(new URL(name, folder), 'utf8'))
      await transaction`INSERT INTO migrations ${transaction({ name })}`
    }
    return fresh
  })
}
