/** The shell of a worker that is asked what stands where an archive's entries go. */
import type { RawExec } from '@muster/core'
import { createLook, type Look } from '@muster/provider-parts/asker'
import { createInput } from './input.ts'

export interface Asker {
  look: Look
  close(): void
}

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
  async function* said(): AsyncGenerator<string> {
    for await (const { stream, data } of output) if (stream === 'stdout') yield Buffer.from(data).toString()
    // Its folder is there, so that only a loss ends it.
    throw new Error('the shell that was asked has ended')
  }
  return {
    look: createLook({ write: input.push, output: said() }, { folder, path }),
    close() {
      input.end()
      closed.abort()
    },
  }
}
