/** One line of text for what happens, the same on a terminal and in a log. */
import type { JobResult, PipelineEvent } from '../events.ts'
import { count, duration, size } from './text.ts'

/** The first digits tell artifacts apart; the summary of a transfer has all of them. */
const short = (sha256: string): string => sha256.slice(0, 12)

/** The line for an event, and whose it is; undefined for what is shown otherwise. */
export function lineOf(event: PipelineEvent): { job?: string; text: string } | undefined {
  switch (event.type) {
    case 'begin':
      return { text: `${event.name}: ${count(event.jobs.length, 'job')} on ${event.pools.join(', ')}` }
    case 'workspace':
      return { text: `workspace: ${count(event.files, 'file')}, ${size(event.bytes)}, sha256 ${short(event.sha256)}` }
    case 'job-begin':
      return { job: event.job, text: `run ${event.run} on pool ${event.pool}` }
    case 'job-state':
      return stateOf(event)
    case 'job-waits':
      return { job: event.job, text: `still waits for a worker: ${event.reason}` }
    case 'input':
      if (event.from === undefined) return undefined
      return { job: event.job, text: `${event.artifact} of ${event.from} goes in, ${size(event.bytes)}, sha256 ${event.sha256}` }
    case 'output':
      return { job: event.job, text: `${event.artifact} came out, ${size(event.bytes)}, sha256 ${event.sha256}` }
    case 'retry':
      return { job: event.job, text: `${event.reason}; attempt ${event.attempt} follows` }
    case 'job-end':
      return { job: event.job, text: endOf(event.result) }
    case 'cancel':
      return {
        text: event.force
          ? `${event.reason}: killing what still runs`
          : `${event.reason}: cancelling, and waiting for the ends of all jobs`,
      }
    case 'log':
    case 'end':
      return undefined
  }
}

function stateOf(event: PipelineEvent & { type: 'job-state' }): { job: string; text: string } | undefined {
  const { job, state, worker, provider } = event
  if (state === 'queued' && worker === undefined) return { job, text: 'waits for a worker' }
  if (state === 'running')
    return { job, text: `runs on ${worker ?? 'a worker'}${provider === undefined ? '' : ` of ${provider}`}` }
  return undefined
}

/** `passed in 0.42 s`, `failed with exit code 1 after 3.10 s`. */
export function endOf(result: JobResult): string {
  const { outcome, reason, exitCode, signal, runMs } = result
  const time = runMs === undefined ? '' : duration(runMs)
  switch (outcome) {
    case 'passed':
      return time === '' ? 'passed' : `passed in ${time}`
    case 'failed': {
      const how =
        exitCode === undefined
          ? signal === undefined
            ? (reason ?? 'for an unknown reason')
            : `by ${signal}`
          : `with exit code ${exitCode}`
      const more = reason === undefined || how === reason || (exitCode ?? 0) !== 0 ? '' : `: ${reason}`
      return `failed ${how}${time === '' ? '' : ` after ${time}`}${more}`
    }
    case 'timeout':
      return `ran too long and was ended${time === '' ? '' : ` after ${time}`}`
    case 'oom':
      return `ran out of memory${time === '' ? '' : ` after ${time}`}`
    case 'cancelled':
      return 'cancelled'
    case 'skipped':
      return `skipped: ${reason ?? 'never started'}`
    case 'infrastructure':
      return `its worker failed: ${reason ?? 'nobody said why'}`
    case 'unknown':
      return `nobody can tell how it ended: ${reason ?? 'its worker was lost'}`
  }
}
