import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { tempFolder } from '@muster/test/systems/temp'
import { describe, expect, it } from 'vitest'
import { lintPlugin } from './lint.ts'

const minimal = join(import.meta.dirname, '../../../examples/provider-minimal/muster-plugin.json')

interface Given {
  pack?: object
  manifest?: object
  bundle?: string
  more?: Record<string, string>
}

/** What is found, one line each: place, code, reason. Each says first what to type. */
async function found({ pack = {}, manifest = {}, bundle = 'export {}\n', more = {} }: Given): Promise<string[]> {
  await using temp = await tempFolder('lint')
  const files: Record<string, string> = {
    'package.json': JSON.stringify(
      {
        ...{ name: 'muster-plugin-x', version: '1.0.0', license: 'MIT', type: 'module', muster: './muster-plugin.json' },
        files: ['dist/plugin.js', 'muster-plugin.json'],
        ...pack,
      },
      null,
      2,
    ),
    'muster-plugin.json': JSON.stringify(
      { ...(JSON.parse(await readFile(minimal, 'utf8')) as object), name: 'muster-plugin-x', version: '1.0.0', ...manifest },
      null,
      2,
    ),
    'dist/plugin.js': bundle,
    ...more,
  }
  for (const [name, text] of Object.entries(files)) {
    await mkdir(dirname(join(temp.path, name)), { recursive: true })
    await writeFile(join(temp.path, name), text)
  }
  const all = await lintPlugin(temp.path)
  for (const { code, fix } of all) expect([code, fix]).toEqual([code, expect.stringMatching(/^run: \S+ \S/)])
  return all.map(({ code, place, reason }) => `${place}: ${code}: ${reason}`)
}

describe('a plugin', () => {
  it('without a fault has no findings', async () => {
    const bundle = 'import { readFile } from "node:fs/promises";\nconst os = require("os");\nawait import("node:net")\n'
    expect(await found({ bundle })).toEqual([])
  })

  it.each<[string, Given, RegExp[]]>([
    ['no manifest', { pack: { muster: undefined } }, [/^package\.json:\d+:\d+: no-manifest: muster: it names the manifest/]],
    ['a manifest that is not there', { pack: { muster: './none.json' } }, [/^none\.json: no-manifest: the file is missing/]],
    ['a manifest outside', { pack: { muster: '../x.json' } }, [/^package\.json:6:\d+: outside: '\.\.\/x\.json' is outside/]],
    ['a kind that is none', { manifest: { kind: 'other' } }, [/^muster-plugin\.json:\d+:\d+: bad-manifest: kind: /]],
    [
      'dependencies',
      { pack: { dependencies: { x: '1.0.0' } } },
      [/^package\.json:\d+:\d+: dependencies: a plugin has no dependencies/],
    ],
    [
      'a script of npm',
      { pack: { scripts: { postinstall: 'x' } } },
      [/^package\.json:\d+:\d+: lifecycle-script: no host runs the script 'postinstall'/],
    ],
    ['no license', { pack: { license: undefined } }, [/no-license: it names no license/]],
    ['CommonJS', { pack: { type: undefined } }, [/no-module: its files are not taken for ES modules/]],
    [
      'another version',
      { manifest: { version: '0.9.0' } },
      [/^muster-plugin\.json:\d+:\d+: other-manifest: the manifest says version 0\.9\.0/],
    ],
    [
      'another contract',
      { manifest: { contract: ['9.0'] } },
      [/^muster-plugin\.json:\d+:\d+: other-contract: it speaks contract 9\.0/],
    ],
    ['no files', { pack: { files: undefined } }, [/bad-files: it has no 'files'/]],
    ['a pattern', { pack: { files: ['dist/*'] } }, [/^package\.json:\d+:\d+: bad-files: 'dist\/\*' is no plain path/]],
    [
      'files that are not there',
      { pack: { files: ['dist/plugin.js', 'muster-plugin.json', 'none'] } },
      [/bad-files: 'none' is not there/],
    ],
    ['an entry that is not packed', { pack: { files: ['muster-plugin.json'] } }, [/no-entry: 'dist\/plugin\.js' is not packed/]],
    [
      'a native addon',
      { pack: { files: ['dist', 'muster-plugin.json'] }, more: { 'dist/x.node': '' } },
      [/^dist\/x\.node: native: a plugin has no native addons/],
    ],
    ['an import', { bundle: 'import x from "left-pad"\nx()\n' }, [/^dist\/plugin\.js: foreign-import: it asks for 'left-pad'/]],
    [
      'a require',
      { bundle: '\nlet x = __require("left-pad")\n' },
      [/^dist\/plugin\.js:2:9: foreign-import: it asks for 'left-pad'/],
    ],
  ])('with %s is told so', async (_name, given, wanted) => {
    expect(await found(given)).toEqual(wanted.map((one) => expect.stringMatching(one)))
  })

  it('is told all that is wrong', async () => {
    expect(await found({ pack: { license: undefined, scripts: { install: 'x' } }, manifest: { version: '2.0.0' } })).toHaveLength(
      3,
    )
  })
})
