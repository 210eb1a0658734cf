import { expect, it } from 'vitest'
import type { LeaseRecord } from '../model.ts'
import { endingOf, endingOfOutputs, endingWithoutWorker, type MissingOutput, type Stop } from './outcome.ts'

const timeout: Stop = { kind: 'timeout', reason: 'too long', force: false }
const cancelled: Stop = { kind: 'cancelled', reason: 'by ann', force: true }

it.each([
  [{ code: 0, reason: '' }, undefined, 'passed'],
  [{ code: 3, reason: '' }, undefined, 'failed'],
  [{ code: 137, reason: '' }, undefined, 'failed'],
  [{ code: 137, oomKilled: true, reason: '' }, undefined, 'oom'],
  [{ signal: 'SIGKILL', reason: '' }, undefined, 'failed'],
  [{ reason: 'nobody knows' }, undefined, 'unknown'],
  [{ signal: 'SIGTERM', reason: '' }, timeout, 'timeout'],
  [{ code: 0, reason: '' }, cancelled, 'cancelled'],
] as const)('%j with the stop %j is %s', (exit, stop, wanted) => {
  expect(endingOf(exit, stop)).toMatchObject({ outcome: wanted, exit })
})

it.each([
  ['exited with 3; the end of stdout is missing, the worker keeps 9 bytes of it', 'stdout, the worker keeps 9 bytes of it'],
  [
    'ended by SIGPIPE; the end of stdout is missing, it is full; the end of stderr is missing, the worker could not keep it',
    'stdout, it is full; stderr, the worker could not keep it',
  ],
  [
    'exited with 0; the end of stdout and stderr is missing, the machine could not store it',
    'stdout and stderr, the machine could not store it',
  ],
  ['exited with 0', undefined],
  ['it says that the end of stdout is missing', undefined],
])('%s: what the worker did not keep is a problem of the log', (reason, logProblem) => {
  for (const stop of [undefined, timeout]) expect(endingOf({ code: 0, reason }, stop).logProblem).toBe(logProblem)
})

it('never makes up an exit for a run without a worker', () => {
  const lost = { end: 'lost', end_reason: 'it vanished' } as LeaseRecord
  expect(endingWithoutWorker(lost, { stop: undefined })).toEqual({
    outcome: 'infrastructure',
    reason: 'its worker was lost: it vanished',
  })
  expect(endingWithoutWorker({ ...lost, end_reason: 'lost: evicted' }, { stop: undefined })).toMatchObject({
    reason: 'its worker was lost: evicted',
  })
  expect(endingWithoutWorker(lost, { stop: timeout })).toEqual({ outcome: 'timeout', reason: 'too long' })
  expect(endingWithoutWorker(undefined, { stop: undefined, exit: { oomKilled: true, reason: 'oom' } })).toMatchObject({
    outcome: 'oom',
  })
})

const left: MissingOutput = { name: 'left', fault: 'command' }
const away: MissingOutput = { name: 'away', fault: 'host', reason: 'the vendor does not answer' }
const late: MissingOutput = { name: 'late', fault: 'cancel' }

it.each([
  [[], 'passed', 'exit 0'],
  [[left], 'failed', 'it left no output left'],
  [[away, left, late], 'failed', 'it left no output left'],
  [[{ ...left, reason: 'too large' }], 'failed', 'it left no output left: too large'],
  [[late, away], 'infrastructure', 'it passed, but its output away could not be had: the vendor does not answer'],
  [[late, { ...late, name: 'two' }], 'cancelled', 'cancelled before its output late, two was stored'],
] as const)('what passed without %j is %s', (missing, outcome, reason) => {
  const exit = { code: 0, reason: '' }
  expect(endingOfOutputs({ outcome: 'passed', exit, reason: 'exit 0' }, missing)).toEqual({ outcome, exit, reason })
  const failed = { outcome: 'failed', exit: { code: 3, reason: '' }, reason: 'exit 3' } as const
  expect(endingOfOutputs(failed, missing)).toEqual(failed)
})
