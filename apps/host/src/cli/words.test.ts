import { InvalidArgumentError } from 'commander'
import { afterEach, expect, test, vi } from 'vitest'
import { MusterError } from '@muster/client'
import { parsing, tell } from './context.ts'
import { age, duration, exits, printTable, state } from './io.ts'
import { collect, collectEnv, collectLabel, collectOutput } from './pairs.ts'

afterEach(() => {
  vi.restoreAllMocks()
  vi.unstubAllEnvs()
})

function written(stream: 'stdout' | 'stderr'): () => string {
  const spy = vi.spyOn(process[stream], 'write').mockReturnValue(true)
  return () => spy.mock.calls.map(([text]) => String(text)).join('')
}

test('variables: a name alone takes its value from here, and nothing when it has none', () => {
  vi.stubEnv('HERE', 'value')
  expect(collectEnv('A=1=2', {})).toEqual({ A: '1=2' })
  expect(collectEnv('B=', { A: '1' })).toEqual({ A: '1', B: '' })
  expect(collectEnv('HERE', {})).toEqual({ HERE: 'value' })
  expect(collectEnv('NOT_HERE_AT_ALL', {})).toEqual({})
  expect(() => collectEnv('1A=x', {})).toThrow(InvalidArgumentError)
})

test('labels, outputs and lists', () => {
  expect(collectLabel('job=lint=all', { a: 'b' })).toEqual({ a: 'b', job: 'lint=all' })
  expect(() => collectLabel('job', {})).toThrow('Write NAME=VALUE.')
  expect(collectOutput('dist=out/dist', [])).toEqual([{ name: 'dist', path: 'out/dist' }])
  for (const wrong of ['dist', 'dist=', '=x', 'Dist=x', 'a/b=x'])
    expect(() => collectOutput(wrong, [])).toThrow(InvalidArgumentError)
  expect(() => collectOutput('dist=b', [{ name: 'dist', path: 'a' }])).toThrow('It has the name of another output.')
  expect(collect('b', ['a'])).toEqual(['a', 'b'])
  expect(parsing(Number, 'a number')('5')).toBe(5)
})

test('ages have one unit', () => {
  expect([999, 59_999, 60_000, 3_599_999, 3_600_000, 86_400_000].map(duration)).toEqual(['0s', '59s', '1m', '59m', '1h', '1d'])
  expect(age('2026-01-01T00:00:00.000Z', Date.parse('2026-01-01T02:30:00.000Z'))).toBe('2h')
  expect(age('2026-01-01T00:00:00.000Z', 0)).toBe('0s')
})

test('colours are words where nobody sees them', () => {
  expect([state('ready'), state('failed'), state('degraded', 'quota'), state('other')].join(' ')).toMatch(
    /ready.*failed.*quota.*other/,
  )
})

test('a table is aligned; an empty one says so on stderr', async () => {
  const out = written('stdout')
  const err = written('stderr')
  const columns = [
    { title: 'NAME', of: (row: { name: string }) => row.name },
    { title: 'NOTE', of: () => undefined },
  ]
  await printTable([{ name: 'a' }, { name: 'longer' }], columns, 'nothing')
  expect(out()).toBe('NAME    NOTE\na       -\nlonger  -\n')
  await printTable([], columns, 'nothing here')
  expect(err()).toBe('muster: nothing here\n')
})

test('a failure is told with its hint, what comes nearest, and where the log has it', () => {
  const err = written('stderr')
  const problem = { id: 'x1', nearest: { pool: 'ci', field: 'image', asked: 'a', has: 'b' } }
  expect(
    tell(new MusterError('refused', 'no pool has it', { hint: 'Ask without.', problem: problem as never }), exits.infrastructure),
  ).toBe(125)
  expect(err()).toBe(
    "muster: no pool has it\nmuster: the nearest is pool ci: image is b, not a\nmuster: Ask without.\nmuster: the daemon's log has it under x1\n",
  )
})

test('a misspelt pool is asked about; what the message says is not repeated', () => {
  const err = written('stderr')
  const nearest = (field: string): never => ({ nearest: { pool: 'ci', field, asked: 'a', has: 'b' } }) as never
  tell(new MusterError('refused', 'there is no pool c', { problem: nearest('pool') }), 1)
  tell(new MusterError('refused', 'no worker of pool ci can be this', { problem: nearest('image') }), 1)
  expect(err()).toBe('muster: there is no pool c\nmuster: did you mean pool ci?\nmuster: no worker of pool ci can be this\n')
})

test('a fault of ours shows where; a reader that went away is quiet', () => {
  const err = written('stderr')
  expect(tell(Object.assign(new Error('write EPIPE'), { code: 'EPIPE' }), 1)).toBe(141)
  expect(err()).toBe('')
  expect(tell(new TypeError('oops'), 1)).toBe(1)
  expect(tell('odd', 1)).toBe(1)
  expect(err()).toMatch(/^muster: TypeError: oops\n {4}at [\s\S]*muster: odd\n$/)
})
