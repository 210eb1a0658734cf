import { execFileSync } from 'node:child_process'
import { expect, test } from 'vitest'
import type { Order } from '../engine/agent-api.ts'
import { orderScript } from './order-script.ts'

const order: Order = {
  run: 'r1',
  command: ['printf', '%s', "it's", '$(id)', 'a\nb', '', '"', '\\', '*'],
  env: { A: "x'y", B: '`id`' },
  workdir: 'a dir',
  files: [{ path: 'f', base64: 'eA==', mode: 0o755 }],
  inputs: [{ name: 'in', path: '-n', sha256: 'ab', bytes: 3 }],
  outputs: [{ name: 'out', path: '../x', optional: true }],
  graceMs: 1000,
}

test('every word of an order arrives in a shell as it is', () => {
  const names = ['run', 'input', 'file', 'env', 'output', 'workdir', 'command']
  const define = names.map((name) => `muster_${name}() { printf '%s\\0' ${name} "$@"; printf '\\0\\0'; }\n`).join('')
  const told = execFileSync('/bin/sh', ['-c', `${define}${orderScript(order)}`], { encoding: 'utf8' })
  const calls = told.split('\0\0\0').filter((call) => call !== '')
  expect(calls.map((call) => call.split('\0'))).toEqual([
    ['run', 'r1', '1000', '0'],
    ['input', 'in', '-n', 'ab', '3'],
    ['file', 'f', '755', 'eA=='],
    ['env', 'A', "x'y"],
    ['env', 'B', '`id`'],
    ['output', 'out', '../x'],
    ['workdir', 'a dir'],
    ['command', ...order.command],
  ])
})
