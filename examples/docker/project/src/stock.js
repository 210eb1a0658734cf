/** Puts so many of an item on the shelf; a negative count takes them away. Answers how many are there then, or throws a RangeError. */
export async function move(sql, item, count) {
  try {
    return await sql.begin(async (transaction) => {
      await transaction`INSERT INTO items ${transaction({ name: item, count: 0 })} ON CONFLICT DO NOTHING`
      const [row] = await transaction`UPDATE items SET count = count + ${count} WHERE name = ${item} RETURNING count`
      await transaction`INSERT INTO moves ${transaction({ item, count })}`
      return row.count
    })
  } catch (error) {
    // check_violation
    if (error.code === '23514') throw new RangeError(`there are not ${-count} of ${item}`, { cause: error })
    throw error
  }
}

/** How many there are of an item. */
export async function level(sql, item) {
  const [row] = await sql`SELECT count FROM items WHERE name = ${item}`
  return row?.count ?? 0
}

/** The moves of an item, oldest first. */
export async function history(sql, item) {
  return (await sql`SELECT count FROM moves WHERE item = ${item} ORDER BY id`).map(({ count }) => count)
}
