import { expect, test } from 'vitest'
import { createTurns } from './turns.ts'

const never = new AbortController().signal

test('one after the other for each worker, and others meanwhile', async () => {
  const turns = createTurns()
  const first = Promise.withResolvers<void>()
  const order: string[] = []
  const work = (name: string, until?: Promise<void>) => async (): Promise<void> => {
    await until
    order.push(name)
  }
  const all = [
    turns.take('a', never, work('first', first.promise)),
    turns.take('a', never, work('second')),
    turns.take('b', never, work('other')),
  ]
  await all[2]
  expect(order).toEqual(['other'])
  first.resolve()
  await Promise.all(all)
  expect(order).toEqual(['other', 'first', 'second'])
})

test('whoever gives up waiting leaves the others in their order', async () => {
  const turns = createTurns()
  const first = Promise.withResolvers<void>()
  const leaving = new AbortController()
  const one = turns.take('a', never, () => first.promise)
  const two = turns.take('a', leaving.signal, () => Promise.resolve())
  leaving.abort(new Error('enough'))
  await expect(two).rejects.toThrow('enough')
  let begun = false
  const three = turns.take('a', never, async () => void (begun = true))
  await Promise.resolve()
  expect(begun).toBe(false)
  first.resolve()
  await Promise.all([one, three])
  expect(begun).toBe(true)
})

test('a failure is that of its own turn', async () => {
  const turns = createTurns()
  await expect(turns.take('a', never, () => Promise.reject(new Error('broken')))).rejects.toThrow('broken')
  await expect(turns.take('a', never, () => Promise.resolve('on'))).resolves.toBe('on')
})
