/** A YAML file checked by a schema, with the position of everything in it. */
import { distance } from 'fastest-levenshtein'
import {
  type Document,
  isMap,
  isNode,
  isPair,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type Pair,
  parseDocument,
  visit,
} from 'yaml'
import type { z } from 'zod'
import type { PipelineProblem } from './problem.ts'

type DocumentPath = readonly PropertyKey[]

/** Makes a problem at a path of the file: at its key or its value, or at the nearest parent when the path is not there. */
export type ProblemAt = (path: DocumentPath, text: { reason: string; fix: string; at?: 'key' | 'value' }) => PipelineProblem

export interface ReadDocument<T> {
  /** Absent when there are problems. */
  value?: T
  problems: PipelineProblem[]
  problem: ProblemAt
}

/** Reads `text` strictly. `file` is only named in problems. */
export function readDocument<T>(file: string, text: string, schema: z.ZodType<T>): ReadDocument<T> {
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true, prettyErrors: false })
  const at = (offset: number): Pick<PipelineProblem, 'file' | 'line' | 'column'> => {
    const { line, col } = lines.linePos(offset)
    return { file, line: Math.max(line, 1), column: Math.max(col, 1) }
  }
  const problem: ProblemAt = (path, { reason, fix, at: side = 'value' }) => ({
    ...at(offsetOf(document, path, side)),
    reason,
    fix,
  })
  if (document.errors.length > 0) {
    const problems = document.errors.map((error) => ({
      ...at(error.pos[0]),
      reason: (error.message.split('\n')[0] ?? error.message).replace(/[.:]$/, ''),
      fix:
        error.code === 'DUPLICATE_KEY'
          ? 'keep one of the two'
          : error.code === 'TAB_AS_INDENT'
            ? 'indent with spaces'
            : 'mend the syntax here',
    }))
    return { problems, problem }
  }
  if (document.contents === null)
    return { problems: [{ ...at(0), reason: 'the file is empty', fix: 'write at least one job' }], problem }
  let value: unknown
  try {
    value = document.toJS({ maxAliasCount: 100 })
  } catch (error) {
    const reason = `its aliases cannot be resolved: ${(error as Error).message}`
    const fix = 'write the values out instead of repeating them by aliases'
    return { problems: [{ ...at(firstAlias(document)), reason, fix }], problem }
  }
  const parsed = schema.safeParse(value)
  if (parsed.success) return { value: parsed.data, problems: [], problem }
  return { problems: parsed.error.issues.flatMap((issue) => describeIssue(issue, problem)), problem }
}

function firstAlias(document: Document): number {
  let offset = 0
  visit(document, {
    Alias: (_key, { range }) => {
      offset = range?.[0] ?? 0
      return visit.BREAK
    },
  })
  return offset
}

function offsetOf(document: Document, path: DocumentPath, side: 'key' | 'value'): number {
  let node: Node | null = document.contents
  let offset = node?.range?.[0] ?? 0
  for (const [index, part] of path.entries()) {
    if (isMap(node)) {
      const pair = node.items.find(
        (item): item is Pair => isPair(item) && isScalar(item.key) && String(item.key.value) === String(part),
      )
      if (pair === undefined) return offset
      const target = index === path.length - 1 && side === 'key' ? pair.key : pair.value
      offset = startOf(target) ?? startOf(pair.key) ?? offset
      node = isNode(pair.value) ? pair.value : null
    } else {
      const child: unknown = isSeq(node) ? node.items[Number(part)] : undefined
      if (!isNode(child)) return offset
      offset = startOf(child) ?? offset
      node = child
    }
  }
  return offset
}

function startOf(node: unknown): number | undefined {
  return isNode(node) ? node.range?.[0] : undefined
}

interface Issue {
  code?: string | undefined
  path: PropertyKey[]
  message: string
  keys?: string[]
  errors?: Issue[][]
  expected?: string
}

/** An issue of the schema as problems, with the nearest known key where one is meant. */
function describeIssue(raw: unknown, problem: ProblemAt): PipelineProblem[] {
  const issue = raw as Issue
  const where = issue.path.length === 0 ? 'the file' : `'${issue.path.map(String).join('.')}'`
  if (issue.code === 'unrecognized_keys') {
    const known = /known: (.*)$/.exec(issue.message)?.[1]?.split(', ') ?? []
    return (issue.keys ?? []).map((key) =>
      problem([...issue.path, key], {
        at: 'key',
        reason: `unknown key '${key}' in ${where}`,
        fix: suggest(key, known) ?? 'remove it',
      }),
    )
  }
  if (issue.code === 'invalid_union') {
    // The branch that came furthest into the value is the one that was meant.
    const best = [...(issue.errors ?? [])].filter((list) => list.length > 0).sort((a, b) => depthOf(b) - depthOf(a))[0]
    if (best !== undefined && depthOf(best) > 0)
      return best.flatMap((inner) => describeIssue({ ...inner, path: [...issue.path, ...inner.path] }, problem))
  }
  if (issue.code === 'invalid_key')
    return [problem(issue.path, { at: 'key', reason: `${where}: ${keyReason(issue)}`, fix: 'give it another name' })]
  if (issue.code === 'invalid_type' && issue.message.endsWith('received undefined'))
    return [problem(issue.path, { reason: `${where} is missing`, fix: `add it (${issue.expected ?? 'a value'})` })]
  return [problem(issue.path, { reason: `${where}: ${issue.message}`, fix: 'change the value as said' })]
}

function keyReason(issue: Issue): string {
  return (issue as { issues?: Issue[] }).issues?.[0]?.message ?? issue.message
}

function depthOf(issues: readonly Issue[]): number {
  return Math.max(...issues.map((issue) => issue.path.length))
}

/** `did you mean 'x'?` for the nearest name when one is near enough, else the names when they are few. */
export function suggest(given: string, known: Iterable<string>): string | undefined {
  const names = [...new Set(known)]
  const near = names
    .map((name) => ({ name, far: distance(given.toLowerCase(), name.toLowerCase()) }))
    .sort((a, b) => a.far - b.far)[0]
  // A third of the word may differ: 'biuld' finds 'build', 'foo' does not find 'max'.
  if (near !== undefined && near.far < given.length && near.far <= Math.max(1, Math.floor(given.length / 3)))
    return `did you mean '${near.name}'?`
  return names.length > 0 && names.length <= 20 ? `one of: ${names.join(', ')}` : undefined
}
