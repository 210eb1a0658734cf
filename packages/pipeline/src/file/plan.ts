/** What is to be run: a pipeline file with its matrix unfolded and everything in it checked against everything else. */

/** One job on one worker. */
export interface PlannedJob {
  /** How it is shown and asked for, as `test (parse, UTC)`; unique. */
  id: string
  /** Its key in the file, the same for a whole matrix. */
  job: string
  /** Ids of jobs that must have passed: those it names, and those whose artifacts it takes. */
  needs: string[]
  /** For `sh -e`. */
  run: string
  env: Record<string, string>
  inputs: PlannedInput[]
  outputs: PlannedOutput[]
  /** How often it is run again when its worker failed. */
  retries: number
  /** Named by the job itself. */
  pool?: string
  image?: string
  resources?: { cpu?: number; memoryBytes?: number; pids?: number }
  workdir?: string
  timeoutMs?: number
  queueTimeoutMs?: number
}

export interface PlannedInput {
  artifact: string
  /** Where it goes, relative to the workspace. */
  path: string
  /** Id of the job that makes it. */
  from: string
}

export interface PlannedOutput {
  artifact: string
  /** What becomes it, relative to the workspace. */
  path: string
  optional: boolean
}

export interface PipelinePlan {
  name: string
  /** Absolute path of the file. */
  file: string
  /** Absolute path of the folder that every job gets. */
  workspace: string
  /** Lines in the syntax of .gitignore. */
  ignore: string[]
  /** For jobs that name none. */
  pool?: string
  /** In the order of the file. */
  jobs: PlannedJob[]
}

/** The jobs with these ids or keys, and everything they need. Throws a RangeError for a name that there is not. */
export function withNeeds(plan: PipelinePlan, only: readonly string[]): PlannedJob[] {
  if (only.length === 0) return plan.jobs
  const wanted = new Set<string>()
  const add = (id: string): void => {
    if (wanted.has(id)) return
    wanted.add(id)
    for (const need of plan.jobs.find((job) => job.id === id)?.needs ?? []) add(need)
  }
  for (const name of only) {
    const named = plan.jobs.filter((job) => job.id === name || job.job === name)
    if (named.length === 0)
      throw new RangeError(`there is no job '${name}'; there are: ${plan.jobs.map((job) => job.id).join(', ')}`)
    for (const job of named) add(job.id)
  }
  return plan.jobs.filter((job) => wanted.has(job.id))
}
