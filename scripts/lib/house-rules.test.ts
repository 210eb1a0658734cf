import { describe, expect, test } from 'vitest'
import { checkFile, checkVersions } from './house-rules.mjs'

const files: Record<string, string> = {
  'examples/a.ts': '// #region one\n  const a = 1\n  // #endregion\nconst b = 2\n',
  'docs/other.md': '',
}

function reasons(path: string, text: string): string[] {
  const exists = (other: string) => other in files
  return checkFile({ path, text, exists, read: (other) => files[other] }).map((problem) => `${problem.line}: ${problem.reason}`)
}

/** Text that this file must not hold itself. */
function whole(text: string): string {
  return text.replaceAll('|', '')
}

const bad: [string, string, RegExp][] = [
  ['a.ts', whole("fetch('registry|.npmjs.org/x')\n"), /^1: .*package registry/],
  ['a.sh', whole('cd /wo|rk/main\n'), /^1: .*path of one machine/],
  ['a.ts', whole('\n// as #|12 says\n'), /^2: .*means nothing/],
  ['a.ts', whole('// TO|DO: all of it\n'), /^1: .*unfinished work/],
  ['a.md', whole('a\n<<<<|<<< HEAD\n'), /^2: .*is left of a merge/],
  ['a.sh', 'ls \n', /^1: .*white space/],
  ['a.yaml', 'a: 1', /^1: the file does not end/],
  ['a.test.ts', whole('await new Pro|mise((r) => setTimeout(r, 50))\n'), /^1: .*wait for a cause/],
  ['a.test.ts', whole('await require|System(context, root)\n'), /^1: .*as an ordinary user/],
  ['a.ts', 'export class Worker {}\n', /^1: the export 'Worker'/],
  ['a.ts', 'export const fetch = 1\n', /^1: the export 'fetch'/],
  ['pnpm-lock.yaml', 'resolution: {tarball: x}\n', /^1: .*download address/],
  ['docs/a.md', '```ts\nconst a = 1\n```\n', /^1: a block of code without a source/],
  ['docs/a.md', '<!-- from examples/a.ts#one -->\n```ts\nconst a = 2\n```\n', /^2: the block is not what/],
  ['docs/a.md', '<!-- from examples/a.ts#two -->\n```ts\nconst a = 2\n```\n', /^2: .*has no '#region two'/],
  ['docs/a.md', '[there](nowhere.md#part)\n', /^1: the link 'nowhere.md#part' leads nowhere/],
]

const good: [string, string][] = [
  ['a.ts', "fetch('https://registry.example.com/x')\nconst hidden = this.#one\n"],
  ['a.contract.test.ts', whole('await require|System(context, root)\n')],
  ['a.ts', "mount('/work/inputs')\nexport function launch(): void {}\n"],
  ['a.test.ts', '// paced: a slow reader is the case under test\nawait new Promise((r) => setTimeout(r, 50))\n'],
  [
    'docs/a.md',
    '<!-- from examples/a.ts#one -->\n```ts\nconst a = 1\n```\n[x](other.md) [y](https://example.com)\n```sh\nnpm start\n```\n',
  ],
  ['pnpm-lock.yaml', 'resolution: {integrity: sha512-x}\n'],
]

describe('the rules of the house', () => {
  test.each(bad)('%s with %j is refused', (path, text, reason) => {
    expect(reasons(path, text)).toEqual([expect.stringMatching(reason)])
  })

  test.each(good)('%s with %j is fine', (path, text) => {
    expect(reasons(path, text)).toEqual([])
  })

  test('a version outside the catalog is refused', () => {
    const text = '{\n "dependencies": {\n  "zod": "^4",\n  "@muster/core": "workspace:*"\n }\n}\n'
    expect(checkVersions([{ path: 'packages/x/package.json', text }])).toEqual([
      { path: 'packages/x/package.json', line: 3, reason: expect.stringContaining('zod: write "catalog:"') },
    ])
  })
})
