import { expect, test } from 'vitest'
import { cutBy } from './cut.ts'

const hanging = async function* (): AsyncGenerator<Uint8Array> {
  yield Buffer.from('begin')
  await new Promise(() => {})
}

async function read(source: AsyncIterable<Uint8Array>): Promise<number> {
  let count = 0
  for await (const chunk of source) count += chunk.length
  return count
}

test('a source that hangs ends with the signal, whether that aborts while it is read or before', async () => {
  const error = (): Error => new Error('the run is over')
  const later = new AbortController()
  const first = read(cutBy(hanging(), { signal: later.signal, error }))
  await new Promise((resolve) => setImmediate(resolve))
  later.abort()
  await expect(first).rejects.toThrow('the run is over')
  await expect(read(cutBy(hanging(), { signal: later.signal, error }))).rejects.toThrow('the run is over')
})

test('one that comes to its end is passed on whole', async () => {
  const source = async function* (): AsyncGenerator<Uint8Array> {
    yield* [Buffer.from('one'), Buffer.from('two')]
  }
  const { signal } = new AbortController()
  expect(await read(cutBy(source(), { signal, error: () => new Error('never') }))).toBe(6)
})
