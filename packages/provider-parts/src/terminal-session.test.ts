import type { ExecSession } from '@muster/core'
import { expect, test } from 'vitest'
import { type AtTerminal, terminalSession } from './terminal-session.ts'

interface Opened {
  session: ExecSession
  over: boolean[]
}

async function* shows(...texts: (string | Error)[]): AsyncGenerator<Buffer> {
  for (const text of texts)
    if (typeof text === 'string') yield Buffer.from(text)
    else throw text
}

function open(shown: AsyncGenerator<Buffer>, more: Partial<AtTerminal> = {}): Opened {
  const over: boolean[] = []
  const { signal } = new AbortController()
  const at: AtTerminal = { shown, exitCode: () => Promise.resolve(7), signal, ...more }
  return { session: terminalSession(at, (ended) => void over.push(ended)), over }
}

test('what is shown comes in chunks of the contract, without the line that began it, and then its exit', async () => {
  const { session, over } = open(shows('\r', `\n${'x'.repeat(100_000)}`, 'end'))
  const chunks = await Array.fromAsync(session.output)
  expect(chunks.map(({ stream, offset, data }) => [stream, offset, data.length])).toEqual([
    ['stdout', 0, 65_536],
    ['stdout', 65_536, 34_464],
    ['stdout', 100_000, 3],
  ])
  expect(await session.exit).toEqual({ code: 7, reason: 'exited with code 7' })
  expect(over).toEqual([true])
})

test('a failure is told as what it is to whoever reads', async () => {
  const toFailure = (error: unknown): unknown => `judged: ${(error as Error).message}`
  const { session, over } = open(shows('a', new Error('lost')), { toFailure })
  await expect(Array.fromAsync(session.output)).rejects.toBe('judged: lost')
  await expect(session.exit).rejects.toBe('judged: lost')
  expect(over).toEqual([false])
})

test('one that is given up is over, also while nobody reads', async () => {
  const leaving = new AbortController()
  const { session, over } = open(shows('a'), { signal: leaving.signal })
  leaving.abort(new Error('given up'))
  await expect(session.exit).rejects.toThrow('given up')
  expect(over).toEqual([false])
  expect(open(shows('a'), { signal: leaving.signal }).over).toEqual([false])
})

test('an output that is left has no exit', async () => {
  const { session, over } = open(shows('a', 'b'))
  for await (const _chunk of session.output) break
  await expect(session.exit).rejects.toMatchObject({ code: 'cancelled', effect: 'possible' })
  expect(over).toEqual([false])
})
