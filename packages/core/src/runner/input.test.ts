import { expect, test, vi } from 'vitest'
import { createInput } from './input.ts'

async function* source(...parts: string[]): AsyncGenerator<Uint8Array> {
  for (const part of parts) yield Buffer.from(part)
}
function bell(): { ring: () => void; fail: (error: unknown) => void; rung: () => Promise<void> } {
  let ring = (): void => undefined
  let fail = (_error: unknown): void => undefined
  return {
    ring: () => ring(),
    fail: (error) => fail(error),
    rung: async () =>
      await new Promise<void>((resolve, reject) => {
        ring = resolve
        fail = reject
      }),
  }
}
const text = (segment: { offset: number; data: Uint8Array } | undefined): unknown =>
  segment && [segment.offset, Buffer.from(segment.data).toString()]

test('sends nothing before the worker has said what it has', () => {
  const input = createInput(source('abc'), bell())
  expect(input.segment()).toBeUndefined()
  expect(input.held).toBe(false)
})

test('sends a segment until it is taken over, then the next, then the end', async () => {
  const on = bell()
  const input = createInput(source('abc', 'de'), on)
  const first = on.rung()
  input.seen(0, 0)
  await first
  expect(text(input.segment())).toEqual([0, 'abc'])
  input.seen(0, 0)
  expect(text(input.segment())).toEqual([0, 'abc'])
  const second = on.rung()
  input.seen(3, 0)
  await second
  expect(text(input.segment())).toEqual([3, 'de'])
  const end = on.rung()
  input.seen(5, 5)
  await end
  expect(text(input.segment())).toEqual([5, ''])
  expect(input.segment()).toBeUndefined()
})

test('holds back only while the worker has not passed on what it has', async () => {
  const on = bell()
  const input = createInput(source('abc'), on)
  const first = on.rung()
  input.seen(0, 0)
  await first
  expect(input.held).toBe(false)
})

test('what comes from its source after it was stopped wakes nobody', async () => {
  let rung = 0
  const gate = Promise.withResolvers<void>()
  const slow = (async function* () {
    await gate.promise
    yield Buffer.from('late')
  })()
  const input = createInput(slow, { ring: () => (rung += 1), fail: () => (rung += 1) })
  input.seen(0, 0)
  input.stop()
  gate.resolve()
  await new Promise(setImmediate)
  expect([rung, input.segment()]).toEqual([0, undefined])
})

test('skips what the worker has from an earlier attach, in the middle of a chunk too', async () => {
  const on = bell()
  const input = createInput(source('abc', 'defg', 'h'), on)
  const first = on.rung()
  input.seen(5, 0)
  await first
  const second = on.rung()
  expect(input.segment()).toBeUndefined()
  await second
  expect(text(input.segment())).toEqual([5, 'fg'])
})

test('holds back while the command reads nothing', async () => {
  const on = bell()
  const input = createInput(source('abc'), on)
  const first = on.rung()
  input.seen(0, 0)
  await first
  input.seen(0, -1_048_576)
  expect(input.held).toBe(true)
  expect(input.segment()).toBeUndefined()
  input.seen(0, 0)
  expect(text(input.segment())).toEqual([0, 'abc'])
})

test('cuts large chunks', async () => {
  const on = bell()
  const input = createInput(source('x'.repeat(300_000)), on)
  const first = on.rung()
  input.seen(0, 0)
  await first
  expect(input.segment()?.data.length).toBe(262_144)
  input.seen(262_144, 0)
  expect(text(input.segment())).toEqual([262_144, 'x'.repeat(37_856)])
})

test('a source that throws is told, one that is stopped is let go', async () => {
  const on = bell()
  const failing = createInput(
    (async function* () {
      throw new Error('gone')
      // oxlint-disable-next-line no-unreachable -- makes it a generator of bytes
      yield Buffer.alloc(0)
    })(),
    on,
  )
  const told = on.rung()
  failing.seen(0, 0)
  await expect(told).rejects.toMatchObject({ code: 'internal', message: 'the input failed: gone' })
  const done = vi.fn<() => void>()
  const input = createInput(
    (async function* () {
      try {
        yield Buffer.from('a')
      } finally {
        done()
      }
    })(),
    on,
  )
  const rung = on.rung()
  input.seen(0, 0)
  await rung
  input.stop()
  await vi.waitFor(() => expect(done).toHaveBeenCalledOnce())
})
