import type { WorkerExit } from '@muster/core'
import { expect, test } from 'vitest'
import type { LeaseRecord, RunRecord, WorkerRecord } from '../model.ts'
import type { Job } from './deps.ts'
import { endingOfGone, endingSeen } from './gone.ts'
import type { Stop } from './outcome.ts'

interface Given {
  lease?: Partial<LeaseRecord>
  worker?: Partial<WorkerRecord>
  started?: boolean
  gone?: boolean
  stop?: Stop
}

function jobOf({ lease, worker, started = true, gone = true, stop }: Given): Job {
  const run = { id: 'r', lease_id: 'l', worker_id: 'w', started_at: started ? 1 : null } as RunRecord
  const engine = { leases: { find: async () => lease }, workers: { find: async () => worker } }
  return {
    deps: { engine, records: { get: () => run } },
    run,
    watch: { stop: () => stop, gone: () => gone },
  } as unknown as Job
}

const forced: Given = { lease: { end: 'cancelled', end_reason: 'terminated by ann: it burns' } }

test.each([
  [{ signal: 'SIGKILL' }, 'infrastructure'],
  [{ signal: 'SIGTERM' }, 'infrastructure'],
  [{ code: 137 }, 'infrastructure'],
  [{ code: 143 }, 'infrastructure'],
  // It had ended by itself before that came.
  [{ code: 0 }, 'passed'],
  [{ code: 3 }, 'failed'],
  [{ signal: 'SIGSEGV' }, 'failed'],
  [{ signal: 'SIGKILL', oomKilled: true }, 'oom'],
] as const)('%j of a command whose worker was taken away is %s', async (seen, outcome) => {
  const exit: WorkerExit = { reason: 'seen', ...seen }
  expect(await endingSeen(jobOf(forced), exit)).toMatchObject({ outcome, exit })
  if (outcome === 'infrastructure') expect((await endingSeen(jobOf(forced), exit)).reason).toBe('terminated by ann: it burns')
})

test('a command that was killed with its worker still there has failed, and one that we stopped was stopped', async () => {
  const exit: WorkerExit = { signal: 'SIGKILL', reason: 'seen' }
  expect(await endingSeen(jobOf({ ...forced, gone: false }), exit)).toMatchObject({ outcome: 'failed' })
  const stop: Stop = { kind: 'timeout', reason: 'too long', force: true }
  expect(await endingSeen(jobOf({ ...forced, stop }), exit)).toMatchObject({ outcome: 'timeout' })
})

test('what the worker itself ended with is told with it', async () => {
  const exit: WorkerExit = { code: 9, reason: 'exited with 9' }
  const { deps, run } = jobOf(forced)
  expect(await endingOfGone(deps, run, { stop: { kind: 'timeout', reason: 'x', force: true }, exit })).toMatchObject({ exit })
  const oom = { ...exit, oomKilled: true }
  expect(await endingOfGone(deps, run, { stop: undefined, exit: oom })).toMatchObject({ outcome: 'oom', exit: oom })
})

test('of a command in a forgotten worker nobody knows the end; one that had not begun never ran', async () => {
  const worker = { end: 'disowned', terminate_reason: 'forgotten by ann: its node burned down' }
  const lease = { end: 'cancelled', end_reason: 'its worker was forgotten by ann: its node burned down' }
  const told = async (given: Given): Promise<unknown> => {
    const { deps, run } = jobOf({ worker, lease, ...given })
    return endingOfGone(deps, run, { stop: given.stop })
  }
  expect(await told({})).toEqual({ outcome: 'unknown', reason: 'its worker was forgotten by ann: its node burned down' })
  const owner = { end: 'lost', end_reason: 'the deployment got a new owner' } as const
  const given = { lease: owner, worker: { end: 'disowned', terminate_reason: null } }
  expect(await told(given)).toEqual({ outcome: 'unknown', reason: 'the deployment got a new owner' })
  expect(await told({ started: false })).toMatchObject({ outcome: 'infrastructure' })
  expect(await told({ stop: { kind: 'cancelled', reason: 'by bob', force: false } })).toMatchObject({ outcome: 'cancelled' })
})
