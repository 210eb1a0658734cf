/** The two directions of a terminal, `application/vnd.muster.terminal`, as the API describes them. */
import type { TerminalSize, WorkerExit } from '@muster/core'
import type { z } from 'zod'
import { INLINE_BYTES, type TerminalBody, terminalBodySchema, terminalSizeSchema } from './bodies.ts'
import { ApiProblem, type ProblemBody } from './problems.ts'
import { withBeats } from './streams.ts'

export const TERMINAL_TYPE = 'application/vnd.muster.terminal'

const HEAD_BYTES = 5
/** More than anybody types or pastes at once. */
const FRAME_BYTES = 65_536

const up = { begin: 0, typed: 1, size: 2, end: 3 } as const
const down = { beat: 0, shown: 1, end: 2 } as const

/** What a person does at the other end. */
export interface Person {
  /** The first frame. Errors: `invalid-request`, and `too-slow` when it is not there in time. */
  begin(withinMs: number): Promise<TerminalBody>
  /** What is typed from then on. Another size is told on its way. */
  typed(): AsyncIterable<Uint8Array>
  /** In the place of `typed`, where nobody reads that. */
  ignore(): Promise<void>
  /** Told of each size, also of those before. */
  onResize(tell: (size: TerminalSize) => Promise<void>): void
}

export function readTerminal(body: AsyncIterable<Uint8Array>): Person {
  const frames = framesOf(body)
  let tell: ((size: TerminalSize) => Promise<void>) | undefined
  /** The newest that was not told yet: one is told at a time, in order, and what came in between is worth nothing. */
  let next: TerminalSize | undefined
  let telling = false

  async function tellNext(): Promise<void> {
    if (telling || tell === undefined) return
    telling = true
    for (let size = next; size !== undefined; size = next) {
      next = undefined
      // The next one mends it, and whoever looks sees it.
      await tell(size).catch(() => undefined)
    }
    telling = false
  }

  function resized(size: TerminalSize): void {
    next = size
    void tellNext()
  }

  async function* typed(): AsyncGenerator<Uint8Array> {
    for await (const { kind, data } of frames) {
      if (kind === up.size) resized(parsed(data, terminalSizeSchema))
      else if (kind === up.end) return
      else if (kind === up.typed) yield data
      else throw invalid(`a frame of kind ${kind} is none of these`)
    }
  }

  return {
    async begin(withinMs) {
      const first = await inTime(frames.next(), withinMs)
      if (first.done === true || first.value.kind !== up.begin) throw invalid('the first frame says what to run')
      return parsed(first.value.data, terminalBodySchema)
    },
    typed,
    async ignore() {
      try {
        for await (const _typed of typed()) continue
      } catch {
        // Its connection has ended, and the terminal with it.
      }
    },
    onResize(told) {
      tell = told
      void tellNext()
    },
  }
}

async function inTime<T>(next: Promise<T>, ms: number): Promise<T> {
  const late = Promise.withResolvers<never>()
  const timer = setTimeout(
    () => late.reject(new ApiProblem('too-slow', `what to run did not come within ${ms / 1000} s`, { hint: 'Try again.' })),
    ms,
  )
  // Cut off by then: nobody asks any more.
  next.catch(() => undefined)
  return Promise.race([next, late.promise]).finally(() => clearTimeout(timer))
}

/** What the terminal shows, and its end; `tell` gives no problem for what nobody is there to hear. */
export async function* shownFrames(
  { output, exit }: { output: AsyncIterable<Uint8Array>; exit: Promise<WorkerExit> },
  tell: (error: unknown) => ProblemBody | undefined,
): AsyncGenerator<Uint8Array, void, undefined> {
  // The head of an answer goes with its first bytes, and the terminal may show nothing for long.
  yield frame(down.beat, new Uint8Array(0))
  try {
    yield* withBeats(shown(output), frame(down.beat, new Uint8Array(0)))
    yield frame(down.end, Buffer.from(JSON.stringify({ exit: await exit })))
  } catch (error) {
    const problem = tell(error)
    if (problem === undefined) throw error
    yield frame(down.end, Buffer.from(JSON.stringify({ problem })))
  }
}

async function* shown(output: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  for await (const data of output) yield frame(down.shown, data)
}

function frame(kind: number, data: Uint8Array): Uint8Array {
  const head = Buffer.alloc(HEAD_BYTES)
  head.writeUInt8(kind)
  head.writeUInt32BE(data.length, 1)
  return Buffer.concat([head, data])
}

async function* framesOf(body: AsyncIterable<Uint8Array>): AsyncGenerator<{ kind: number; data: Buffer }, void, undefined> {
  let rest = Buffer.alloc(0)
  for await (const chunk of body) {
    rest = Buffer.concat([rest, chunk])
    while (rest.length >= HEAD_BYTES) {
      const kind = rest.readUInt8()
      const length = rest.readUInt32BE(1)
      const most = kind === up.begin ? INLINE_BYTES : FRAME_BYTES
      if (length > most) throw new ApiProblem('too-large', `a frame has ${length} bytes, and ${most} is the most`)
      if (rest.length < HEAD_BYTES + length) break
      const data = rest.subarray(HEAD_BYTES, HEAD_BYTES + length)
      rest = rest.subarray(HEAD_BYTES + length)
      yield { kind, data }
    }
  }
}

function parsed<T>(data: Buffer, schema: z.ZodType<T>): T {
  let value: unknown
  try {
    value = JSON.parse(data.toString())
  } catch {
    throw invalid('a frame is not JSON')
  }
  const result = schema.safeParse(value)
  if (result.success) return result.data
  const errors = result.error.issues.map(({ path, message }) => ({ path: path.map(String).join('.'), message }))
  throw new ApiProblem('invalid-request', `${errors[0]?.path ?? ''}: ${errors[0]?.message ?? ''}`, { errors })
}

function invalid(detail: string): ApiProblem {
  return new ApiProblem('invalid-request', detail)
}
