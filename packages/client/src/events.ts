/** Decisions as they are made, over as many connections as it takes: each once, in order. */
import type { Caller } from './call.ts'
import { MusterError } from './errors.ts'
import type { Decision } from './generated/api.ts'

export interface EventOptions {
  /** Those after this number; absent: from now on. */
  from?: number
  pool?: string
  run?: string
  signal?: AbortSignal
  /** Told of decisions after `from` up to `until` that were asked for, and which retention has dropped. */
  onDropped?: (from: number, until: number) => void
}

/** Three beats of the server. */
const SILENCE_MS = 45_000

/** Never ends by itself; ends quietly when the signal aborts. */
export async function* readEvents(caller: Caller, options: EventOptions = {}): AsyncGenerator<Decision, void, undefined> {
  const { pool, run, signal } = options
  let from = options.from
  let again = caller.patience(signal)
  while (!isAborted(signal)) {
    let cut: unknown
    const answer = await caller.open('readEvents', {
      query: {
        ...(from === undefined ? {} : { from }),
        ...(pool === undefined ? {} : { pool }),
        ...(run === undefined ? {} : { run }),
      },
      headers: { accept: 'application/x-ndjson' },
      silenceMs: SILENCE_MS,
      ...(signal === undefined ? {} : { signal }),
    })
    // Where it begins, so that a cut before the first event leaves no gap.
    const begin = startOf(answer.headers['muster-seq'])
    if (from !== undefined && begin > from) options.onDropped?.(from, begin)
    from = Math.max(begin, from ?? 0)
    try {
      for await (const line of linesOf(answer)) {
        const decision = parse(line)
        from = decision.seq
        again = caller.patience(signal)
        yield decision
      }
      cut = Object.assign(new Error('the events were cut off'), { code: 'ECONNRESET' })
    } catch (error) {
      if (error instanceof MusterError) throw error
      cut = error
    } finally {
      answer.destroy()
    }
    if (isAborted(signal)) return
    await again(cut)
  }
}

function isAborted(signal: AbortSignal | undefined): boolean {
  return signal?.aborted === true
}

function startOf(header: string | string[] | undefined): number {
  const seq = Number(header)
  if (header === undefined || !Number.isSafeInteger(seq))
    throw new MusterError('protocol', 'the events do not say where they begin')
  return seq
}

/** Whole lines that are not empty: what a cut connection left of the last one comes again. */
async function* linesOf(source: AsyncIterable<Uint8Array>): AsyncGenerator<string, void, undefined> {
  const decoder = new TextDecoder()
  let rest = ''
  for await (const chunk of source) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n')
    rest = lines.pop() ?? ''
    for (const line of lines) if (line !== '') yield line
  }
}

function parse(line: string): Decision {
  try {
    return JSON.parse(line) as Decision
  } catch (cause) {
    throw new MusterError('protocol', 'an event is not JSON', { cause })
  }
}
