/** One thing that is wrong in a file of the operator's: where, what, and how to mend it. */
export interface Problem {
  /** As the reader named it. */
  file: string
  /** 1-based; 1:1 when the whole file is meant. */
  line: number
  column: number
  /** Of a plugin that is refused, and stays. */
  code?: string
  reason: string
  fix: string
}

/** `file:line:column: code: reason`, the form that terminals and editors make a link of. */
export function formatProblem(problem: Problem): string {
  return `${problem.file}:${problem.line}:${problem.column}: ${reasonOf(problem)}\n    fix: ${problem.fix}`
}

/** The reason, with its code before it. */
export function reasonOf({ code, reason }: Pick<Problem, 'code' | 'reason'>): string {
  return code === undefined ? reason : `${code}: ${reason}`
}

/** By file, then by position, so that the list reads like the files. */
export function sortProblems(problems: readonly Problem[]): Problem[] {
  return [...problems].sort((a, b) => a.file.localeCompare(b.file) || a.line - b.line || a.column - b.column)
}
