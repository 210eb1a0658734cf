/** From sources to a report, on the smallest plugin there is. */
import { mkdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { filesOf } from '@muster/packed/archive'
import { conformanceOf } from '@muster/packed/conformance'
import { sha512Of, treeOf } from '@muster/packed/digest'
import { mustRun } from '@muster/test/systems/process'
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

  const file = join(temp.path, 'report.json')
  const pack = (...args: string[]): ReturnType<typeof kit> =>
    kit('pack', '-C', folder, '--out', temp.path, '--report', file, ...args)
  expect(await pack('--verify')).toMatchObject({
    code: 1,
    stdout: expect.stringMatching(
      /report\.json: there is no report of the conformance suite\n {2}fix: run: npx -p @muster\/plugin-kit muster-plugin test\n$/,
    ),
  })
  const tested = await kit('test', '-C', folder, '--report', file)
  expect(tested).toMatchObject({ code: 0, stdout: expect.stringMatching(/ passed, 0 failed, \d+ not declared\n$/) })
  const report = JSON.parse(await readFile(file, 'utf8')) as ConformanceReport
  expect(report).toMatchObject({
    schema: 1,
    result: 'pass',
    artifact: { package: 'muster-plugin-minimal', version: '0.1.0' },
    suite: { package: '@muster/core', tests: report.tests.length, contract: '1.0' },
    capabilities: { work: ['command'] },
  })
  const passed = report.tests.filter(({ outcome }) => outcome === 'pass')
  expect(passed.map(({ name }) => name)).toContain('exit codes 0, 1, 137 and 143 of a command are told as they are')
  expect(report.tests.filter(({ outcome }) => outcome === 'not declared').every(({ detail }) => detail !== undefined)).toBe(true)

  const packed = await pack('--verify', '--json')
  expect(packed).toMatchObject({ code: 0, stderr: '' })
  const told = JSON.parse(packed.stdout) as { file: string }
  const tarball = await readFile(told.file)
  const files = await filesOf(tarball)
  expect(told).toMatchObject({
    file: join(temp.path, 'muster-plugin-minimal-0.1.0.tgz'),
    verified: true,
    size: tarball.length,
    sha512: sha512Of(tarball),
    tree: treeOf(files),
    // What the suite has passed is what is packed.
    tested: report.artifact.tree,
    files: ['README.md', 'conformance-report.json', 'dist/plugin.js', 'muster-plugin.json', 'package.json'],
    conformance: { result: 'pass', failed: 0, passed: passed.length },
  })
  expect(conformanceOf(files, { name: 'muster-plugin-minimal', version: '0.1.0' })).toMatchObject({ result: 'pass' })

  // Any other word in it, and it is not packed; nobody is shown a report that has not all in it either.
  const verifying = async (change: Partial<ConformanceReport>): Promise<[number | null, string]> => {
    await writeFile(file, JSON.stringify({ ...report, ...change }))
    const { code, stdout } = await pack('--verify')
    return [code, stdout]
  }
  const { artifact, suite, tests } = report
  expect(await verifying({ artifact: { ...artifact, tree: treeOf(files) } })).toEqual([
    1,
    expect.stringMatching(/it is of other files than these[^]*fix: run: npx -p @muster\/plugin-kit muster-plugin test\n$/),
  ])
  const failed = tests.map((one, index) => (index === 0 ? { ...one, outcome: 'fail' as const } : one))
  expect(await verifying({ tests: failed })).toEqual([1, expect.stringMatching(/1 tests failed\n {2}fix: mend what they say/)])
  expect(await verifying({ result: 'partial' })).toEqual([
    1,
    expect.stringMatching(/of some tests only\n {2}fix: .* without --only/),
  ])
  expect(await verifying({ suite: { ...suite, version: '0.0.1' } })).toEqual([
    1,
    expect.stringContaining('by @muster/core@0.0.1, and this is @muster/core@0.1.0'),
  ])
  expect(await pack()).toMatchObject({ code: 0, stdout: expect.stringMatching(/^report pass: \d+ passed, 0 failed/m) })
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
  expect(await kit('dev', '-C', folder, '--for', '25h')).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('a duration from 1s to 24h'),
  })
  expect(await kit('dev', '-C', folder, '--data', temp.path)).toMatchObject({
    code: 1,
    stdout: expect.stringMatching(/^the daemon: no daemon runs with the data folder [^]*fix: Start it/),
  })
  const nowhere = join(temp.path, 'nowhere')
  const missing = {
    code: 1,
    stdout: expect.stringMatching(/^package\.json: bad-package: the file is missing[^]*fix: run: npm create @muster\/plugin/),
  }
  expect(await kit('build', '-C', nowhere)).toMatchObject(missing)
  expect(await kit('lint', '-C', nowhere)).toMatchObject(missing)
  expect(JSON.parse((await kit('lint', '-C', nowhere, '--json')).stdout)).toMatchObject([
    { code: 'bad-package', place: 'package.json' },
  ])
})

test('a plugin without a fault is told so; packed once it is no proof of anything, and a packed one can be tested', async () => {
  await kit('build', '-C', folder)
  expect(await kit('lint', '-C', folder)).toMatchObject({ code: 0, stdout: expect.stringContaining('nothing is wrong') })
  const packed = await kit('pack', '-C', folder, '--out', temp.path, '--report', join(temp.path, 'none.json'))
  expect(packed).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(/: 4 files, \d+ bytes\nsha512 sha512-\S+\ntree [^]*^report none/m),
  })
  const tarball = join(temp.path, 'muster-plugin-minimal-0.1.0.tgz')
  const report = join(temp.path, 'packed.json')
  const tested = await kit('test', '-C', folder, '--tarball', tarball, '--report', report, '--only', 'the probe', '--json')
  expect(tested.code).toBe(0)
  expect(JSON.parse(tested.stdout)).toMatchObject({ result: 'partial', artifact: { package: 'muster-plugin-minimal' } })
})

test('no script of the package runs as it is looked at and packed: its author is told of those that a host would leave out', async () => {
  const own = join(temp.path, 'scripts')
  const planted = join(temp.path, 'planted')
  const names = [
    'preinstall',
    'install',
    'postinstall',
    'prepare',
    'prepack',
    'postpack',
    'prepublishOnly',
    'pretest',
    'prebuild',
  ]
  const scripts = Object.fromEntries(names.map((name) => [name, `echo ${name} >> ${planted}`]))
  const pack = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8')) as object
  const manifest = JSON.parse(await readFile(join(folder, 'muster-plugin.json'), 'utf8')) as object
  await mkdir(join(own, 'dist'), { recursive: true })
  await writeFile(join(own, 'package.json'), JSON.stringify({ ...pack, scripts }))
  // One that is not built, so that it needs nothing beside it to be packed twice.
  await writeFile(join(own, 'muster-plugin.json'), JSON.stringify({ ...manifest, interpreter: 'python3' }))
  await writeFile(join(own, 'dist/plugin.js'), '')
  const told = (await kit('lint', '-C', own)).stdout
  for (const name of ['preinstall', 'install', 'postinstall', 'prepare'])
    expect(told).toContain(`lifecycle-script: no host runs the script '${name}'\n  fix: run: npm pkg delete scripts.${name};`)
  const args = ['-C', own, '--out', temp.path, '--report', join(temp.path, 'none.json')]
  expect((await kit('pack', ...args)).code).toBe(0)
  expect(await kit('pack', ...args, '--verify')).toMatchObject({ code: 1, stdout: expect.stringContaining('there is no report') })
  await expect(stat(planted)).rejects.toThrow(/ENOENT/)
  await mustRun(['sh', '-c', scripts['postinstall'] ?? ''])
  expect(await readFile(planted, 'utf8')).toBe('postinstall\n')
})
