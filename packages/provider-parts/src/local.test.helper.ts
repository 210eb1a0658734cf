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

/** As much as the pipes of a node hold. */
const LOST_BYTES = 131_072

/** As a node does: at the end of an input it drops what is in its pipes then. */
export function losing(raw: RawExec): RawExec {
  return async ({ stdin, ...rest }) => raw({ ...rest, ...(stdin === undefined ? {} : { stdin: lost(stdin) }) })
}

async function* lost(input: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const source = input[Symbol.asyncIterator]()
  let held = Buffer.alloc(0)
  for (let next = source.next(); ;) {
    // paced: what nothing follows at once comes through
    const step = await Promise.race([next, new Promise<undefined>((resolve) => setTimeout(resolve, 20, undefined))])
    if (step?.done === true) return
    if (step === undefined) {
      if (held.length > 0) yield held
      held = Buffer.alloc(0)
      await next
      continue
    }
    held = Buffer.concat([held, step.value])
    if (held.length > LOST_BYTES) {
      yield held.subarray(0, held.length - LOST_BYTES)
      held = held.subarray(held.length - LOST_BYTES)
    }
    next = source.next()
  }
}
