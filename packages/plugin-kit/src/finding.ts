/** What is wrong with a plugin's files, and where. */
import type { FindingCode } from '@muster/packed/refusals'
import { isNode, isPair, isScalar, LineCounter, parseDocument, type Document } from 'yaml'

export interface Finding {
  /** What it is, and stays; absent where a tool only says what it lacks itself. */
  code?: FindingCode
  /** File, and line and column where they are known: `package.json:3:5`. */
  place: string
  reason: string
  fix: string
}

/** Nothing can be done before these are mended. */
export class PluginFault extends Error {
  override readonly name = 'PluginFault'
  readonly findings: readonly Finding[]
  constructor(...findings: Finding[]) {
    super(findings.map(({ place, reason }) => `${place}: ${reason}`).join('\n'))
    this.findings = findings
  }
}

/** As people read it. */
export function shownFinding({ code, place, reason, fix }: Finding): string {
  return `${place}: ${code === undefined ? '' : `${code}: `}${reason}\n  fix: ${fix}`
}

export type Path = readonly (string | number)[]

export interface ReadJson {
  value: unknown
  /** `file:line:column` of what stands at a path, or of the nearest thing above it. */
  at(path: Path): string
}

/** A JSON file with the place of everything in it. Error: PluginFault. */
export function readJson(file: string, text: string): ReadJson {
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true, prettyErrors: false })
  const place = (offset: number): string => {
    const { line, col } = lines.linePos(offset)
    return `${file}:${Math.max(line, 1)}:${Math.max(col, 1)}`
  }
  const [error] = document.errors
  if (error !== undefined)
    throw new PluginFault({
      code: 'bad-json',
      place: place(error.pos[0]),
      reason: (error.message.split('\n')[0] ?? error.message).replace(/[.:]$/, ''),
      fix: `run: \${EDITOR:-vi} ${file}, and mend the syntax here`,
    })
  return { value: document.toJS(), at: (path) => place(offsetOf(document, path)) }
}

function offsetOf(document: Document, path: Path): number {
  for (let length = path.length; length > 0; length--) {
    const parent: unknown = length === 1 ? document.contents : document.getIn(path.slice(0, length - 1), true)
    const items = (parent as { items?: unknown[] } | undefined)?.items ?? []
    const pair = items.find((item) => isPair(item) && isScalar(item.key) && item.key.value === path[length - 1])
    if (isPair(pair) && isScalar(pair.key)) return pair.key.range?.[0] ?? 0
    const node: unknown = document.getIn(path.slice(0, length), true)
    if (isNode(node)) return node.range?.[0] ?? 0
  }
  return document.contents?.range?.[0] ?? 0
}
