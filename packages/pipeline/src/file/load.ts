/** A pipeline file from disk to a plan. */
import { readFile } from 'node:fs/promises'
import { basename, dirname, resolve } from 'node:path'
import { readDocument } from './document.ts'
import { expandPipeline } from './expand.ts'
import type { PipelinePlan } from './plan.ts'
import { PipelineFileError, type PipelineProblem, sortProblems } from './problem.ts'
import { pipelineSchema } from './schema.ts'

/** Reads and checks a file. Throws PipelineFileError with all that is wrong; `path` is named in it as given. */
export async function loadPipeline(path: string): Promise<PipelinePlan> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT'
    const reason = missing ? 'the file does not exist' : `the file cannot be read: ${(error as Error).message}`
    throw new PipelineFileError([
      { file: path, line: 1, column: 1, reason, fix: missing ? 'create it, or name another' : 'let this user read it' },
    ])
  }
  const { plan, problems } = parsePipeline(path, text)
  if (plan === undefined) throw new PipelineFileError(problems)
  return plan
}

/** As {@link loadPipeline}, from text. A plan or problems, never both. */
export function parsePipeline(path: string, text: string): { plan?: PipelinePlan; problems: PipelineProblem[] } {
  const read = readDocument(path, text, pipelineSchema)
  if (read.value === undefined) return { problems: sortProblems(read.problems) }
  const { jobs, problems } = expandPipeline(read.value, read.problem)
  if (problems.length > 0) return { problems: sortProblems(problems) }
  const file = resolve(path)
  const { name, workspace = '.', ignore = [], pool } = read.value
  return {
    plan: {
      name: name ?? basename(file).replace(/(\.muster|\.pipeline)*\.ya?ml$/, ''),
      file,
      workspace: resolve(dirname(file), workspace),
      ignore,
      ...(pool === undefined ? {} : { pool }),
      jobs,
    },
    problems: [],
  }
}
