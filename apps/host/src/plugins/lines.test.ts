import { PassThrough } from 'node:stream'
import { text } from 'node:stream/consumers'
import { expect, test } from 'vitest'
import { readLines } from './lines.ts'
import { createRedactor } from './redactor.ts'

const secret = 'hunter22-and-some-more'
/** So that what is cleaned of it is shown to its end. */
const long = `hunter22-${'x'.repeat(991)}`

async function shown(...chunks: string[]): Promise<string[]> {
  const redactor = createRedactor()
  for (const one of [secret, long]) redactor.learn(one)
  const lines: string[] = []
  const stream = new PassThrough()
  readLines(stream, { clean: redactor.clean, take: (line) => lines.push(line) })
  const ended = text(stream)
  for (const chunk of chunks) stream.write(chunk)
  stream.end()
  await ended
  return lines
}

test('lines are put together from what comes, empty ones left out, and the last one needs no end', async () => {
  expect(await shown('a', 'b\n\nc\nd')).toEqual(['ab', 'c', 'd'])
})

test('a secret at the place where a line is cut stays in no part', async () => {
  for (const before of [4096 - secret.length + 1, 4090, 4095]) {
    const [line = ''] = await shown(`${'-'.repeat(before)}${secret}\n`)
    expect(line).toMatch(/^-+\[[a-z]*\]?$/)
    expect(line.length).toBeLessThanOrEqual(4096)
  }
})

test('neither does one where so much was read that the rest is not looked at', async () => {
  for (let part = 0; part <= secret.length; part += 1) {
    const again = secret.repeat(Math.floor((65_536 - part) / secret.length))
    const cut = `${again}${'-'.repeat(65_536 - part - again.length)}${secret}`
    for (const line of await shown(cut.slice(0, 40_000), `${cut.slice(40_000)}${'-'.repeat(9999)}\n`, 'more\n'))
      expect(line).not.toMatch(/hunt/)
  }
})

test('neither does one at the end of what is kept of a line that has not ended yet', async () => {
  for (const part of [1, 2, 30, 60, 63]) {
    const line = `${'-'.repeat(65_536 - 65 * long.length - part)}${long.repeat(66)}`
    const [begin = ''] = await shown(line, `${'-'.repeat(9999)}\n`)
    expect(begin).toMatch(/^-+(\[secret\])+/)
    expect(begin).not.toMatch(/hunt|h$/)
  }
})

test('a line that is too long loses what could be the beginning of a secret, and one that is not loses nothing', async () => {
  const [long = ''] = await shown(`${'a'.repeat(70_000)}\n`)
  expect(long).toBe('a'.repeat(4096))
  // Short once it is clean: what stood at its end is not shown.
  const [cut = ''] = await shown(`${secret.repeat(2978)}${'z'.repeat(100_000)}\n`)
  expect(cut).toMatch(/^(\[secret\])+/)
  expect(await shown(`${'b'.repeat(100)}\n`)).toEqual(['b'.repeat(100)])
})
