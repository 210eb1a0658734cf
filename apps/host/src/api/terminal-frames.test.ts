import type { TerminalSize } from '@muster/core'
import { expect, test } from 'vitest'
import { readTerminal } from './terminal-frames.ts'

function frame(kind: number, value: object): Buffer {
  const data = Buffer.from(JSON.stringify(value))
  const head = Buffer.alloc(5)
  head.writeUInt8(kind)
  head.writeUInt32BE(data.length, 1)
  return Buffer.concat([head, data])
}

test('however many sizes come, one is told at a time, and the last of all is told', async () => {
  const all = Array.from({ length: 10_000 }, (_, index) => ({ columns: 80, rows: 1 + (index % 500) }))
  async function* body(): AsyncGenerator<Buffer> {
    yield frame(0, { command: ['sh'], columns: 80, rows: 24 })
    yield Buffer.concat(all.map((size) => frame(2, size)))
    yield frame(3, {})
  }
  const person = readTerminal(body())
  await person.begin(60_000)
  const told: TerminalSize[] = []
  const slow = Promise.withResolvers<void>()
  let open = 0
  person.onResize(async (size) => {
    open += 1
    expect(open).toBe(1)
    told.push(size)
    await slow.promise
    open -= 1
  })
  await person.ignore()
  expect(told).toEqual([all[0]])
  slow.resolve()
  await expect.poll(() => told).toEqual([all[0], all.at(-1)])
})
