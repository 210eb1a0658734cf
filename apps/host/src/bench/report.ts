/** One figure, and the page they make. */
import { cpus, loadavg, release, totalmem } from 'node:os'

export interface Figure {
  name: string
  value: string
  /** What it is held against, measured in the same run. */
  baseline: string
  ratio: string
  /** The figure to hold, if there is one. */
  aim: string
}

export interface Section {
  title: string
  method: string
  figures: Figure[]
}

/** Others' work on the same cores: figures from a loaded machine are upper bounds. */
const startLoad = loadavg()[0] ?? 0

export function machine(): string {
  const [cpu] = cpus()
  return `${cpus().length} × ${cpu?.model.trim() ?? 'unknown CPU'}, ${(totalmem() / 2 ** 30).toFixed(0)} GiB, Linux ${release()}, Node ${process.versions.node}, load average at the start ${startLoad.toFixed(1)}`
}

export function page(sections: readonly Section[], commit: string): string {
  return `# Benchmarks

Written by \`pnpm bench\`. Ratios come first: single times depend on the machine, and this one is shared.

Machine: ${machine()}. Commit: ${commit}.

${sections.map((one) => partOf(one)).join('\n\n')}
`
}

/** The page with some parts measured anew, each with the commit it was measured at; a new part comes last. */
export function replaced(text: string, sections: readonly Section[], commit: string): string {
  const [head = '', ...parts] = text.trimEnd().split(/\n+(?=## )/)
  for (const one of sections) {
    const part = partOf({ ...one, method: `${one.method} Measured alone, at ${commit}: ${machine()}.` })
    const index = parts.findIndex((known) => known.startsWith(`## ${one.title}\n`))
    if (index === -1) parts.push(part)
    else parts[index] = part
  }
  return `${[head, ...parts].join('\n\n')}\n`
}

function partOf({ title, method, figures }: Section): string {
  return [
    `## ${title}`,
    '',
    method,
    '',
    '| what | ratio | value | baseline in the same run | to hold |',
    '| --- | --- | --- | --- | --- |',
    ...figures.map((one) => `| ${one.name} | ${one.ratio} | ${one.value} | ${one.baseline} | ${one.aim} |`),
  ].join('\n')
}
