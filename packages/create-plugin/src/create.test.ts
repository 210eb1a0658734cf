import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { tempFolder } from '@muster/test/systems/temp'
import { describe, expect, it } from 'vitest'
import { createPlugin } from './create.ts'

const root = join(import.meta.dirname, '../../..')
const read = (...path: string[]): Promise<string> => readFile(join(root, ...path), 'utf8')

describe('a new plugin', () => {
  it('has its name everywhere, and nothing of the template', async () => {
    await using temp = await tempFolder('create')
    const folder = join(temp.path, 'deep/shed')
    const { files } = await createPlugin({ name: '@acme/muster-plugin-shed', folder })
    expect(files).toEqual([
      '.github/workflows/release.yml',
      '.gitignore',
      'README.md',
      'conformance.ts',
      'dev.json',
      'muster-plugin.json',
      'package.json',
      'src/plugin.ts',
      'tsconfig.json',
    ])
    const texts = await Promise.all(files.map((file) => readFile(join(folder, file), 'utf8')))
    expect(texts.filter((text) => /__[A-Z]+__/.test(text))).toEqual([])
    const { version } = JSON.parse(await read('packages/create-plugin/package.json')) as { version: string }
    expect(JSON.parse(await readFile(join(folder, 'package.json'), 'utf8'))).toMatchObject({
      name: '@acme/muster-plugin-shed',
      devDependencies: { '@muster/core': version, '@muster/plugin-kit': version },
    })
    expect(JSON.parse(await readFile(join(folder, 'muster-plugin.json'), 'utf8'))).toMatchObject({
      name: '@acme/muster-plugin-shed',
    })
  })

  it('is released by actions that are named by their commit: a tag can be moved', async () => {
    const release = await read('packages/create-plugin/template/_github/workflows/release.yml')
    const uses = [...release.matchAll(/uses: (.*)/g)].map(([, one]) => one)
    expect(uses).toHaveLength(2)
    for (const one of uses) expect(one).toMatch(/^actions\/[a-z-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/)
  })

  it('is never written over what is there', async () => {
    await using temp = await tempFolder('create')
    await writeFile(join(temp.path, 'mine'), 'mine')
    const made = createPlugin({ name: 'muster-plugin-shed', folder: temp.path })
    await expect(made).rejects.toThrow(/is not empty: it has mine/)
    expect(await readdir(temp.path)).toEqual(['mine'])
    await expect(createPlugin({ name: 'muster-plugin-shed', folder: join(temp.path, 'mine') })).rejects.toThrow(/is no folder/)
    await mkdir(join(temp.path, 'empty'))
    expect((await createPlugin({ name: 'muster-plugin-shed', folder: join(temp.path, 'empty') })).files).toContain('package.json')
  })

  it.each(['Shed', 'a b', '../shed', '@acme', '@acme/', 'a/b', '', '.', '_x', 'x'.repeat(215)])(
    'is not called %j',
    async (name) => {
      await expect(createPlugin({ name, folder: '/nowhere/at/all' })).rejects.toThrow(/is no name of a package/)
    },
  )

  it('begins as the smallest provider, and with the versions of this repository', async () => {
    for (const file of ['src/plugin.ts', 'conformance.ts'])
      expect(await read('packages/create-plugin/template', file)).toBe(await read('examples/provider-minimal', file))
    const manifest = await read('packages/create-plugin/template/_muster-plugin.json')
    expect(manifest.replace('__NAME__', 'muster-plugin-minimal')).toBe(await read('examples/provider-minimal/muster-plugin.json'))
    const catalog = await read('pnpm-workspace.yaml')
    const { devDependencies } = JSON.parse(await read('packages/create-plugin/template/_package.json')) as {
      devDependencies: Record<string, string>
    }
    for (const name of ['@types/node', 'typescript'])
      expect(catalog).toMatch(new RegExp(`^ {2}'?${name}'?: ${devDependencies[name]}$`, 'm'))
  })
})
