import { expect, test } from 'vitest'
import { both } from './both.ts'

/** Gives what it is told to, and ends or fails when it is. */
function source<T>() {
  const steps: { item?: T; error?: Error }[] = []
  let moved = Promise.withResolvers<void>()
  let taken = 0
  const tell = (step: { item?: T; error?: Error }): void => {
    steps.push(step)
    moved.resolve()
    moved = Promise.withResolvers<void>()
  }
  let left = false
  async function* all(): AsyncGenerator<T> {
    try {
      for (;;) {
        const step = steps.shift()
        if (step === undefined) await moved.promise
        else if (step.error !== undefined) throw step.error
        else if (step.item === undefined) return
        else {
          taken += 1
          yield step.item
        }
      }
    } finally {
      left = true
    }
  }
  return {
    items: all(),
    give: (...items: T[]) => items.forEach((item) => tell({ item })),
    end: () => tell({}),
    fail: (message: string) => tell({ error: new Error(message) }),
    taken: () => taken,
    left: () => left,
  }
}

const turns = async (): Promise<void> => {
  for (let n = 0; n < 500; n++) await Promise.resolve()
}

test('both are told as they come, and the end of the first is the end', async () => {
  const [one, two] = [source<string>(), source<string>()]
  const all = both(one.items, two.items)
  one.give('a')
  expect(await all.next()).toEqual({ done: false, value: 'a' })
  const next = all.next()
  await turns()
  two.give('b')
  expect(await next).toEqual({ done: false, value: 'b' })
  one.give('c')
  one.end()
  expect(await all.next()).toEqual({ done: false, value: 'c' })
  expect(await all.next()).toEqual({ done: true, value: undefined })
})

test('it fails with the first, after what was told; the second may end and fail as it likes', async () => {
  const [one, two] = [source<string>(), source<string>()]
  const all = both(one.items, two.items)
  two.fail('of the second')
  one.give('a')
  expect(await all.next()).toEqual({ done: false, value: 'a' })
  one.fail('of the first')
  await expect(all.next()).rejects.toThrow('of the first')
  const [three, four] = [source<string>(), source<string>()]
  const more = both(three.items, four.items)
  four.end()
  const next = more.next()
  await turns()
  three.give('c')
  expect(await next).toEqual({ done: false, value: 'c' })
})

test('whoever reads slowly is waited for: a hundred are kept, and none is lost', async () => {
  const [one, two] = [source<number>(), source<number>()]
  const all = both(one.items, two.items)
  const numbers = Array.from({ length: 250 }, (_, index) => index)
  one.give(...numbers)
  one.end()
  const read = [(await all.next()).value]
  await turns()
  // One more is in the hand of whoever waits.
  expect(one.taken()).toBeLessThanOrEqual(102)
  for await (const item of all) read.push(item)
  expect(read).toEqual(numbers)
})

test('whoever leaves lets both go, those that wait for room too', async () => {
  const [one, two] = [source<number>(), source<number>()]
  const all = both(one.items, two.items)
  one.give(...Array.from({ length: 250 }, (_, index) => index))
  await all.next()
  await turns()
  await all.return(undefined)
  two.give(1)
  await turns()
  expect([one.left(), two.left()]).toEqual([true, true])
})
