/** The lines below all others on a terminal: what runs now, and for how long. */
import type { PipelineEvent } from '../events.ts'
import type { TextSink } from './output.ts'
import { duration, fit } from './text.ts'

/** More would push the log off a small terminal. */
const MOST_LINES = 8
/** Seconds are shown: more often changes nothing that an eye sees. */
const REDRAW_MS = 500

export interface Status {
  /** Takes the lines away, for what is to be written above them. */
  clear(): void
  /** Takes an event in, and puts the lines back. */
  note(event: PipelineEvent): void
  close(): void
}

export function createStatus(sink: TextSink, columns: () => number): Status {
  const running = new Map<string, { state: string; since: number }>()
  let total = 0
  let done = 0
  let drawn = 0
  let hidden = false
  let timer: NodeJS.Timeout | undefined
  const write = (text: string): void => void sink.write(text, () => undefined)

  const erase = (): void => {
    if (drawn > 0) write(`\u001b[${drawn}A\u001b[J`)
    drawn = 0
  }
  const draw = (): void => {
    if (running.size === 0) return
    const now = Date.now()
    const jobs = [...running].map(([job, { state, since }]) => `  ${job}: ${state}, ${duration(Math.max(0, now - since))}`)
    const shown =
      jobs.length <= MOST_LINES ? jobs : [...jobs.slice(0, MOST_LINES - 1), `  and ${jobs.length - MOST_LINES + 1} more`]
    const lines = [`${done} of ${total} jobs ended`, ...shown].map((line) => fit(line, Math.max(20, columns() - 1)))
    write(`${lines.join('\n')}\n`)
    drawn = lines.length
  }
  const tick = (): void => {
    if (hidden) return
    erase()
    draw()
  }

  return {
    clear() {
      erase()
      // Until the next `note` something else is written.
      hidden = true
    },
    note(event) {
      hidden = false
      if (event.type === 'begin') total = event.jobs.length
      if (event.type === 'job-begin') running.set(event.job, { state: 'uploading', since: event.at })
      if (event.type === 'job-state' && running.get(event.job)?.state !== event.state)
        running.set(event.job, { state: event.state, since: event.at })
      if (event.type === 'job-end') {
        running.delete(event.job)
        done += 1
      }
      erase()
      if (event.type === 'end') return
      draw()
      timer ??= setInterval(tick, REDRAW_MS).unref()
    },
    close() {
      erase()
      clearInterval(timer)
    },
  }
}
