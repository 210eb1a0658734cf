import { expect, test } from 'vitest'
import type { Also } from '../engine/api.ts'
import { idempotency, type KeyedRequest } from './idempotency.ts'
import { startTestDaemon } from './testing/daemon.ts'

const keyed: KeyedRequest = { key: 'k', principal: 'p', request: { pool: 'ci', env: { A: '1' } } }

test('two at once with one key make one thing, and both are told of it', async () => {
  await using daemon = await startTestDaemon()
  const { store, sealer } = daemon.harness.engine
  const keys = idempotency(store, sealer)
  // Both have found the key unused before either of them writes.
  const bothCame = Promise.withResolvers<void>()
  let came = 0
  const create =
    (id: string) =>
    async (also?: Also<string>): Promise<string> => {
      came += 1
      if (came === 2) bothCame.resolve()
      await bothCame.promise
      return store.write(async (tx, after) => {
        await tx.insertInto('meta').values({ key: id, value: 'made' }).execute()
        await also?.(tx, after, id)
        return id
      })
    }
  const answers = await Promise.all(['first', 'second'].map((id) => keys.once(keyed, create(id), (record) => ({ record }))))
  const made = await store.read.selectFrom('meta').select('key').where('value', '=', 'made').execute()
  expect(made).toHaveLength(1)
  expect(answers).toEqual([{ record: made[0]?.key }, { record: made[0]?.key }])
})

test('a key belongs to one caller and one request, and a creation that failed leaves it free', async () => {
  await using daemon = await startTestDaemon()
  const { store, sealer } = daemon.harness.engine
  const keys = idempotency(store, sealer)
  let count = 0
  const create = (also?: Also<number>): Promise<number> =>
    store.write(async (tx, after) => {
      count += 1
      await also?.(tx, after, count)
      return count
    })
  const show = (record: number): { record: number } => ({ record })
  await expect(keys.once(keyed, () => Promise.reject(new Error('no room')), show)).rejects.toThrow('no room')
  expect(await keys.once(keyed, create, show)).toEqual({ record: 1 })
  expect(await keys.once({ ...keyed, request: { env: { A: '1' }, pool: 'ci' } }, create, show)).toEqual({ record: 1 })
  expect(await keys.once({ ...keyed, principal: 'q' }, create, show)).toEqual({ record: 2 })
  expect(await keys.once({ ...keyed, key: undefined }, create, show)).toEqual({ record: 3 })
  await expect(keys.once({ ...keyed, request: { pool: 'ci', env: { A: '2' } } }, create, show)).rejects.toMatchObject({
    code: 'idempotency-mismatch',
  })
  expect(count).toBe(3)
  const rows = await store.read.selectFrom('idempotency').selectAll().execute()
  expect(JSON.stringify(rows)).not.toContain('env')
})
