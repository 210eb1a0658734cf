/** What is wrong with a pipeline file: all of it together, each at its place, with what to do about it. */
export interface PipelineProblem {
  file: string
  line: number
  column: number
  reason: string
  fix: string
}

/** A file that cannot be run. `problems` holds every reason, in the order of the file. */
export class PipelineFileError extends Error {
  override readonly name = 'PipelineFileError'
  readonly problems: readonly PipelineProblem[]

  constructor(problems: readonly PipelineProblem[]) {
    super(problems.map(formatProblem).join('\n'))
    this.problems = problems
  }
}

/** `file:line:column: reason (fix)`: editors and terminals make a link of it. */
export function formatProblem({ file, line, column, reason, fix }: PipelineProblem): string {
  return `${file}:${line}:${column}: ${reason} (${fix})`
}

/** In the order of the file, each once. */
export function sortProblems(problems: readonly PipelineProblem[]): PipelineProblem[] {
  const seen = new Set<string>()
  return [...problems]
    .sort((a, b) => a.line - b.line || a.column - b.column)
    .filter((problem) => {
      const text = formatProblem(problem)
      if (seen.has(text)) return false
      seen.add(text)
      return true
    })
}
