import { describe, expect, it } from 'vitest'
import type { JobResult, PipelineEvent, PipelineResult } from '../events.ts'
import { jsonOf } from './json.ts'
import { OutputClosedError, type TextSink, writeTo } from './output.ts'
import { createShow, type ShowOptions } from './show.ts'
import { summaryOf } from './summary.ts'
import { duration, fit, harmless, size } from './text.ts'
import { endOf } from './words.ts'

function sink(): TextSink & { text: string } {
  return {
    text: '',
    write(text, done) {
      this.text += text
      done()
      return true
    },
  }
}

async function shown(events: readonly Partial<PipelineEvent>[], options: Partial<ShowOptions> = {}) {
  const [out, err] = [sink(), sink()]
  const show = createShow({ out, err, colours: { out: false, err: false }, ...options })
  for (const event of events) await show({ at: 0, ...event } as PipelineEvent)
  show.close()
  return { out: out.text, err: err.text }
}

const begin: Partial<PipelineEvent> = {
  type: 'begin',
  name: 'demo',
  file: '/x',
  pools: ['local'],
  jobs: [
    { id: 'a', needs: [] },
    { id: 'longer', needs: ['a'] },
  ],
}
const log = (job: string, stream: 'stdout' | 'stderr', text: string): Partial<PipelineEvent> => ({
  type: 'log',
  job,
  stream,
  data: Buffer.from(text),
})
const passed: JobResult = { job: 'a', outcome: 'passed', attempts: 1, tail: [], runMs: 420, exitCode: 0 }
const result: PipelineResult = { name: 'demo', outcome: 'passed', exitCode: 0, ms: 1234, jobs: [passed], left: [] }

describe('lines', () => {
  it('have the name of their job, and keep standard output and error apart', async () => {
    const { out, err } = await shown([
      begin,
      { type: 'job-begin', job: 'a', run: 'r1', pool: 'local', attempt: 1 },
      { type: 'job-state', job: 'a', state: 'running', worker: 'w1', provider: 'fake' },
      log('a', 'stdout', 'one\ntw'),
      log('longer', 'stdout', 'other\n'),
      log('a', 'stderr', 'oops\r\n'),
      log('a', 'stdout', 'o\nrest'),
      { type: 'job-end', job: 'a', result: passed },
    ])
    expect(out).toBe('a      | one\nlonger | other\na      | two\na      | rest\n')
    expect(err.split('\n')).toEqual([
      '       · demo: 2 jobs on local',
      'a      · run r1 on pool local',
      'a      · runs on w1 of fake',
      'a      ! oops',
      'a      · passed in 0.42 s',
      '',
    ])
  })

  it('show digests of what comes out and goes in', async () => {
    const digest = { sha256: 'ab'.repeat(32), bytes: 4096 }
    const { err } = await shown([
      { type: 'workspace', files: 1, ms: 3, ...digest },
      { type: 'output', job: 'a', artifact: 'bundle', ...digest },
      { type: 'input', job: 'b', artifact: 'workspace', ...digest },
      { type: 'input', job: 'b', artifact: 'bundle', from: 'a', ...digest },
      { type: 'retry', job: 'b', reason: 'lost', attempt: 2 },
      { type: 'cancel', reason: 'SIGINT', force: false },
      { type: 'cancel', reason: 'SIGINT again', force: true },
    ])
    expect(err).toContain('workspace: 1 file, 4.0 KiB, sha256 abababababab')
    expect(err).toContain(`bundle came out, 4.0 KiB, sha256 ${digest.sha256}`)
    expect(err).toContain(`bundle of a goes in, 4.0 KiB, sha256 ${digest.sha256}`)
    expect(err).toContain('lost; attempt 2 follows')
    expect(err).toContain('SIGINT: cancelling')
    expect(err).toContain('SIGINT again: killing')
    expect(err.match(/goes in/g)).toHaveLength(1)
  })

  it('let no job talk to the terminal', async () => {
    const nasty = '\u001b[31mred\u001b[0m\u001b[2J\u001b]0;title\u0007\u001b[1Aup\u0007\u0000\u001bc\n'
    expect((await shown([begin, log('a', 'stdout', nasty)])).out).toBe('a      | redup\n')
    const coloured = await shown([begin, log('a', 'stdout', nasty)], { colours: { out: true, err: true } })
    expect(coloured.out).toBe('a      | \u001b[31mred\u001b[0mup\u001b[0m\n')
  })
})

describe('a terminal', () => {
  it('has what runs now below all lines, and loses it at the end', async () => {
    const { err } = await shown(
      [
        begin,
        { type: 'job-begin', job: 'a', run: 'r1', pool: 'local', attempt: 1, at: Date.now() },
        { type: 'job-state', job: 'a', state: 'running', worker: 'w1', at: Date.now() },
        log('a', 'stderr', 'line\n'),
        { type: 'job-end', job: 'a', result: passed },
        { type: 'end', result },
      ],
      { columns: () => 30 },
    )
    expect(err).toContain('0 of 2 jobs ended\n  a: running, 0.0')
    // Two lines are taken away before the next one is written above them.
    expect(err).toContain('\u001b[2A\u001b[Ja      ! line\n0 of 2 jobs ended')
    expect(err.endsWith('passed in 0.42 s\n')).toBe(true)
  })

  it('has no more lines below than fit', async () => {
    const many = Array.from(
      { length: 12 },
      (_, n) => ({ type: 'job-begin', job: `j${n}`, run: 'r', pool: 'p', attempt: 1 }) as const,
    )
    const { err } = await shown([begin, ...many], { columns: () => 80 })
    expect(err).toContain('  and 5 more')
  })
})

describe('the summary', () => {
  it('has a row for each job, what is left, and one verdict', () => {
    const jobs: JobResult[] = [
      { ...passed, worker: 'w1', provider: 'fake', queueMs: 12, launchMs: 30 },
      { ...passed, job: 'warm one', worker: 'w2', provider: 'fake', queueMs: 1, launchMs: 30, warm: true, attempts: 2 },
    ]
    expect(summaryOf({ ...result, jobs })).toBe(
      [
        'job       worker  provider  queue wait  launch to ready     ran  exit  outcome',
        'a         w1      fake          0.01 s           0.03 s  0.42 s     0  passed',
        'warm one  w2      fake          0.00 s         was warm  0.42 s     0  passed, attempt 2',
        'demo: 2 jobs passed in 1.23 s',
        'left: nothing',
      ].join('\n'),
    )
  })

  it('names what failed and shows the end of its output', () => {
    const bad: JobResult = {
      job: 'test (x)',
      outcome: 'failed',
      exitCode: 7,
      attempts: 1,
      runMs: 3100,
      tail: ['one', '\u001b[31mtwo'],
      reason: 'exited with 7',
    }
    const text = summaryOf({
      ...result,
      outcome: 'failed',
      exitCode: 1,
      jobs: [bad, { job: 'b', outcome: 'skipped', reason: "it needs 'test (x)'", attempts: 0, tail: [] }],
    })
    expect(text).toContain('test (x) failed with exit code 7 after 3.10 s; the end of its output:\n  one\n  two\n')
    expect(text).toContain('demo: failed in 1.23 s: test (x) failed with exit code 7 after 3.10 s\n')
  })

  it('says what is left, or that nobody knows', () => {
    const left = [{ worker: 'w1', provider: 'fake', phase: 'leased', job: 'a' }]
    expect(summaryOf({ ...result, left })).toContain('left: w1 of fake (leased), used by a')
    expect(summaryOf({ ...result, leftUnknown: 'no daemon answers' })).toContain('left: unknown, since no daemon answers')
    const cancelled = summaryOf({ ...result, outcome: 'cancelled', exitCode: 130 })
    expect(cancelled).toContain('demo: cancelled in 1.23 s; 1 job had passed')
    const broken = summaryOf({
      ...result,
      outcome: 'infrastructure',
      jobs: [{ ...passed, outcome: 'infrastructure', reason: 'lost' }],
    })
    expect(broken).toContain('demo: workers failed in 1.23 s: a its worker failed: lost')
  })
})

describe('words', () => {
  it.each([
    [{ outcome: 'passed' }, 'passed'],
    [{ outcome: 'failed', signal: 'SIGKILL', runMs: 1000 }, 'failed by SIGKILL after 1.00 s'],
    [{ outcome: 'failed', reason: 'an output is missing', exitCode: 0 }, 'failed with exit code 0: an output is missing'],
    [{ outcome: 'failed', reason: 'never made' }, 'failed never made'],
    [{ outcome: 'failed' }, 'failed for an unknown reason'],
    [{ outcome: 'timeout', runMs: 61_000 }, 'ran too long and was ended after 1 min 01 s'],
    [{ outcome: 'oom' }, 'ran out of memory'],
    [{ outcome: 'cancelled' }, 'cancelled'],
    [{ outcome: 'skipped' }, 'skipped: never started'],
    [{ outcome: 'infrastructure' }, 'its worker failed: nobody said why'],
    [{ outcome: 'unknown', reason: 'gone' }, 'nobody can tell how it ended: gone'],
  ] as const)('%j', (given, text) => {
    expect(endOf({ job: 'a', attempts: 1, tail: [], ...given })).toBe(text)
  })

  it('has units', () => {
    expect([500, 12_300, 123_000].map(duration)).toEqual(['0.50 s', '12.3 s', '2 min 03 s'])
    expect([0, 812, 4096, 1_300_000].map(size)).toEqual(['0 B', '812 B', '4.0 KiB', '1.2 MiB'])
    expect(fit('abcdef', 4)).toBe('abc…')
    expect(harmless('a\tb\u009b1mc', { colours: true })).toBe('a\tb1mc')
  })
})

describe('output', () => {
  it('is JSON for programs, bytes as they are', () => {
    expect(JSON.parse(jsonOf({ at: 1, type: 'log', job: 'a', stream: 'stdout', data: Buffer.from('hi') }))).toEqual({
      at: 1,
      type: 'log',
      job: 'a',
      stream: 'stdout',
      base64: 'aGk=',
      text: 'hi',
    })
    expect(JSON.parse(jsonOf({ at: 1, type: 'log', job: 'a', stream: 'stdout', data: Buffer.from([255]) }))).not.toHaveProperty(
      'text',
    )
    expect(JSON.parse(jsonOf({ at: 1, type: 'end', result }))).toEqual({ at: 1, type: 'end', result })
  })

  it('says when nobody reads it', async () => {
    const closed: TextSink = {
      write(_text, done) {
        done(new Error('EPIPE'))
        return false
      },
    }
    await expect(writeTo(closed, 'x')).rejects.toThrow(OutputClosedError)
    await writeTo(closed, '')
  })
})
