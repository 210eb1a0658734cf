/** From sources to a report, on the smallest plugin there is. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { filesOf } from '@muster/packed/archive'
import { sha512Of, treeOf } from '@muster/packed/digest'
import { tempFolder, type TempFolder } from '@muster/test/systems/temp'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { kit } from './kit.test.helper.ts'
import type { ConformanceReport } from './report.ts'

const folder = join(import.meta.dirname, '../../../examples/provider-minimal')
// The suite starts a plugin for each of its tests: a slow machine is no fault.
vi.setConfig({ testTimeout: 300_000 })

let temp: TempFolder
beforeAll(async () => {
  temp = await tempFolder('kit')
})
afterAll(() => temp.remove())

test('a plugin is built, tested as it is packed, and packed to the same bytes', async () => {
  expect(await kit('build', '-C', folder)).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(/^built dist\/plugin\.js: \d+ bytes\n$/),
  })

  const packed = await kit('pack', '-C', folder, '--verify', '--json', '--out', temp.path)
  expect(packed).toMatchObject({ code: 0, stderr: '' })
  const told = JSON.parse(packed.stdout) as { file: string; sha512: string; tree: string; size: number; files: string[] }
  const tarball = await readFile(told.file)
  expect(told).toMatchObject({
    file: join(temp.path, 'muster-plugin-minimal-0.1.0.tgz'),
    verified: true,
    size: tarball.length,
    sha512: sha512Of(tarball),
    tree: treeOf(await filesOf(tarball)),
    files: ['README.md', 'dist/plugin.js', 'muster-plugin.json', 'package.json'],
  })

  const file = join(temp.path, 'report.json')
  const tested = await kit('test', '-C', folder, '--report', file)
  expect(tested).toMatchObject({ code: 0, stdout: expect.stringMatching(/ passed, 0 failed, \d+ not declared\n$/) })
  const report = JSON.parse(await readFile(file, 'utf8')) as ConformanceReport
  expect(report).toMatchObject({
    schema: 1,
    result: 'pass',
    artifact: { package: 'muster-plugin-minimal', version: '0.1.0', sha512: told.sha512, tree: told.tree, size: told.size },
    suite: { package: '@muster/core', tests: report.tests.length },
    capabilities: { work: ['command'] },
  })
  const passed = report.tests.filter(({ outcome }) => outcome === 'pass')
  expect(passed.map(({ name }) => name)).toContain('exit codes 0, 1, 137 and 143 of a command are told as they are')
  expect(report.tests.filter(({ outcome }) => outcome === 'not declared').every(({ detail }) => detail !== undefined)).toBe(true)
})

test('what fails is a failure, and some of the tests are never a pass', async () => {
  const setup = join(temp.path, 'conformance.json')
  const report = join(temp.path, 'some.json')
  const some = ['test', '-C', folder, '--setup', setup, '--report', report, '--only', 'the probe'] as const
  const result = async (): Promise<unknown> => (JSON.parse(await readFile(report, 'utf8')) as ConformanceReport).result
  const written = { config: { dir: '${dir}' }, leftovers: ['true'], patienceMs: 5000 }

  await writeFile(setup, JSON.stringify(written))
  expect(await kit(...some)).toMatchObject({ code: 0, stderr: expect.stringContaining('says nothing of the whole') })
  expect(await result()).toBe('partial')

  await writeFile(setup, JSON.stringify({ ...written, leftovers: ['echo', 'a volume'], patienceMs: 500 }))
  expect(await kit(...some)).toMatchObject({
    code: 1,
    stdout: expect.stringMatching(/^FAIL nothing is left of any worker[^]*a volume[^]*1 passed, 1 failed/m),
  })
  expect(await result()).toBe('fail')

  await writeFile(setup, JSON.stringify({ ...written, leftover: [] }, null, 2))
  const wrong = await kit(...some)
  expect(wrong).toMatchObject({ code: 1, stdout: expect.stringMatching(/conformance\.json:\d+:\d+: .*leftover/) })
})

test('what a user types wrong is told with what is right, and nothing is done', async () => {
  expect(await kit('bild')).toMatchObject({ code: 2, stderr: expect.stringContaining("unknown command 'bild'") })
  expect(await kit('test', '-C', folder, '--parallel', '0')).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('a whole number from 1 on'),
  })
  expect(await kit('--version')).toMatchObject({ code: 0, stdout: expect.stringMatching(/^\d+\.\d+\.\d+\n$/) })
  const nowhere = join(temp.path, 'nowhere')
  const missing = { code: 1, stdout: expect.stringMatching(/^package\.json: the file is missing[^]*fix: write it/) }
  expect(await kit('build', '-C', nowhere)).toMatchObject(missing)
  expect(await kit('lint', '-C', nowhere)).toMatchObject(missing)
  expect(JSON.parse((await kit('lint', '-C', nowhere, '--json')).stdout)).toMatchObject([{ place: 'package.json' }])
})

test('a plugin without a fault is told so; packed once it is no proof of anything, and a packed one can be tested', async () => {
  await kit('build', '-C', folder)
  expect(await kit('lint', '-C', folder)).toMatchObject({ code: 0, stdout: expect.stringContaining('nothing is wrong') })
  const packed = await kit('pack', '-C', folder, '--out', temp.path)
  expect(packed).toMatchObject({ code: 0, stdout: expect.stringMatching(/: 4 files, \d+ bytes\nsha512 sha512-\S+\ntree /) })
  const tarball = join(temp.path, 'muster-plugin-minimal-0.1.0.tgz')
  const report = join(temp.path, 'packed.json')
  const tested = await kit('test', '-C', folder, '--tarball', tarball, '--report', report, '--only', 'the probe', '--json')
  expect(tested.code).toBe(0)
  expect(JSON.parse(tested.stdout)).toMatchObject({ result: 'partial', artifact: { package: 'muster-plugin-minimal' } })
})
