/** What a plugin uses, seen in its own process: on the smallest plugin there is, which does more than it says. */
import { cp, mkdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { tempFolder, type TempFolder } from '@muster/test/systems/temp'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { kit, type KitRun } from '../kit.test.helper.ts'

const minimal = join(import.meta.dirname, '../../../../examples/provider-minimal')
const python = join(import.meta.dirname, '../../../../examples/plugin-python')

// The suite starts a plugin for each of its tests: a slow machine is no fault.
vi.setConfig({ testTimeout: 300_000 })

let temp: TempFolder
const at = (path: string): string => join(temp.path, 'plugin', path)
const audit = (...args: string[]): Promise<KitRun> => kit('audit', '-C', at('.'), '--only', 'the probe', ...args)

beforeAll(async () => {
  temp = await tempFolder('audit')
  await mkdir(at('.'))
  for (const name of ['package.json', 'README.md', 'muster-plugin.json', 'conformance.ts', 'src'])
    await cp(join(minimal, name), at(name), { recursive: true })
  // What it is built from is in this package's own.
  await symlink(join(import.meta.dirname, '../../node_modules'), at('node_modules'))
})
afterAll(() => temp.remove())

async function writePlugin(more: string, permissions: object): Promise<void> {
  const source = await readFile(join(minimal, 'src/plugin.ts'), 'utf8')
  await writeFile(
    at('src/plugin.ts'),
    source
      .replace('probe: async () => (', `probe: async () => {\n${more}\nreturn (`)
      .replace("same user'] }),", "same user'] })},"),
  )
  const manifest = JSON.parse(await readFile(join(minimal, 'muster-plugin.json'), 'utf8')) as { permissions: object }
  const asked = { ...manifest.permissions, ...permissions }
  await writeFile(at('muster-plugin.json'), JSON.stringify({ ...manifest, permissions: asked }, null, 2))
  expect(await kit('build', '-C', at('.'))).toMatchObject({ code: 0, stdout: expect.stringContaining('built') })
}

test('what a plugin does not ask for is told with test, file and line; what it asks for, or is excepted, is not', async () => {
  await writePlugin(
    [
      `await readFile('/etc/hostname')`,
      `void process.env['ACME_HOME']`,
      `const { connect, createServer } = await import('node:net')`,
      `connect('/run/acme.sock').on('error', () => undefined)`,
      `connect({ port: 9, host: '127.0.0.1' }).on('error', () => undefined)`,
      `const { Worker } = await import('node:worker_threads')`,
      `await new Worker('0', { eval: true }).terminate()`,
      `createServer().listen(0, function () { this.close() })`,
      `spawn('/bin/true').on('error', () => undefined)`,
    ].join('\n'),
    { fsRead: [], fsWrite: [], childProcess: false },
  )
  const line = (text: string): number => sources.findIndex((one) => one.includes(text)) + 1
  const sources = (await readFile(at('src/plugin.ts'), 'utf8')).split('\n')
  const { code, stdout } = await audit()
  expect(code).toBe(1)
  const told = stdout.split('\n').filter((one) => one.startsWith('src/plugin.ts:'))
  const probe = `in the test '(the probe [^']+)'`
  expect(told.sort()).toEqual(
    [
      [`'/etc/hostname'`, `reads /etc/hostname`],
      ['ACME_HOME', 'reads the variable ACME_HOME'],
      ['/run/acme.sock', 'connects to or listens at /run/acme.sock'],
      ['port: 9', `connects to or listens at 127.0.0.1:9`],
      ['new Worker', 'uses WorkerThreads'],
      ['/bin/true', 'starts /bin/true'],
      ['await readdir(dir)', 'reads /tmp/'],
    ]
      .map(([text = '', what = '']) => [line(text), what] as const)
      .sort(([one], [other]) => one - other)
      .map(
        ([number, what]) => expect.stringMatching(new RegExp(`^src/plugin\\.ts:${number}:\\d+: ${probe} it ${what}`)) as string,
      ),
  )
  expect(stdout).toMatch(/fix: ask for "\/etc\/hostname" in "fsRead", as muster-plugin audit --write does/)

  await writePlugin(`await readFile('/etc/hostname')\nvoid process.env['ACME_HOME']`, {})
  expect(await audit('--except', 'env:ACME_*')).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(/^fsRead \/etc\/hostname \(1 uses, first in 'the probe [^\n]* at src\/plugin\.ts:\d+:\d+\)$/m),
    stderr: expect.stringContaining('what they did not use was not looked at'),
  })
})

test('the whole suite shows what is asked for and not used, and the least is written', async () => {
  const asked = { fsRead: ['/', '/etc/acme'], fsWrite: ['/'], env: ['ACME_UNUSED'], childProcess: true }
  await writePlugin('', { ...asked, net: ['*'] })
  const { code, stdout, stderr } = await kit('audit', '-C', at('.'), '--write', '--json', '--except', 'net')
  expect([code, stderr]).toEqual([0, expect.stringContaining('the manifest asks for the least that would do')])
  const told = JSON.parse(stdout) as { findings: { place: string; reason: string }[] }
  expect(told.findings.map(({ place, reason }) => [place.replace(/:\d+:\d+$/, ''), reason])).toEqual([
    ['muster-plugin.json', 'it asks for fsRead /etc/acme, and no test uses it'],
    ['muster-plugin.json', 'it asks for env ACME_UNUSED, and no test uses it'],
  ])
  const { permissions } = JSON.parse(await readFile(at('muster-plugin.json'), 'utf8')) as { permissions: object }
  expect(permissions).toEqual({ net: ['*'], unix: [], fsRead: ['/'], fsWrite: ['/'], env: [], childProcess: true })
})

test('what cannot be seen is said, and nothing is written of a part', async () => {
  expect(await kit('audit', '-C', python)).toMatchObject({
    code: 1,
    stdout: expect.stringMatching(/^muster-plugin\.json:\d+:\d+: python3 runs it, and only Node can tell[^]*fix: compare/),
  })
  expect(await audit('--write')).toMatchObject({ code: 1, stdout: expect.stringContaining('leave out --only, or --write') })
  expect(await audit('--except', 'files:/')).toMatchObject({
    code: 1,
    stdout: expect.stringContaining("'files' is no kind of permission"),
  })
})
