import { expect, test } from 'vitest'
import type { Also } from '../engine/api.ts'
import { idempotency, type KeyedRequest } from './idempotency.ts'
import { startTestDaemon } from './testing/daemon.ts'

const keyed: KeyedRequest = { key: 'k', principal: 'p', request: { pool: 'ci', env: { A: '1' } } }

test('two at once with one key make one thing, and both are told of it', async () => {
  await using daemon = await startTestDaemon()
  const { store, sealer, clock } = daemon.harness.engine
  const keys = idempotency(store, sealer, clock)
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
  const { store, sealer, clock } = daemon.harness.engine
  const keys = idempotency(store, sealer, clock)
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

const hour = 3_600_000
const day = 24 * hour

test.each([-day, -hour, hour, day + hour])(
  'a key is kept for its day whatever is done to the clock of the machine: set by %i ms',
  async (ahead) => {
    await using daemon = await startTestDaemon()
    const { clock, engine } = daemon.harness
    const headers = { 'idempotency-key': 'k' }
    const ask = async (): Promise<unknown> =>
      (await daemon.ask('POST', '/v1/runs', { body: { pool: 'ci', command: ['true'] }, headers })).json['id']
    const sweep = (): Promise<void> => idempotency(engine.store, engine.sealer, engine.clock).sweep()
    const first = await ask()
    clock.setAhead(ahead)
    await sweep()
    expect(await ask()).toBe(first)
    await daemon.harness.pass(day - hour)
    await sweep()
    expect(await ask()).toBe(first)
    await daemon.harness.pass(hour + 2)
    await sweep()
    expect(await ask()).not.toBe(first)
    // Made under the other time, and that is put right: it has its day as well.
    const second = await ask()
    clock.setAhead(0)
    await daemon.harness.pass(day - hour)
    await sweep()
    expect(await ask()).toBe(second)
  },
)

test('where a start finds the clock set back, keys from later than now have what is left of their day, and no more', async () => {
  await using daemon = await startTestDaemon()
  const { store, sealer } = daemon.harness.engine
  let now = 400 * day
  const keys = idempotency(store, sealer, { now: () => now })
  const create = (also?: Also<string>): Promise<string> =>
    store.write(async (tx, after) => {
      await also?.(tx, after, '')
      return ''
    })
  const kept = async (): Promise<string[]> =>
    (await store.read.selectFrom('idempotency').select('key').orderBy('key').execute()).map((row) => row.key)
  for (const key of ['a', 'b', 'c']) {
    await keys.once({ ...keyed, key }, create, (record) => record)
    now += 6 * hour
  }
  // The last of them was made six hours ago; nobody knows that any more.
  now = 30 * day
  await keys.sweep()
  await keys.sweep()
  expect(await kept()).toEqual(['a', 'b', 'c'])
  now += 12 * hour + 1000
  await keys.sweep()
  expect(await kept()).toEqual(['b', 'c'])
  now += 12 * hour
  await keys.sweep()
  expect(await kept()).toEqual([])
})
