import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { tempFolder } from '@muster/test/systems/temp'
import { waitFor } from '@muster/test/systems/wait'
import { expect, test } from 'vitest'
import { packAuthor, readArtifact } from './artifact.ts'
import { openAuthor } from './author.ts'
import { buildPlugin, changeManifest, watchPlugin } from './build.ts'
import { PluginFault } from './finding.ts'

const minimal = join(import.meta.dirname, '../../../examples/provider-minimal/muster-plugin.json')

/** An author's folder; texts by path on top of the smallest one. */
async function write(folder: string, more: Record<string, string> = {}, manifest: object = {}): Promise<void> {
  const files: Record<string, string> = {
    'package.json': JSON.stringify({
      ...{ name: '@acme/plugin', version: '2.0.0', license: 'MIT', type: 'module', muster: './muster-plugin.json' },
      files: ['dist', 'muster-plugin.json'],
    }),
    'muster-plugin.json': JSON.stringify({ ...(JSON.parse(await readFile(minimal, 'utf8')) as object), ...manifest }),
    'src/plugin.ts': 'export const one: number = 1\n',
    ...more,
  }
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(folder, path)), { recursive: true })
    await writeFile(join(folder, path), text)
  }
}

const told = async (work: Promise<unknown>): Promise<string> => {
  const fault = await work.then(
    () => undefined,
    (error: unknown) => error,
  )
  if (!(fault instanceof PluginFault)) throw new Error(`no fault: ${String(fault)}`)
  return fault.findings.map(({ place, reason }) => `${place}: ${reason}`).join('\n')
}

test('a build makes one file, and the manifest says what package.json says', async () => {
  await using temp = await tempFolder('build')
  await write(temp.path)
  expect(await buildPlugin(temp.path)).toMatchObject({ entry: 'dist/plugin.js', renamed: true })
  expect(JSON.parse(await readFile(join(temp.path, 'muster-plugin.json'), 'utf8'))).toMatchObject({
    name: '@acme/plugin',
    version: '2.0.0',
  })
  expect(await buildPlugin(temp.path)).toMatchObject({ renamed: false })
  const { file, files } = await packAuthor(await openAuthor(temp.path))
  expect([file, [...files.keys()]]).toEqual(['acme-plugin-2.0.0.tgz', ['dist/plugin.js', 'muster-plugin.json', 'package.json']])
})

test('a change of the manifest leaves all else, and its order', async () => {
  await using temp = await tempFolder('build')
  await write(temp.path)
  const read = async (): Promise<object> => JSON.parse(await readFile(join(temp.path, 'muster-plugin.json'), 'utf8')) as object
  const before = await read()
  const permissions = { net: [], unix: [], fsRead: ['/proc'], fsWrite: [], env: [], childProcess: false }
  await changeManifest(await openAuthor(temp.path), { permissions })
  expect(Object.entries(await read())).toEqual(Object.entries({ ...before, permissions }))
})

test('what cannot be built is told with its place', async () => {
  await using temp = await tempFolder('build')
  await write(temp.path, { 'src/plugin.ts': 'const = 1\n' })
  expect(await told(buildPlugin(temp.path))).toMatch(/^src\/plugin\.ts:1:\d+: /)
  await write(temp.path, { 'src/plugin.ts': "import 'left-pad'\n" })
  expect(await told(buildPlugin(temp.path))).toMatch(/^src\/plugin\.ts:1:\d+: .*left-pad/)
  expect(await told(buildPlugin(temp.path, 'src/none.ts'))).toMatch(/^src\/none\.ts: /)
  await write(temp.path, {}, { interpreter: 'python3' })
  expect(await told(buildPlugin(temp.path))).toMatch(/^muster-plugin\.json:\d+:\d+: python3 runs the entry as it is/)
  await write(temp.path, {}, { entry: '../plugin.js' })
  expect(await told(buildPlugin(temp.path))).toMatch(/'\.\.\/plugin\.js' is outside the package/)
  await write(temp.path, { 'muster-plugin.json': '{ "name": }' })
  expect(await told(buildPlugin(temp.path))).toMatch(/^muster-plugin\.json:1:\d+: /)
})

test('one that is not built is looked at again when a file of it is saved, in place or by rename, also in a folder that is new', async () => {
  await using temp = await tempFolder('watch')
  const files = ['plugin.py', 'lib', 'muster-plugin.json']
  await write(
    temp.path,
    {
      'package.json': JSON.stringify({ name: '@acme/plugin', version: '2.0.0', muster: './muster-plugin.json', files }),
      'plugin.py': '1',
      'lib/one.py': '1',
    },
    { interpreter: 'python3', entry: 'plugin.py' },
  )
  let looks = 0
  const failed = (fault: PluginFault): void => expect.unreachable(fault.message)
  const watching = await watchPlugin(temp.path, { built: () => (looks += 1), failed })
  const place = (name: string): string => join(temp.path, name)
  const seen = async (what: string, work: () => Promise<unknown>): Promise<void> => {
    const before = looks
    await work()
    await waitFor(what, () => looks > before)
  }
  const byRename = async (name: string): Promise<void> => {
    await writeFile(place('lib/.draft'), '2')
    await rename(place('lib/.draft'), place(name))
  }
  try {
    expect(looks).toBe(1)
    for (const name of ['plugin.py', 'lib/one.py', 'plugin.py']) await seen(`${name} by rename`, () => byRename(name))
    await seen('another one in place', () => writeFile(place('lib/one.py'), '3'))
    await seen('a new folder', () => mkdir(place('lib/deep')))
    await seen('a file in it', () => writeFile(place('lib/deep/two.py'), '1'))
    await seen('it again', () => writeFile(place('lib/deep/two.py'), '2'))
  } finally {
    await watching.stop()
  }
})

test('a packed plugin that is none is told so', async () => {
  await using temp = await tempFolder('build')
  expect(await told(readArtifact(join(temp.path, 'none.tgz')))).toMatch(/none\.tgz: it cannot be read/)
  await writeFile(join(temp.path, 'bad.tgz'), 'no archive')
  expect(await told(readArtifact(join(temp.path, 'bad.tgz')))).toMatch(/bad\.tgz: a host refuses it/)
})
