/**
 * What stands where an archive's entries go, asked of a shell that runs as the worker's user: it sees no further than that user. A tar would put a
 * file in the place of an empty folder, and a folder in the place of a file.
 */
import { dirname } from 'node:path'
import { ProviderError } from '@muster/core'
import { quote } from './quote.ts'
import type { KeptHeader } from './tar-check.ts'

/** A shell in the worker. */
export interface AskedShell {
  /** Writes to its input. */
  write(text: string): void
  /** What it writes to its output; ends with it. */
  output: AsyncIterator<string>
}

/** Throws for the first entry that would take the place of something of another kind: one question for all. */
export type Look = (entries: readonly KeptHeader[]) => Promise<void>

const SAY = `say() { if [ -h "$1" ]; then echo link; elif [ -d "$1" ]; then echo folder; elif [ -e "$1" ]; then echo file; else echo none; fi; }`

/** The longest is `folder`: what says more is not the shell that was asked. */
const ANSWER_CHARS = 16

/**
 * `folder` is where the archive is unpacked, `path` what was asked for. A folder that is not there yet, or is closed to the worker's user, ends the
 * shell: then nothing is known of it, and whoever unpacks says what there is to say.
 */
export function createLook({ write, output }: AskedShell, { folder, path }: { folder: string; path: string }): Look {
  // New folders: nothing is below them.
  const fresh = new Set<string>()
  let rest = ''
  write(`${SAY}\ncd -- ${quote(folder)} 2>/dev/null || exit\n`)

  async function nextKind(): Promise<string> {
    for (;;) {
      const end = rest.indexOf('\n')
      if ((end < 0 ? rest.length : end) > ANSWER_CHARS) throw new Error('the shell that was asked says something else')
      if (end >= 0) {
        const kind = rest.slice(0, end)
        rest = rest.slice(end + 1)
        return kind
      }
      const next = await output.next()
      if (next.done === true) return 'none'
      rest += next.value
    }
  }

  function judge({ name, type }: KeptHeader, there: string): void {
    if (type === 'directory' ? there === 'link' || there === 'file' : there === 'folder') {
      const why =
        type === 'directory' ? 'is no folder, and no folder takes its place' : 'is a folder, and no file takes its place'
      // Those before it may be unpacked.
      throw new ProviderError('invalid-spec', `cannot copy into the worker: ${name} ${why}`, { effect: 'possible', path })
    }
    if (there === 'none' && type === 'directory' && name !== '.') fresh.add(name)
  }

  return async (entries) => {
    const asked = entries.filter(({ name }) => name !== '.' && !fresh.has(dirname(name)))
    const names = new Set(asked.map(({ name }) => name))
    if (names.size > 0) write(`${[...names].map((name) => `say ${quote(`./${name}`)}`).join('\n')}\n`)
    const kinds = new Map<string, string>()
    for (const name of names) kinds.set(name, await nextKind())
    for (const entry of entries) {
      if (entry.name === '.') continue
      judge(entry, kinds.get(entry.name) ?? 'none')
      // Those before it in the archive are there by then.
      kinds.set(entry.name, entry.type === 'directory' ? 'folder' : entry.type === 'symlink' ? 'link' : 'file')
    }
  }
}
