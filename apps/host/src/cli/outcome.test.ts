import type { Run } from '@muster/client'
import { expect, test } from 'vitest'
import { outcomeOf, tookMs } from './outcome.ts'

function run(given: Partial<Run>): Run {
  return { id: 'r1', state: 'ended', ...given } as Run
}

const cases: [title: string, given: Partial<Run>, code: number, line: string | undefined][] = [
  ['passed', { outcome: 'passed', exit: { code: 0, reason: '' } }, 0, undefined],
  ['failed', { outcome: 'failed', exit: { code: 3, reason: '' } }, 3, undefined],
  ['an own 124', { outcome: 'failed', exit: { code: 124, reason: '' } }, 124, undefined],
  ['an own 137', { outcome: 'failed', exit: { code: 137, reason: '' } }, 137, undefined],
  ['a signal', { outcome: 'failed', exit: { signal: 'SIGTERM', reason: '' } }, 143, undefined],
  ['a real-time signal', { outcome: 'failed', exit: { signal: 'SIG40', reason: '' } }, 168, undefined],
  ['a signal nobody knows', { outcome: 'failed', exit: { signal: 'SIGODD', reason: '' } }, 125, 'ended by SIGODD'],
  [
    'an output that is missing',
    { outcome: 'failed', reason: 'output x is missing', exit: { code: 0, reason: '' } },
    1,
    'output x is missing',
  ],
  ['failed, and nobody knows how', { outcome: 'failed', reason: 'lost sight' }, 125, 'nobody knows how it ended: lost sight'],
  [
    'out of memory',
    { outcome: 'oom', reason: 'too much', exit: { signal: 'SIGKILL', reason: '' } },
    137,
    'out of memory: too much',
  ],
  ['timed out', { outcome: 'timeout', reason: 'after 1s' }, 124, 'timed out: after 1s'],
  ['cancelled', { outcome: 'cancelled', reason: 'by hand', exit: { code: 0, reason: '' } }, 130, 'cancelled: by hand'],
  [
    'infrastructure',
    { outcome: 'infrastructure', reason: 'no capacity' },
    125,
    'the command did not run to its end: no capacity',
  ],
  [
    'an output that is lost',
    { outcome: 'infrastructure', reason: 'it passed, but its output x could not be had', exit: { code: 0, reason: '' } },
    125,
    'it passed, but its output x could not be had',
  ],
  ['unknown', { outcome: 'unknown', reason: 'its worker is silent' }, 125, 'nobody knows how it ended: its worker is silent'],
  ['no reason', { outcome: 'unknown' }, 125, 'nobody knows how it ended: nothing was told'],
  ['not ended', { state: 'running' }, 125, 'it has not ended: the run is running'],
]

test.each(cases)('%s', (...[, given, code, line]) => {
  expect(outcomeOf(run(given))).toEqual(line === undefined ? { code } : { code, line })
})

test.each<[string, Partial<Run>, number | undefined]>([
  ['not begun', {}, undefined],
  ['it goes on', { startedAt: at(10) }, 90_000],
  ['its end was seen when it came', { startedAt: at(10), endedAt: at(40) }, 30_000],
  ['its end was seen later', { startedAt: at(10), exit: { reason: '', at: at(22) }, endedAt: at(90) }, 12_000],
  ['of the clock of a machine that is ahead', { startedAt: at(10), exit: { reason: '', at: at(95) }, endedAt: at(40) }, 30_000],
  ['of one that is behind', { startedAt: at(10), exit: { reason: '', at: at(0) }, endedAt: at(40) }, 30_000],
])('how long the command took, %s', (_when, run, wanted) => {
  expect(tookMs(run as Run, Date.parse(at(100)))).toBe(wanted)
})

function at(seconds: number): string {
  return new Date(seconds * 1000).toISOString()
}
