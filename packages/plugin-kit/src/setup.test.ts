import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { tempFolder } from '@muster/test/systems/temp'
import { expect, test } from 'vitest'
import { PluginFault } from './finding.ts'
import { readSetup } from './setup.ts'

test('what an author writes in JSON is what the suite is told', async () => {
  await using temp = await tempFolder('setup')
  const written = {
    config: { at: '${dir}/vendor', list: ['${package}', 1, null] },
    spec: { image: 'a' },
    scripts: { oom: { script: 'eat' } },
    fields: {
      env: { spec: { env: { A: '1' } }, script: 'echo $A', expect: '1' },
      workdir: { spec: {}, script: 'pwd', expect: { matches: '^/w' } },
    },
    leftovers: ['cat'],
    errorCases: [
      { name: 'no image', spec: { image: 'none' }, code: 'not-found' },
      { name: 'a bad one', spec: {}, code: 'invalid-spec', effect: 'none', path: 'image' },
    ],
    many: 5,
  }
  await writeFile(join(temp.path, 'conformance.json'), JSON.stringify(written))
  const setup = await readSetup(temp.path, { dir: '/here' })
  expect(setup).toMatchObject({
    config: { at: '/here/vendor', list: [temp.path, 1, null] },
    scripts: { oom: { script: 'eat' } },
    fields: { env: { expect: '1' }, workdir: { expect: /^\/w/m } },
    many: 5,
  })
  expect(await setup.leftovers(['w1', 'w2'])).toEqual(['w1', 'w2'])
  expect(setup.hooks?.errorCases?.map(({ name, code, effect, path }) => ({ name, code, effect, path }))).toEqual([
    { name: 'no image', code: 'not-found', effect: 'none', path: undefined },
    { name: 'a bad one', code: 'invalid-spec', effect: 'none', path: 'image' },
  ])
})

test('a module says it itself; without any, or with a wrong one, nothing begins', async () => {
  await using temp = await tempFolder('setup')
  const read = (file?: string): Promise<unknown> =>
    readSetup(temp.path, { dir: temp.path, ...(file === undefined ? {} : { file }) })
  await expect(read()).rejects.toThrow(/there is none of conformance\.json/)
  await writeFile(join(temp.path, 'other.mjs'), 'export const other = 1\n')
  await expect(read('other.mjs')).rejects.toThrow(/exports no function `setup`/)
  await writeFile(
    join(temp.path, 'conformance.mjs'),
    'export const setup = ({ dir }) => ({ config: { dir }, leftovers: () => [] })\n',
  )
  expect(await read()).toMatchObject({ config: { dir: temp.path } })
  await writeFile(join(temp.path, 'conformance.json'), '{ "config": {}, "leftovers": [] }')
  await expect(read()).rejects.toThrow(PluginFault)
  await writeFile(join(temp.path, 'conformance.json'), '{ "config": {')
  await expect(read()).rejects.toThrow(/conformance\.json:1:\d+/)
})
