/**
 * What stands where an archive's entries go, asked of a shell that runs as the worker's user: it sees no further than that user. The system's
 * tar would put a file in the place of an empty folder, and a folder in the place of a file.
 */
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { dirname } from 'node:path'
import type { Readable } from 'node:stream'
import type { Header } from 'tar-stream'
import { refused } from './errors.ts'
import { quote } from './translate.ts'

/** A shell that takes {@link asker}'s questions. */
export const askWords: readonly string[] = ['/bin/sh']

const say = `say() { if [ -h "$1" ]; then echo link; elif [ -d "$1" ]; then echo folder; elif [ -e "$1" ]; then echo file; else echo none; fi; }`

export interface Asker {
  /** Throws for the first entry that would take the place of something of another kind: one question for all. Names are relative, without `.` and `..`. */
  check(entries: readonly Entry[]): Promise<void>
  close(): void
}

type Entry = Pick<Header, 'name' | 'type'>

/** The longest is `folder`: what says more is not the shell that was asked. */
const ANSWER_CHARS = 16

/** `child` has pipes for all three; `folder` is where the archive is unpacked, `path` what was asked for. */
export function asker(child: ChildProcess, { folder, path }: { folder: string; path: string }): Asker {
  // New folders: nothing is below them.
  const fresh = new Set<string>()
  const answers = (child.stdout as Readable).setEncoding('utf8')[Symbol.asyncIterator]() as AsyncIterator<string>
  let rest = ''
  child.stdin?.on('error', () => undefined)
  child.stderr?.resume()
  const ended = once(child, 'close')
  ended.catch(() => undefined)
  // Where the folder is not there yet, or is closed to the worker's user, the shell ends, and tar says what there is to say.
  child.stdin?.write(`${say}\ncd -- ${quote(folder)} 2>/dev/null || exit\n`)

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
      if (next.done === true) return 'none'
      rest += next.value
    }
  }

  function judge({ name, type }: Entry, there: string): void {
    if (type === 'directory' ? there === 'link' || there === 'file' : there === 'folder') {
      const message =
        type === 'directory'
          ? `${name} is no folder, and no folder takes its place`
          : `${name} is a folder, and no file takes its place`
      throw refused('invalid-spec', path, { message: `cannot copy in: ${message}` })
    }
    if (there === 'none' && type === 'directory' && name !== '.') fresh.add(name)
  }

  return {
    async check(entries) {
      const asked = entries.filter(({ name }) => name !== '.' && !fresh.has(dirname(name)))
      const names = new Set(asked.map(({ name }) => name))
      if (names.size > 0) child.stdin?.write(`${[...names].map((name) => `say ${quote(`./${name}`)}`).join('\n')}\n`)
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
      child.stdin?.end()
      child.kill('SIGKILL')
    },
  }
}
