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
  const parts = sections.map(({ title, method, figures }) => {
    const rows = figures.map((one) => `| ${one.name} | ${one.ratio} | ${one.value} | ${one.baseline} | ${one.aim} |`)
    return [
      `## ${title}`,
      '',
      method,
      '',
      '| what | ratio | value | baseline in the same run | to hold |',
      '| --- | --- | --- | --- | --- |',
      ...rows,
    ].join('\n')
  })
  return `# Benchmarks

Written by \`pnpm bench\`. Ratios come first: single times depend on the machine, and this one is shared.

Machine: ${machine()}. Commit: ${commit}.

${parts.join('\n\n')}
`
}
