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
  /** Throws for an entry that would take the place of something of another kind. Its name is relative, without `.` and `..`. */
  check(entry: Pick<Header, 'name' | 'type'>): Promise<void>
  close(): void
}

/** `child` has pipes for all three; `folder` is where the archive is unpacked, `path` what was asked for. */
export function asker(child: ChildProcess, { folder, path }: { folder: string; path: string }): Asker {
  // New folders: nothing is below them.
  const fresh = new Set<string>()
  const answers = (child.stdout as Readable).setEncoding('utf8')[Symbol.asyncIterator]() as AsyncIterator<string>
  child.stdin?.on('error', () => undefined)
  child.stderr?.resume()
  const ended = once(child, 'close')
  ended.catch(() => undefined)
  // Where the folder is not there yet, or is closed to the worker's user, the shell ends, and tar says what there is to say.
  child.stdin?.write(`${say}\ncd -- ${quote(folder)} 2>/dev/null || exit\n`)

  async function kindOf(name: string): Promise<string> {
    child.stdin?.write(`say ${quote(`./${name}`)}\n`)
    let answer = ''
    while (!answer.endsWith('\n')) {
      const next = await answers.next()
      if (next.done === true) return 'none'
      answer += next.value
    }
    return answer.trim()
  }

  return {
    async check({ name, type }) {
      if (name === '.' || fresh.has(dirname(name))) {
        if (type === 'directory' && name !== '.') fresh.add(name)
        return
      }
      const there = await kindOf(name)
      if (type === 'directory' ? there === 'link' || there === 'file' : there === 'folder') {
        const message =
          type === 'directory'
            ? `${name} is no folder, and no folder takes its place`
            : `${name} is a folder, and no file takes its place`
        throw refused('invalid-spec', path, { message: `cannot copy in: ${message}` })
      }
      if (there === 'none' && type === 'directory') fresh.add(name)
    },
    close() {
      child.stdin?.end()
      child.kill('SIGKILL')
    },
  }
}
