/** Runs pipeline files on Muster's workers, through the public client only. */
import type { PipelineResult } from './events.ts'
import { loadPipeline } from './file/load.ts'
import { runPlan, type RunOptions } from './run.ts'

export type { JobOutcome, JobResult, PipelineEvent, PipelineResult } from './events.ts'
export { loadPipeline, parsePipeline } from './file/load.ts'
export type { PipelinePlan, PlannedInput, PlannedJob, PlannedOutput } from './file/plan.ts'
export { formatProblem, PipelineFileError, type PipelineProblem } from './file/problem.ts'
export { type Muster, musterOf } from './muster.ts'
export { PoolMissingError, type RunOptions, runPlan } from './run.ts'
export { type Show, showOnTerminal } from './show/terminal.ts'
export { hookSignals } from './signals.ts'
export { WorkspaceError } from './transfer/scan.ts'

/**
 * Runs a pipeline file; `options.onEvent` hears of everything. Rejects before anything has run with PipelineFileError (all that is wrong
 * with the file), and as `runPlan` does.
 */
export async function runPipeline(file: string, options: RunOptions): Promise<PipelineResult> {
  return runPlan(await loadPipeline(file), options)
}
