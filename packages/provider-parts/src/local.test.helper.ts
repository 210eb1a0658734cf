/** Programs of this machine in the place of a worker's, for what talks to a shell. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { Readable } from 'node:stream'
import type { RawChunk, RawExec, RawExecSession } from '@muster/core'

export interface LocalOptions {
  /** Where programs are looked for. */
  path?: string
  cwd?: string
}

export function localExec({ path = process.env['PATH'] ?? '', cwd }: LocalOptions = {}): RawExec {
  return async ({ argv: [program = '', ...words], stdin, signal }) => {
    const child = spawn(program, words, { stdio: 'pipe', env: { PATH: path }, signal, ...(cwd === undefined ? {} : { cwd }) })
    child.on('error', () => undefined)
    child.stdin.on('error', () => undefined)
    if (stdin === undefined) child.stdin.end()
    // As an API server does with an input that fails: all of it ends.
    else
      Readable.from(stdin)
        .on('error', () => child.kill('SIGKILL'))
        .pipe(child.stdin)
    return sessionOf(child)
  }
}

function sessionOf(child: ReturnType<typeof spawn>): RawExecSession {
  const exit = once(child, 'close').then(([code]) => {
    if (code === null) throw new Error('the connection was lost')
    return { code: code as number }
  })
  exit.catch(() => undefined)
  async function* output(): AsyncGenerator<RawChunk> {
    const parts: RawChunk[] = []
    let wake: () => void = () => undefined
    let open = 2
    for (const stream of ['stdout', 'stderr'] as const)
      child[stream]
        ?.on('data', (data: Buffer) => {
          parts.push({ stream, data })
          wake()
        })
        .on('close', () => {
          open -= 1
          wake()
        })
    for (;;) {
      const next = parts.shift()
      if (next !== undefined) yield next
      else if (open === 0) return
      else await new Promise<void>((resolve) => (wake = resolve))
    }
  }
  return { output: output(), exit }
}
