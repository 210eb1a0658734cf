import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { arm } from './sample.ts'

test('the parent reaches one arm, its child another', () => {
  expect(arm('parent')).toBe(2)
  const child = execFileSync(process.execPath, [join(import.meta.dirname, 'sample.ts'), 'child'], { encoding: 'utf8' })
  expect(child).toBe('12')
})

test('a child that is killed while it writes its coverage leaves half a file', () => {
  const folder = process.env['NODE_V8_COVERAGE'] ?? ''
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'coverage-999999999-1-0.json'), '{"result":['.padEnd(4096))
  expect(readdirSync(folder)).toContain('coverage-999999999-1-0.json')
})
