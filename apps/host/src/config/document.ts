/** A YAML or JSON file checked by a schema, with the position of everything in it. */
import { distance } from 'fastest-levenshtein'
import { isMap, isNode, isPair, isScalar, LineCounter, parseDocument, visit, type Document, type Node, type Pair } from 'yaml'
import { z } from 'zod'
import { keepRight, type Kept, type Path } from './keep.ts'
import type { Problem } from './problem.ts'

export interface Loaded<T> {
  /** Absent when there are problems. */
  value?: T
  /** As `value`, before units were read and defaults were put in. */
  written?: unknown
  /** With problems: what is right of it, if anything. */
  kept?: Kept<T>
  problems: Problem[]
  /** A problem at a path of this file; at its key when `at` says so, and at the nearest parent when the path is not there. */
  problem(path: Path, text: { reason: string; fix: string; code?: string; at?: 'key' | 'value' }): Problem
}

/** Reads `text` strictly. `file` is only named in problems. */
export function loadDocument<T>(file: string, text: string, schema: z.ZodType<T>): Loaded<T> {
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true, prettyErrors: false })
  const problem = problemAt(file, document, lines)
  // What is only a warning there, as a tag that nobody knows, changes what the file means.
  const faults = [...document.errors, ...document.warnings]
  if (faults.length > 0 || document.contents === null) {
    const problems = faults.map((error) => {
      const { line, col } = lines.linePos(error.pos[0])
      const reason = (error.message.split('\n')[0] ?? error.message).replace(/[.:]$/, '')
      return { file, line, column: col, reason, fix: syntaxFix(error.code) }
    })
    if (problems.length === 0)
      problems.push({ file, line: 1, column: 1, reason: 'the file is empty', fix: 'write at least one key' })
    return { problems, problem }
  }
  const poison = protoKeys(document, (offset) => lines.linePos(offset))
  if (poison.length > 0)
    return {
      problems: poison.map(({ line, col }) => ({
        file,
        line,
        column: col,
        reason: "no key may be named '__proto__'",
        fix: 'rename it',
      })),
      problem,
    }
  let value: unknown
  try {
    value = document.toJS({ maxAliasCount: 100 })
  } catch (error) {
    const at = Math.max(0, text.search(/[*&]\w/))
    const { line, col } = lines.linePos(at)
    const reason = `its aliases cannot be resolved: ${(error as Error).message}`
    return {
      problems: [{ file, line, column: col, reason, fix: 'write the values out instead of repeating them by aliases' }],
      problem,
    }
  }
  const parsed = schema.safeParse(value)
  if (parsed.success) return { value: parsed.data, written: value, problems: [], problem }
  const kept = keepRight(value, schema)
  const problems = parsed.error.issues.flatMap((issue) => describeIssue(issue, problem))
  return { problems, problem, ...(kept === undefined ? {} : { kept }) }
}

/** Where a key would change the object that it stands in, instead of being one of its keys. */
function protoKeys<P>(document: Document, at: (offset: number) => P): P[] {
  const found: P[] = []
  visit(document, {
    Pair(_, { key }) {
      if (isScalar(key) && key.value === '__proto__') found.push(at(key.range?.[0] ?? 0))
    },
  })
  return found
}

function syntaxFix(code: string): string {
  if (code === 'DUPLICATE_KEY') return 'keep one of the two'
  if (code === 'TAB_AS_INDENT') return 'indent with spaces'
  return 'mend the syntax here'
}

function problemAt(file: string, document: Document, lines: LineCounter): Loaded<unknown>['problem'] {
  return (path, { at = 'value', ...why }) => {
    const offset = offsetOf(document, path, at)
    const { line, col } = lines.linePos(offset)
    return { file, line: Math.max(line, 1), column: Math.max(col, 1), ...why }
  }
}

function offsetOf(document: Document, path: Path, at: 'key' | 'value'): number {
  let node: Node | null = document.contents
  let offset = node?.range?.[0] ?? 0
  for (const [index, part] of path.entries()) {
    if (isMap(node)) {
      const pair = node.items.find(
        (item): item is Pair => isPair(item) && isScalar(item.key) && String(item.key.value) === String(part),
      )
      if (pair === undefined) return offset
      const last = index === path.length - 1
      const target = last && at === 'key' ? pair.key : pair.value
      if (isNode(pair.key) && pair.key.range) offset = pair.key.range[0]
      if (isNode(target) && target.range) offset = target.range[0]
      node = isNode(pair.value) ? pair.value : null
    } else {
      const child: unknown = node !== null && 'items' in node ? node.items[Number(part)] : undefined
      if (!isNode(child)) return offset
      offset = child.range?.[0] ?? offset
      node = child
    }
  }
  return offset
}

interface Issue {
  code?: string | undefined
  path: PropertyKey[]
  message: string
  keys?: string[]
  errors?: Issue[][]
  issues?: Issue[]
  expected?: string
  values?: readonly unknown[]
  minimum?: number | bigint
  /** False: the limit itself is outside. */
  inclusive?: boolean
  maximum?: number | bigint
  format?: string
  pattern?: string
}

/** Zod's issue as problems, with the nearest known key or value where one is meant. */
function describeIssue(raw: unknown, problem: Loaded<unknown>['problem']): Problem[] {
  const issue = raw as Issue
  const where = issue.path.length === 0 ? 'the file' : `'${dotted(issue.path)}'`
  if (issue.code === 'unrecognized_keys') {
    const known = knownKeys(issue)
    return (issue.keys ?? []).map((key) =>
      problem([...issue.path, key], {
        at: 'key',
        reason: `unknown key '${key}' in ${where}`,
        fix: suggest(key, known) ?? 'remove it, or see the reference of this file',
      }),
    )
  }
  if (issue.code === 'invalid_union' && issue.errors !== undefined) {
    // A single word, as 'off', is the exception: what is told is the other way to write it.
    const word = (list: Issue[]): number => Number(list[0]?.code === 'invalid_value')
    const best = [...issue.errors]
      .filter((list) => list.length > 0)
      .sort((a, b) => depth(b) - depth(a) || word(a) - word(b) || a.length - b.length)[0]
    if (best !== undefined)
      return best.flatMap((inner) => describeIssue({ ...inner, path: [...issue.path, ...inner.path] }, problem))
  }
  if (issue.code === 'invalid_type' && issue.message.endsWith('received undefined'))
    return [problem(issue.path, { reason: `${where} is missing`, fix: `add it (${issue.expected ?? 'a value'})` })]
  if (issue.code === 'invalid_type' && issue.message.endsWith('received null'))
    return [problem(issue.path, { reason: `${where} has nothing in it`, fix: `${fixOf(issue)} there, or take it out` })]
  if (issue.code === 'invalid_key' && issue.issues?.[0] !== undefined)
    return [problem(issue.path, { at: 'key', reason: `${where}: ${issue.issues[0].message}`, fix: 'rename it' })]
  return [problem(issue.path, { reason: `${where}: ${issue.message}`, fix: fixOf(issue) })]
}

/** What to write instead, as far as the schema tells. */
function fixOf({ code, message, expected, values, minimum, maximum, inclusive, format, pattern }: Issue): string {
  // Where the schema has words of its own, they say it.
  if (!/^(Invalid|Too) /.test(message)) return 'write it as said'
  if (values !== undefined) return `write one of: ${values.map(String).join(', ')}`
  if (code === 'invalid_type') return `write ${expected === 'record' ? 'an object' : withArticle(expected ?? 'other value')}`
  if (minimum !== undefined) return `give ${inclusive === false ? 'more than' : 'at least'} ${minimum}`
  if (maximum !== undefined) return `give ${inclusive === false ? 'less than' : 'at most'} ${maximum}`
  if (pattern !== undefined) return `write text that matches ${pattern}`
  return format === undefined ? 'write it as said' : `write it as ${withArticle(format)}`
}

function withArticle(noun: string): string {
  return `${/^[aeiou]/.test(noun) ? 'an' : 'a'} ${noun}`
}

function depth(issues: readonly Issue[]): number {
  return Math.max(...issues.map((issue) => issue.path.length))
}

/** Keys of the schema at the place of an unknown one; put there by {@link withKeys}. */
function knownKeys(issue: Issue): readonly string[] {
  const match = /known: (.*)$/.exec(issue.message)
  return match?.[1]?.split(', ') ?? []
}

/** Text for `error` of a strict object, so that an unknown key can be answered with the nearest known one. */
function withKeys(keys: readonly string[]): { error: (issue: { code?: string | undefined }) => string | undefined } {
  return { error: (issue) => (issue.code === 'unrecognized_keys' ? `known: ${keys.join(', ')}` : undefined) }
}

/** An object with these keys and no other. */
export function strict<S extends z.core.$ZodLooseShape>(shape: S): z.ZodObject<S, z.core.$strict> {
  return z.strictObject(shape, withKeys(Object.keys(shape)))
}

/** `did you mean 'x'?` for the nearest name, when one is near enough. */
export function suggest(given: string, known: Iterable<string>): string | undefined {
  const names = [...known]
  const near = names
    .map((name) => ({ name, far: distance(given.toLowerCase(), name.toLowerCase()) }))
    .sort((a, b) => a.far - b.far)[0]
  // Two letters of five may differ: 'provdier' finds 'provider', 'foo' does not find 'max'.
  if (near !== undefined && near.far <= Math.max(1, Math.floor(given.length * 0.4))) return `did you mean '${near.name}'?`
  return names.length > 0 && names.length <= 20 ? `one of: ${names.join(', ')}` : undefined
}

function dotted(path: Path): string {
  return path.map(String).join('.')
}
