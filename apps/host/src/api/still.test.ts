import { expect, test } from 'vitest'
import { testClock, type TestClock } from '../engine/testing/clock.ts'
import { watchReader } from './still.ts'

async function* numbers(wait: () => Promise<void> = async () => undefined): AsyncGenerator<number> {
  for (let n = 1; n <= 3; n++) {
    await wait()
    yield n
  }
}

function open(): { clock: TestClock; told: () => number; reader: ReturnType<typeof watchReader>; pass(ms: number): void } {
  const clock = testClock()
  let told = 0
  const reader = watchReader({ clock, ms: 1000, onStill: () => void (told += 1) })
  return {
    clock,
    reader,
    told: () => told,
    pass: (ms) => {
      const until = clock.now() + ms
      while (clock.step(until));
    },
  }
}

test('a reader that takes nothing is told of once; one that takes something in time is not', async () => {
  const { reader, told, pass } = open()
  const taken = reader.follow(numbers())
  for (const n of [1, 2]) {
    expect((await taken.next()).value).toBe(n)
    pass(999)
  }
  expect(told()).toBe(0)
  pass(1)
  expect(told()).toBe(1)
  pass(10_000)
  expect(told()).toBe(1)
})

test('what the source takes to give something is not the reader’s time', async () => {
  const { reader, told, pass } = open()
  const { promise, resolve } = Promise.withResolvers<void>()
  const taken = reader.follow(numbers(() => promise))
  const next = taken.next()
  pass(10_000)
  resolve()
  expect((await next).value).toBe(1)
  pass(999)
  expect(told()).toBe(0)
  pass(1)
  expect(told()).toBe(1)
})

test('what was given last must be taken as well; after its end nobody is watched', async () => {
  for (const isTaken of [true, false]) {
    const { reader, told, pass } = open()
    for await (const n of reader.follow(numbers())) expect(n).toBeGreaterThan(0)
    pass(999)
    if (isTaken) reader.end()
    pass(1000)
    expect(told()).toBe(isTaken ? 0 : 1)
  }
})
