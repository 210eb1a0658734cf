/** The runner: commands in a worker that outlive whoever started them. */
export { createRunner, type Runner, type RunnerOptions } from './runner.ts'
export type { RawChunk, RawExec, RawExecSession } from './raw.ts'
