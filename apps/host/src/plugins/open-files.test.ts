import { execFileSync, spawnSync } from 'node:child_process'
import { expect, test } from 'vitest'
import { withOpenFiles } from './open-files.ts'

function ran(command: readonly string[]): string[] {
  const [program = '', ...args] = command
  return execFileSync(program, args, { encoding: 'utf8' }).trim().split('\n')
}

const limits = ['/bin/sh', '-c', 'ulimit -H -n; ulimit -S -n']

test('the command and what it starts may open so many, and never more than the machine gives', () => {
  expect(ran(withOpenFiles(limits, 200))).toEqual(['200', '200'])
  expect(ran(withOpenFiles(withOpenFiles(limits, 300), 200))).toEqual(['200', '200'])
})

test('words of the command and its environment stay as they are, and it is the same process', () => {
  expect(ran(withOpenFiles(['/bin/echo', '$0', '', 'a  b', '*']))).toEqual(['$0  a  b *'])
  const [program = '', ...args] = withOpenFiles(['/usr/bin/env'])
  const env = execFileSync(program, args, { env: { ONE: '1' }, encoding: 'utf8' })
  // Of the shell, and of Node where it measures coverage.
  expect(env.replace(/^(?:_|NODE_V8_COVERAGE)=.*\n/gm, '')).toBe('ONE=1\n')
  const { pid, stdout } = spawnSync('/bin/sh', withOpenFiles(['/bin/sh', '-c', 'echo $$']).slice(1), { encoding: 'utf8' })
  expect(stdout.trim()).toBe(String(pid))
})
