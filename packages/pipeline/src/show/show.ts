/** A pipeline as text: lines with the name of their job before them, and on a terminal what runs now below them. */
import type { PipelineEvent } from '../events.ts'
import { createLines, type Lines } from '../lines.ts'
import { createStatus } from './status.ts'
import { type TextSink, writeTo } from './output.ts'
import { type Paint, plainPaint, summaryOf } from './summary.ts'
import { fit, harmless } from './text.ts'
import { lineOf } from './words.ts'

export interface ShowOptions {
  /** Standard output of jobs, and the summary. */
  out: TextSink
  /** Standard error of jobs, and everything Muster says. */
  err: TextSink
  /** `err` is a terminal of so many columns: what runs now stands below all lines. */
  columns?: () => number
  colours: { out: boolean; err: boolean }
  paint?: { out: Paint; err: Paint }
}

/** Names longer than this are cut before a line, not in the summary. */
const WIDEST = 32

/** Shows events. Resolves when they are written. */
export function createShow({ out, err, columns, colours, paint }: ShowOptions): {
  (event: PipelineEvent): Promise<void>
  /** Takes what stands below away. */
  close(): void
} {
  const status = columns === undefined ? undefined : createStatus(err, columns)
  const open = new Map<string, Record<'stdout' | 'stderr', Lines>>()
  let width = 0

  const before = (job: string | undefined, mark: string): string => `${fit(job ?? '', WIDEST).padEnd(width)} ${mark} `
  const say = (job: string | undefined, text: string): Promise<void> =>
    writeTo(err, `${(paint?.err ?? plainPaint).quiet(`${before(job, '·')}${harmless(text, { colours: false })}`)}\n`)
  const print = async (job: string, stream: 'stdout' | 'stderr', lines: readonly string[]): Promise<void> => {
    const [sink, colour] = stream === 'stdout' ? [out, colours.out] : [err, colours.err]
    // A colour that a line leaves on ends with it.
    const text = lines.map((line) => {
      const shown = harmless(line, { colours: colour })
      return `${before(job, stream === 'stdout' ? '|' : '!')}${shown}${shown.includes('\u001b') ? '\u001b[0m' : ''}\n`
    })
    await writeTo(sink, text.join(''))
  }
  const finish = async (job: string): Promise<void> => {
    const lines = open.get(job)
    open.delete(job)
    for (const stream of ['stdout', 'stderr'] as const) await print(job, stream, lines?.[stream].end() ?? [])
  }

  const show = async (event: PipelineEvent): Promise<void> => {
    status?.clear()
    try {
      if (event.type === 'begin') width = Math.min(WIDEST, Math.max(0, ...event.jobs.map((job) => Array.from(job.id).length)))
      if (event.type === 'log') {
        const lines = open.get(event.job) ?? { stdout: createLines(), stderr: createLines() }
        open.set(event.job, lines)
        await print(event.job, event.stream, lines[event.stream].push(event.data))
      }
      if (event.type === 'job-end' || event.type === 'retry') await finish(event.job)
      const line = lineOf(event)
      if (line !== undefined) await say(line.job, line.text)
      if (event.type === 'end') await writeTo(out, `${summaryOf(event.result, paint?.out)}\n`)
    } finally {
      status?.note(event)
    }
  }
  return Object.assign(show, { close: () => status?.close() })
}
