/** What a bundle still asks for that no host has. */
import { readFile } from 'node:fs/promises'
import { isBuiltin } from 'node:module'
import { join } from 'node:path'
import { build } from 'esbuild'
import type { AuthorFolder } from './author.ts'
import type { Finding } from './finding.ts'
import { authorTool } from '@muster/packed/refusals'

/** `require` of what CommonJS packages ask for once they are inside an ES module: a call like any other, which no bundler follows. */
const requires = /(?<![\w$.])(?:__)?require\(\s*(["'])([^"'\n]+)\1\s*\)/g

export async function foreignImports({ folder, entry }: AuthorFolder): Promise<Finding[]> {
  const text = await readFile(join(folder, entry), 'utf8')
  const found = [...(await importsOf(folder, entry)), ...requiresOf(text, entry)]
  return found
    .filter(({ name }) => !isBuiltin(name))
    .map(({ name, place }) => ({
      code: 'foreign-import',
      place,
      reason: `it asks for '${name}', which is not in the bundle and on no host`,
      fix: `run: npm install --save-dev ${name} && ${authorTool} build`,
    }))
}

interface Asked {
  name: string
  place: string
}

async function importsOf(folder: string, entry: string): Promise<Asked[]> {
  const names = new Set<string>()
  await build({
    absWorkingDir: folder,
    entryPoints: [entry],
    bundle: true,
    write: false,
    platform: 'node',
    format: 'esm',
    logLevel: 'silent',
    plugins: [
      {
        name: 'asked',
        setup({ onResolve }) {
          onResolve({ filter: /.*/ }, ({ path, kind }) => {
            if (kind === 'entry-point') return undefined
            names.add(path)
            return { path, external: true }
          })
        },
      },
    ],
  })
  return [...names].map((name) => ({ name, place: entry }))
}

function requiresOf(text: string, entry: string): Asked[] {
  return [...text.matchAll(requires)].map(({ 2: name = '', index }) => {
    const before = text.slice(0, index).split('\n')
    return { name, place: `${entry}:${before.length}:${(before.at(-1)?.length ?? 0) + 1}` }
  })
}
