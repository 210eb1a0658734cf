import { Readable } from 'node:stream'
import { expect, test } from 'vitest'
import type { Engine } from './client.ts'
import { callOf } from './harness.test.helper.ts'
import { createProgress, createPuller, messages } from './image.ts'

async function* lines(...values: object[]): AsyncGenerator<Buffer> {
  for (const value of values) yield Buffer.from(`${JSON.stringify(value)}\n`)
}

/** An engine whose pulls end when the test says so. */
function pullingEngine() {
  const pulls: { query: object; body: Readable; signal: AbortSignal }[] = []
  const engine = {
    stream: async ({ query = {}, signal }: { query?: object; signal: AbortSignal }) => {
      const body = new Readable({ read() {} })
      signal.addEventListener('abort', () => body.destroy(new Error('aborted')))
      pulls.push({ query, body, signal })
      return body
    },
  } as unknown as Engine
  return { engine, pulls }
}

const ended = (body: Readable): void => void body.push(null)

test('a pull that fails after status 200 is found', async () => {
  await expect(
    Array.fromAsync(messages(lines({ status: 'x' }, { errorDetail: { message: 'deep' }, error: 'flat' }))),
  ).rejects.toThrow('deep')
  await expect(Array.fromAsync(messages(lines({ error: 'flat' })))).rejects.toThrow('flat')
  expect(await Array.fromAsync(messages(lines({ status: 'a' }, { status: 'b' })))).toHaveLength(2)
})

test('progress is the sum over layers', () => {
  const progress = createProgress()
  progress.add({ id: 'a', status: 'Downloading', progressDetail: { current: 10, total: 100 } })
  progress.add({ id: 'b', status: 'Downloading', progressDetail: { total: 50 } })
  progress.add({ id: 'a', status: 'Downloading', progressDetail: { current: 90, total: 100 } })
  progress.add({ id: 'a', status: 'Extracting', progressDetail: { current: 1, total: 2 } })
  progress.add({ status: 'Pulling from x' })
  expect(progress.sum()).toEqual({ bytes: 90, totalBytes: 150, layers: 2 })
})

test('one flight for all who wait, one for each platform; a later pull is a new one', async () => {
  const { engine, pulls } = pullingEngine()
  const puller = createPuller(engine, Date.now)
  const all = [
    puller.pull({ image: 'x' }, callOf()),
    puller.pull({ image: 'x' }, callOf()),
    puller.pull({ image: 'x', platform: 'linux/arm64' }, callOf()),
  ]
  await Promise.resolve()
  expect(pulls.map(({ query }) => query)).toEqual([
    { fromImage: 'x', tag: 'latest', platform: undefined },
    { fromImage: 'x', tag: 'latest', platform: 'linux/arm64' },
  ])
  for (const { body } of pulls) ended(body)
  await Promise.all(all)
  const again = puller.pull({ image: 'x' }, callOf())
  await Promise.resolve()
  ended(pulls[2]!.body)
  await again
})

test('a flight goes on while one waits, and is given up with the last', async () => {
  const { engine, pulls } = pullingEngine()
  const puller = createPuller(engine, Date.now)
  const [first, second] = [new AbortController(), new AbortController()]
  const waits = [first, second].map(({ signal }) => puller.pull({ image: 'x' }, callOf({ signal })))
  first.abort()
  await expect(waits[0]).rejects.toMatchObject({ name: 'AbortError' })
  expect(pulls[0]!.signal.aborted).toBe(false)
  second.abort()
  await expect(waits[1]).rejects.toMatchObject({ name: 'AbortError' })
  expect(pulls[0]!.signal.aborted).toBe(true)
})

test('progress is told every two seconds, not every time', async () => {
  const { engine, pulls } = pullingEngine()
  let now = 0
  const told: string[] = []
  const done = createPuller(engine, () => now).pull({ image: 'x' }, callOf({ log: (line) => told.push(line) }))
  await Promise.resolve()
  for (now = 0; now <= 4_000; now += 500) {
    pulls[0]!.body.push(`${JSON.stringify({ id: 'a', status: 'Downloading', progressDetail: { current: now, total: 4_000 } })}\n`)
    await new Promise((resolve) => setImmediate(resolve))
  }
  ended(pulls[0]!.body)
  await done
  expect(told).toEqual([
    'pulling an image {"image":"x","bytes":2000,"totalBytes":4000,"layers":1}',
    'pulling an image {"image":"x","bytes":4000,"totalBytes":4000,"layers":1}',
  ])
})
