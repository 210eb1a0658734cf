/** The suite over the plugin as it is packed: whoever speaks the wire is a plugin, in whatever language. */
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { requireSystem } from '@muster/test/require'
import { runProcess } from '@muster/test/systems/process'
import { tempFolder } from '@muster/test/systems/temp'
import { expect, test } from 'vitest'

const kit = join(import.meta.dirname, '../../packages/plugin-kit/bin/muster-plugin.mjs')
const folders = ['/usr/local/bin', '/usr/bin', '/bin']

/** All of it, on a machine that has other things to do. */
const timeout = 300_000

test('a plugin in Python passes every test of what it declares', { timeout }, async (context) => {
  await requireSystem(context, {
    name: 'python3',
    probe: () => (folders.some((one) => existsSync(join(one, 'python3'))) ? undefined : 'python3 is not installed'),
  })
  await using temp = await tempFolder('python')
  const file = join(temp.path, 'report.json')
  const { code, stdout, stderr } = await runProcess(
    [process.execPath, kit, 'test', '-C', import.meta.dirname, '--report', file],
    { env: { ...process.env, MUSTER_SOURCE: '1' }, timeoutMs: timeout },
  )
  expect(stdout + stderr).toMatch(/: \d+ passed, 0 failed, \d+ not declared\n$/)
  expect(code).toBe(0)
  const { result, tests } = JSON.parse(await readFile(file, 'utf8')) as {
    result: string
    tests: { name: string; outcome: string; needs: string[] }[]
  }
  expect(result).toBe('pass')
  // Calls, streams with credit, kills at each frame: what it declares is not little.
  expect(tests.filter(({ outcome }) => outcome === 'pass').length).toBeGreaterThanOrEqual(50)
  expect(tests.filter(({ needs, outcome }) => needs.includes('logs') && outcome !== 'pass')).toEqual([])
})
