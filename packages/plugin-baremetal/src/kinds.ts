/** The shell of a worker that is asked what stands where an archive's entries go. */
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import type { Readable } from 'node:stream'
import { createLook, type Look } from '@muster/provider-parts/asker'

/** A shell that {@link asker} asks. */
export const askWords: readonly string[] = ['/bin/sh']

export interface Asker {
  look: Look
  close(): void
}

/** `child` has pipes for all three; `folder` is where the archive is unpacked, `path` what was asked for. */
export function asker(child: ChildProcess, { folder, path }: { folder: string; path: string }): Asker {
  child.stdin?.on('error', () => undefined)
  child.stderr?.resume()
  once(child, 'close').catch(() => undefined)
  const output = (child.stdout as Readable).setEncoding('utf8')[Symbol.asyncIterator]() as AsyncIterator<string>
  return {
    look: createLook({ write: (text) => void child.stdin?.write(text), output }, { folder, path }),
    close() {
      child.stdin?.end()
      child.kill('SIGKILL')
    },
  }
}
