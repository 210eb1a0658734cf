import { describe, expect, test } from 'vitest'
import type { ExecSpec } from '../provider.ts'
import { checkBash, checkExec, encodeExec } from './encode.ts'

const base: ExecSpec = { id: 'x1', command: ['true'], stdin: false, from: { stdout: 0, stderr: 0 } }

describe('encodeExec', () => {
  test('quotes every word for the shell, and ends in a line that shows a cut', () => {
    const text = encodeExec({ ...base, command: ['echo', `it's`, '$a\n`b`'], env: { A: `"'"`, B: '' }, workdir: '/a b' }, 'mark')
    expect(Buffer.from(text).toString()).toBe(
      [`mark,_m_cwd='/a b'`, `export A='"'\\''"'`, `export B=''`, `set -- 'echo' 'it'\\''s' '$a\n\`b\`'`, '#end'].join('\n'),
    )
  })

  test('a relative folder lies in the folder of the raw exec', () => {
    expect(Buffer.from(encodeExec({ ...base, workdir: 'sub' }, 'm')).toString()).toContain(`_m_cwd=$_m_cwd/'sub'`)
  })
})

describe('checkExec', () => {
  test('lets a usual command pass', () => {
    expect(() => checkExec({ ...base, env: { PATH: '/bin', _x1: 'ü' }, workdir: '/w' })).not.toThrow()
  })

  test.each<[string, string, Partial<ExecSpec>]>([
    ['invalid-spec', 'id', { id: '../x' }],
    ['invalid-spec', 'id', { id: '' }],
    ['invalid-spec', 'id', { id: '.x' }],
    ['unsupported', 'tty', { tty: { columns: 80, rows: 24 } }],
    ['invalid-spec', 'command', { command: [] }],
    ['invalid-spec', 'command.1', { command: ['a', 'b\0'] }],
    ['invalid-spec', 'workdir', { workdir: '/\0' }],
    ['invalid-spec', 'env.A-B', { env: { 'A-B': '' } }],
    ['invalid-spec', 'env.A', { env: { A: '\0' } }],
    ['unsupported', 'env.OPTIND', { env: { OPTIND: '1' } }],
    ['unsupported', 'env._', { env: { _: '1' } }],
    ['unsupported', 'env._m_cwd', { env: { _m_cwd: '/' } }],
  ])('refuses with %s at %s', (code, path, part) => {
    expect(() => checkExec({ ...base, ...part })).toThrow(expect.objectContaining({ code, path, effect: 'none' }))
  })
})

test('what bash keeps for itself is refused for bash only', () => {
  const spec = { ...base, env: { OK: '1', UID: '5' } }
  expect(() => checkExec(spec)).not.toThrow()
  expect(() => checkBash(spec)).toThrow(expect.objectContaining({ code: 'unsupported', path: 'env.UID' }))
  expect(() => checkBash({ ...base, env: { OK: '1' } })).not.toThrow()
  expect(() => checkBash(base)).not.toThrow()
})
