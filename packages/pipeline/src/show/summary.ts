/** What happened, at the end: a table of the jobs, the ends of logs that matter, what is left. */
import type { JobResult, PipelineResult } from '../events.ts'
import { count, duration, harmless } from './text.ts'
import { endOf } from './words.ts'

/** Marks text as good, bad or unimportant; plain text without colours. */
export interface Paint {
  good(text: string): string
  bad(text: string): string
  quiet(text: string): string
}

export const plainPaint: Paint = { good: (text) => text, bad: (text) => text, quiet: (text) => text }

export function summaryOf(result: PipelineResult, paint: Paint = plainPaint): string {
  return [
    tableOf(result.jobs, paint),
    ...result.jobs.filter((job) => job.tail.length > 0 && job.outcome !== 'cancelled').flatMap((job) => tailOf(job, paint)),
    verdictOf(result, paint),
    leftOf(result, paint),
  ].join('\n')
}

const head = ['job', 'worker', 'provider', 'queue wait', 'launch to ready', 'ran', 'exit', 'outcome']
/** Numbers stand under each other by their last digit. */
const toTheRight = new Set([3, 4, 5, 6])

/** Columns with two blanks between: each as wide as its widest cell. */
function tableOf(jobs: readonly JobResult[], paint: Paint): string {
  const rows = [head, ...jobs.map(rowOf)]
  const widths = head.map((_, column) => Math.max(...rows.map((row) => Array.from(row[column] ?? '').length)))
  const lines = rows.map((row) =>
    row.map((cell, column) => {
      const blanks = ' '.repeat((widths[column] ?? 0) - Array.from(cell).length)
      return toTheRight.has(column) ? `${blanks}${cell}` : `${cell}${blanks}`
    }),
  )
  return lines
    .map((cells, row) => (row === 0 ? paint.quiet : painter(jobs[row - 1], paint))(cells.join('  ').trimEnd()))
    .join('\n')
}

function rowOf(job: JobResult): string[] {
  const { outcome, attempts, exitCode, signal, warm } = job
  return [
    job.job,
    job.worker ?? '',
    job.provider ?? '',
    timeOf(job.queueMs),
    warm === true ? 'was warm' : timeOf(job.launchMs),
    timeOf(job.runMs),
    signal ?? (exitCode === undefined ? '' : String(exitCode)),
    attempts > 1 ? `${outcome}, attempt ${attempts}` : outcome,
  ]
}

function timeOf(ms: number | undefined): string {
  return ms === undefined ? '' : duration(ms)
}

function painter(job: JobResult | undefined, paint: Paint): (text: string) => string {
  if (job?.outcome === 'passed') return paint.good
  return job?.outcome === 'skipped' || job?.outcome === 'cancelled' ? paint.quiet : paint.bad
}

function tailOf(job: JobResult, paint: Paint): string[] {
  return [
    paint.bad(`${job.job} ${endOf(job)}; the end of its output:`),
    ...job.tail.map((line) => `  ${harmless(line, { colours: false })}`),
    '',
  ]
}

function verdictOf({ name, outcome, jobs, ms }: PipelineResult, paint: Paint): string {
  const of = (...outcomes: JobResult['outcome'][]): JobResult[] => jobs.filter((job) => outcomes.includes(job.outcome))
  const names = (list: readonly JobResult[]): string => list.map((job) => `${job.job} ${endOf(job)}`).join('; ')
  const time = `in ${duration(ms)}`
  switch (outcome) {
    case 'passed':
      return paint.good(`${name}: ${count(jobs.length, 'job')} passed ${time}`)
    case 'failed':
      return paint.bad(`${name}: failed ${time}: ${names(of('failed', 'timeout', 'oom'))}`)
    case 'infrastructure':
      return paint.bad(`${name}: workers failed ${time}: ${names(of('infrastructure', 'unknown'))}`)
    case 'cancelled':
      return paint.bad(`${name}: cancelled ${time}; ${count(of('passed').length, 'job')} had passed`)
  }
}

function leftOf({ left, leftUnknown }: PipelineResult, paint: Paint): string {
  if (leftUnknown !== undefined) return paint.bad(`left: unknown, since ${leftUnknown}`)
  if (left.length === 0) return 'left: nothing'
  return paint.bad(
    `left: ${left.map(({ worker, provider, phase, job }) => `${worker} of ${provider} (${phase}), used by ${job}`).join('; ')}`,
  )
}
