/** What the recorder wrote down in the plugin processes of one run of the suite. */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Use, UseKind } from './judge.ts'

interface Line {
  /** The first line of a process has its folder. */
  own?: string
  kind?: UseKind
  value?: string
  at?: number
  place?: string
}

export interface UsesOf {
  /** The unpacked plugin. */
  code: string
  /** Test that ran at that time. */
  testAt(at: number): string
  /** As it is shown to an author. */
  source(place: string): string
}

/** Without what each plugin may do anyhow: read its code, read and write its own folder. */
export async function usesIn(folder: string, { code, testAt, source }: UsesOf): Promise<Use[]> {
  const all: (Use & { at: number })[] = []
  for (const name of await readdir(folder)) {
    // One that was killed in the middle of a line has not done what it would say.
    const lines = (await readFile(join(folder, name), 'utf8')).split('\n').slice(0, -1)
    const [head, ...rest] = lines.map((line) => JSON.parse(line) as Line)
    const own = head?.own ?? code
    for (const { kind, value = '', at = 0, place } of rest)
      if (kind !== undefined && !isFree(kind, value, { code, own }))
        all.push({ kind, value, at, test: testAt(at), ...(place === undefined ? {} : { place: source(place) }) })
  }
  return all.sort((one, other) => one.at - other.at).map(({ at: _at, ...use }) => use)
}

function isFree(kind: UseKind, path: string, { code, own }: { code: string; own: string }): boolean {
  const inside = (folder: string): boolean => path === folder || path.startsWith(`${folder}/`)
  return (kind === 'fsRead' && inside(code)) || ((kind === 'fsRead' || kind === 'fsWrite' || kind === 'unix') && inside(own))
}
