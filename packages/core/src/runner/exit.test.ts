import { expect, test } from 'vitest'
import { lostExit, parseExit } from './exit.ts'

test.each([
  ['0 - 0 m', { code: 0, reason: 'exited with 0' }],
  ['0 - 5 m', { code: 0, reason: 'exited with 0' }],
  ['137 - 0 m', { code: 137, reason: 'exited with 137' }],
  ['137 KILL 0 m', { signal: 'SIGKILL', reason: 'ended by SIGKILL' }],
  ['137 KILL 1 m', { signal: 'SIGKILL', oomKilled: true, reason: 'out of memory' }],
  ['137 - 1 m', { code: 137, oomKilled: true, reason: 'out of memory' }],
  ['162 34 0 m', { signal: 'SIG34', reason: 'ended by SIG34' }],
  ['143 SIGTERM 0 m', { signal: 'SIGTERM', reason: 'ended by SIGTERM' }],
  ['143 TERM! 0 m', { reason: 'unknown: all of its worker was told to end; it ended by SIGTERM' }],
  ['137 KILL! 0 m', { reason: 'unknown: all of its worker was told to end; it ended by SIGKILL' }],
  ['143 -! 0 m', { reason: 'unknown: all of its worker was told to end; it exited with 143' }],
  ['137 KILL! 1 m', { signal: 'SIGKILL', oomKilled: true, reason: 'out of memory; all of its worker had been told to end' }],
  ['9 -! 0 m', { code: 9, reason: 'exited with 9; all of its worker had been told to end' }],
])('%s', (line, exit) => {
  expect(parseExit(line.split(' '))).toEqual({ exit, mark: Buffer.from('m') })
})

test('when it ended, to the second, where the worker can tell', () => {
  const at = (line: string): string | undefined => parseExit(line.split(' ')).exit.at
  expect(at('0 - 0 m 1764464400')).toBe('2025-11-30T01:00:00.999Z')
  for (const line of ['0 - 0 m', '0 - 0 m 0', '0 - 0 m %s', '0 - 0 m 99999999999999']) expect(at(line)).toBeUndefined()
})

test('a failure beside a memory kill is not called one', () => {
  const { exit } = parseExit('2 - 1 m'.split(' '))
  expect(exit).toEqual({ code: 2, reason: expect.stringMatching(/^exited with 2; meanwhile .* out of memory$/) })
})

test('unknown has neither code nor signal', () => {
  const why = 'the process that watched the command in the worker was killed'
  expect(lostExit(0)).toEqual({ reason: `unknown: ${why}` })
  // Also for a worker whose script is older and counts nothing.
  expect(lostExit(Number(''))).toEqual({ reason: `unknown: ${why}` })
  expect(lostExit(2)).toEqual({ reason: `unknown: ${why}; the memory killer struck 2 times in this worker meanwhile` })
})

test.each(['', '. ', '3 - 0', 'x - 0 m'])('%j is no exit', (line) => {
  // What came instead is for the log, not for the message.
  const cause = expect.objectContaining({ message: line })
  expect(() => parseExit(line.split(' '))).toThrow(expect.objectContaining({ code: 'transient', cause }))
})
