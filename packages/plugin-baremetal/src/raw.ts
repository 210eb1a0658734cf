/** Lends the runner of core its raw exec: a local process inside the worker. */
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { RawChunk, RawExecSession } from '@muster/core'

/** `child` has pipes for all three. It is killed when the signal aborts; what it started and cut loose lives on. */
export function rawSession(
  child: ChildProcess,
  { stdin, signal }: { stdin?: AsyncIterable<Uint8Array>; signal: AbortSignal },
): RawExecSession {
  const kill = (): void => {
    child.kill('SIGKILL')
  }
  const exit = once(child, 'close').then(([code, name]) => ({
    ...(typeof code === 'number' ? { code } : {}),
    ...(typeof name === 'string' ? { signal: name } : {}),
  }))
  exit.catch(() => undefined)
  exit.finally(() => signal.removeEventListener('abort', kill)).catch(() => undefined)
  signal.addEventListener('abort', kill, { once: true })
  if (signal.aborted) kill()
  // A process that ends without reading on breaks the pipe: its output and exit say the rest.
  if (child.stdin !== null) pipeline(Readable.from(stdin ?? []), child.stdin).catch(() => undefined)
  return { output: merged(child), exit }
}

/** Both outputs in the order in which they come; what is not asked for stays in the pipes. */
async function* merged(child: ChildProcess): AsyncGenerator<RawChunk, void, undefined> {
  const open = new Map<RawChunk['stream'], AsyncIterator<Uint8Array>>()
  for (const stream of ['stdout', 'stderr'] as const) {
    const source = child[stream]
    if (source !== null) open.set(stream, source[Symbol.asyncIterator]() as AsyncIterator<Uint8Array>)
  }
  const asked = new Map<RawChunk['stream'], Promise<{ stream: RawChunk['stream']; result: IteratorResult<Uint8Array> }>>()
  try {
    while (open.size > 0) {
      for (const [stream, source] of open) {
        if (!asked.has(stream))
          asked.set(
            stream,
            source.next().then((result) => ({ stream, result })),
          )
      }
      const { stream, result } = await Promise.race(asked.values())
      asked.delete(stream)
      if (result.done === true) open.delete(stream)
      else yield { stream, data: result.value }
    }
  } finally {
    for (const pending of asked.values()) pending.catch(() => undefined)
    child.stdout?.destroy()
    child.stderr?.destroy()
  }
}
