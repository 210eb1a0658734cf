/** How much memory a run had. */
import type { Resources } from '@muster/core'
import type { Job } from './deps.ts'
import type { Ending } from './outcome.ts'

/** The provider's word of the peak, else what was seen of its worker, where that had nothing but this run; and whoever ran out of it is told both. */
export function withMemory({ deps, run, worker }: Pick<Job, 'deps' | 'run' | 'worker'>, ending: Ending): Ending {
  const { exit } = ending
  if (exit === undefined) return ending
  const seen = run.kind === 'run' ? deps.engine.usage.peakOf(worker) : undefined
  const peak = exit.memoryPeakBytes ?? seen
  const told: Ending = peak === undefined ? ending : { ...ending, exit: { ...exit, memoryPeakBytes: peak } }
  if (ending.outcome !== 'oom') return told
  const limit = limitOf(worker)
  const facts = [
    ...(limit === undefined ? [] : [`its worker has ${mebibytes(limit)}`]),
    ...(peak === undefined ? [] : [`its last known peak is ${mebibytes(peak)}`]),
  ]
  return facts.length === 0 ? told : { ...told, reason: `${ending.reason}: ${facts.join(', ')}` }
}

function limitOf({ granted, spec }: Job['worker']): number | undefined {
  const given = granted === null ? undefined : (JSON.parse(granted) as Resources).memoryBytes
  return given ?? (JSON.parse(spec) as { resources?: Resources }).resources?.memoryBytes
}

function mebibytes(count: number): string {
  return `${(count / 2 ** 20).toFixed(1)} MiB`
}
