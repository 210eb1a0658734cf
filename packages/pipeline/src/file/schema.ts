/** The schema of a pipeline file: strict, every key with its meaning. */
import { z } from 'zod'
import { durationSchema, sizeSchema } from './units.ts'

/** Keys of a strict object, for the answer to an unknown one. */
function strict<S extends z.core.$ZodLooseShape>(shape: S): z.ZodObject<S, z.core.$strict> {
  const known = Object.keys(shape).join(', ')
  return z.strictObject(shape, { error: (issue) => (issue.code === 'unrecognized_keys' ? `known: ${known}` : undefined) })
}

const text = z
  .string({ error: ({ input }) => (input === undefined ? undefined : 'expected text; put it in quotes') })
  .min(1, 'is empty')

/** Names of jobs, matrix variables and artifacts in the file. */
const jobName = z.string().regex(/^[A-Za-z][A-Za-z0-9_-]{0,39}$/, 'a job has a name of up to 40 letters, digits, - and _')
const variable = z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/, 'a variable has a name of letters, digits and _')
const env = z.record(
  z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/, 'no name of a variable'),
  z.string({ error: 'expected text; put it in quotes' }),
)

/** Numbers stay as written only when they are whole: 3.10 would become 3.1. */
const value = z.union([text, z.int().transform(String)], {
  error: 'expected text or a whole number; put anything else in quotes',
})

const output = z.union([text, strict({ path: text, optional: z.boolean().exactOptional() })])

const shared = {
  pool: text.exactOptional().describe('Pool of the workers; the command line may name another.'),
  env: env.exactOptional(),
  timeout: durationSchema.exactOptional().describe('Longest time a command may run.'),
  retries: z
    .int()
    .min(0)
    .max(10)
    .exactOptional()
    .describe('How often a job is run again when its worker failed; never when its command did.'),
}

const job = strict({
  ...shared,
  name: text.exactOptional().describe('How the job is shown. Default: its key, with the values of its matrix.'),
  run: text.describe('A line, or several, for `sh -e`.'),
  needs: z.array(z.string()).exactOptional().describe('Jobs that must have passed.'),
  inputs: z.record(z.string(), text).exactOptional().describe('Artifacts of other jobs: where each of them goes.'),
  outputs: z.record(z.string(), output).exactOptional().describe('Artifacts of this job: a file or folder each.'),
  matrix: z.record(variable, z.array(value).min(1, 'needs a value')).exactOptional().describe('One job for every combination.'),
  exclude: z.array(z.record(z.string(), value)).exactOptional().describe('Combinations that are left out.'),
  image: text.exactOptional(),
  resources: strict({
    cpu: z.number().positive().exactOptional(),
    memory: sizeSchema.exactOptional(),
    pids: z.int().min(1).exactOptional(),
  }).exactOptional(),
  workdir: text.exactOptional().describe('Where the command starts, relative to the workspace.'),
  queue: durationSchema.exactOptional().describe("Longest wait for a worker. Default: the pool's."),
})

export const pipelineSchema: z.ZodType<PipelineFile> = strict({
  ...shared,
  name: text.exactOptional(),
  workspace: text
    .exactOptional()
    .describe('Folder that every job gets, relative to this file. Default: the folder of this file.'),
  ignore: z
    .array(text)
    .exactOptional()
    .describe('What of it stays here, in the syntax of .gitignore. `.git` and `.muster` always do.'),
  jobs: z.record(jobName, job).refine((jobs) => Object.keys(jobs).length > 0, 'needs a job'),
})

interface SharedFile {
  pool?: string
  env?: Record<string, string>
  /** Milliseconds. */
  timeout?: number
  retries?: number
}

/** A pipeline as written, with units already numbers. */
export interface PipelineFile extends SharedFile {
  name?: string
  workspace?: string
  ignore?: string[]
  jobs: Record<string, JobFile>
}

export interface JobFile extends SharedFile {
  name?: string
  run: string
  needs?: string[]
  inputs?: Record<string, string>
  outputs?: Record<string, string | { path: string; optional?: boolean }>
  matrix?: Record<string, string[]>
  exclude?: Record<string, string>[]
  image?: string
  /** Bytes for memory. */
  resources?: { cpu?: number; memory?: number; pids?: number }
  workdir?: string
  /** Milliseconds. */
  queue?: number
}
