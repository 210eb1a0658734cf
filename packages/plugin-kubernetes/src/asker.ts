/**
 * What stands where an archive's entries go, asked of a shell in the worker. A tar would put a file in the place of an empty folder, and a folder
 * in the place of a file.
 */
import { dirname } from 'node:path'
import { ProviderError, type RawExec } from '@muster/core'
import { createInput } from './input.ts'
import { quote } from './quote.ts'
import type { KeptHeader } from './tar-check.ts'

const SAY = `say() { if [ -h "$1" ]; then echo link; elif [ -d "$1" ]; then echo folder; elif [ -e "$1" ]; then echo file; else echo none; fi; }`

export interface Asker {
  /** Throws for the first entry that would take the place of something of another kind: one question for all. */
  look(entries: readonly KeptHeader[]): Promise<void>
  close(): void
}

/** The longest is `folder`: what says more is not the shell that was asked. */
const ANSWER_CHARS = 16

/** `folder` is where the archive is unpacked, `path` what was asked for. */
export async function openAsker(
  raw: RawExec,
  { folder, path }: { folder: string; path: string },
  signal: AbortSignal,
): Promise<Asker> {
  const closed = new AbortController()
  const input = createInput()
  const { output, exit } = await raw({
    argv: ['/bin/sh'],
    stdin: input.bytes,
    signal: AbortSignal.any([signal, closed.signal]),
  })
  exit.catch(() => undefined)
  const answers = output[Symbol.asyncIterator]()
  // New folders: nothing is below them.
  const fresh = new Set<string>()
  let rest = ''
  input.push(`${SAY}\ncd -- ${quote(folder)} || exit\n`)

  async function nextKind(): Promise<string> {
    for (;;) {
      const end = rest.indexOf('\n')
      if ((end < 0 ? rest.length : end) > ANSWER_CHARS) throw new Error('the shell that was asked says something else')
      if (end >= 0) {
        const kind = rest.slice(0, end)
        rest = rest.slice(end + 1)
        return kind
      }
      const next = await answers.next()
      if (next.done === true) throw new Error('the shell that was asked has ended')
      if (next.value.stream === 'stdout') rest += Buffer.from(next.value.data).toString()
    }
  }

  function judge({ name, type }: KeptHeader, there: string): void {
    if (type === 'directory' ? there === 'link' || there === 'file' : there === 'folder') {
      const why =
        type === 'directory' ? 'is no folder, and no folder takes its place' : 'is a folder, and no file takes its place'
      throw new ProviderError('invalid-spec', `cannot copy into the worker: ${name} ${why}`, { path })
    }
    if (there === 'none' && type === 'directory' && name !== '.') fresh.add(name)
  }

  return {
    async look(entries) {
      const asked = entries.filter(({ name }) => name !== '.' && !fresh.has(dirname(name)))
      const names = new Set(asked.map(({ name }) => name))
      if (names.size > 0) input.push(`${[...names].map((name) => `say ${quote(`./${name}`)}`).join('\n')}\n`)
      const kinds = new Map<string, string>()
      for (const name of names) kinds.set(name, await nextKind())
      for (const entry of entries) {
        if (entry.name === '.') continue
        judge(entry, kinds.get(entry.name) ?? 'none')
        // Those before it in the archive are there by then.
        kinds.set(entry.name, entry.type === 'directory' ? 'folder' : entry.type === 'symlink' ? 'link' : 'file')
      }
    },
    close() {
      input.end()
      closed.abort()
    },
  }
}
